// terminal.c: terminals and sockets.
#define _GNU_SOURCE
#include "payload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int do_tty(int argc, char **argv) {
    (void)argc, (void)argv;
    struct winsize size;
    int controlling = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (!isatty(0) || ioctl(0, TIOCGWINSZ, &size))
        return puts("not a tty") == EOF ? 1 : 1;
    printf("%s %d %d %s\n", ttyname(0), size.ws_row, size.ws_col, controlling < 0 ? "-" : "controlling");
    return 0;
}

int do_winch(int argc, char **argv) {
    (void)argc;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    sigprocmask(SIG_BLOCK, &set, NULL);
    puts("ready");
    for (int left = atoi(argv[1]); left > 0; left--) {
        struct winsize size;
        int received;
        fflush(stdout);
        sigwait(&set, &received);
        if (ioctl(0, TIOCGWINSZ, &size))
            return fail("TIOCGWINSZ");
        printf("%d %d\n", size.ws_row, size.ws_col);
    }
    return 0;
}

int do_connect_unix(int argc, char **argv) {
    (void)argc;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(argv[1]);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || length >= sizeof address.sun_path)
        return fail("socket");
    memcpy(address.sun_path, argv[1], length);
    if (address.sun_path[0] == '@')
        address.sun_path[0] = 0;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    // A socket of another type is there as well: that is what a probe wants to know.
    if (connect(fd, (struct sockaddr *)&address, size) && errno != EPROTOTYPE) {
        puts(strerrorname_np(errno));
        return 1;
    }
    return puts("connected") == EOF;
}

static struct sockaddr_in internet_address(const char *host, const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    inet_pton(AF_INET, host, &address.sin_addr);
    return address;
}

int do_listen(int argc, char **argv) {
    (void)argc;
    struct sockaddr_in address = internet_address("0.0.0.0", argv[1]);
    int yes = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (server < 0 || setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) ||
        bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 8))
        return fail("listen");
    puts("ready");
    fflush(stdout);
    int client = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0 || write(client, "hello\n", 6) != 6)
        return fail("accept");
    close(client);
    return 0;
}

int do_connect(int argc, char **argv) {
    (void)argc;
    struct sockaddr_in address = internet_address(argv[1], argv[2]);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char buffer[256];

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) {
        puts(strerrorname_np(errno));
        return 1;
    }
    ssize_t n = read(fd, buffer, sizeof buffer);
    return n < 0 ? fail("read") : fwrite(buffer, 1, (size_t)n, stdout) != (size_t)n;
}
