// hog.c: those who take all they can get of a resource.
#define _GNU_SOURCE
#include "payload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static _Noreturn void stay(void) {
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}

// What is in files and sockets counts for the container, not for who put it there: without this the kernel would
// end whoever has the largest heap.
static void volunteer(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "1000", 4) == 4)
        close(fd);
}

// Every process makes more, in sessions of their own and without end.
int do_fork_bomb(int argc, char **argv) {
    (void)argc, (void)argv;
    for (int said = 0;;) {
        pid_t child = fork();
        if (child == 0) {
            setsid();
            said = 1;
        } else if (child < 0 && !said) {
            said = 1;
            puts("ready");
            fflush(stdout);
        }
    }
}

// A file of so many MiB, written through to the disk; prints how many there was room for.
int do_fill(int argc, char **argv) {
    static char block[65536];
    long wanted = atol(argv[2]) * 16, written = 0;
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0)
        return fail(argv[1]);
    volunteer();
    memset(block, 'x', sizeof block);
    while (written < wanted && write(fd, block, sizeof block) == (ssize_t)sizeof block)
        written++;
    if (argc > 3 && strcmp(argv[3], "--sync") == 0)
        return fsync(fd) ? fail("fsync") : printf("%ld\n", written / 16) < 0;
    printf("%ld\n", written / 16);
    stay();
}

// N connections to itself whose receiver never reads, each filled to the brim.
int do_fill_sockets(int argc, char **argv) {
    (void)argc;
    static char block[65536];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    volunteer();
    if (server < 0 || bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 8) ||
        getsockname(server, (struct sockaddr *)&address, &size))
        return fail("listen");
    for (int left = atoi(argv[1]); left > 0; left--) {
        int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (client < 0 || connect(client, (struct sockaddr *)&address, size) ||
            accept(server, NULL, NULL) < 0)
            return fail("connect");
        while (send(client, block, sizeof block, MSG_DONTWAIT) > 0)
            ;
    }
    stay();
}
