// spawned.c: in the monitor's place: says on CK_FD_STDOUT how it found the world.
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckit.h"

extern char **environ;

static void say_descriptors(FILE *out) {
    char target[256], name[64];
    for (int fd = 0; fd < 4096; fd++) {
        snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        ssize_t n = fd == fileno(out) && fd != CK_FD_STDOUT ? -1 : readlink(name, target, sizeof(target) - 1);
        if (n > 0)
            fprintf(out, "fd %d %.*s\n", fd, (int)n, target);
    }
}

static void say_signals(FILE *out) {
    sigset_t mask;
    int blocked = 0, ignored = 0;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    for (int i = 1; i < 32; i++) {
        struct sigaction action;
        blocked += sigismember(&mask, i) == 1;
        ignored += sigaction(i, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
    }
    fprintf(out, "signals %d %d\n", blocked, ignored);
}

int main(int argc, char **argv) {
    FILE *out = fdopen(CK_FD_STDOUT, "w");
    if (out == NULL)
        return 1;
    say_descriptors(out);
    say_signals(out);
    fprintf(out, "self %d %s %d\n", argc, argv[0], environ[0] != NULL);
    fprintf(out, "leader %d\n", getsid(0) == getpid());
    return fclose(out) == 0 ? 7 : 1;
}
