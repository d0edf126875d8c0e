// streams.c: what goes in and out.
#define _GNU_SOURCE
#include "payload.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int print_words(FILE *stream, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        fprintf(stream, "%s%s", i > 1 ? " " : "", argv[i]);
    return fputc('\n', stream) == EOF ? fail("write") : 0;
}

int do_echo(int argc, char **argv) {
    return print_words(stdout, argc, argv);
}

int do_stderr(int argc, char **argv) {
    return print_words(stderr, argc, argv);
}

static int write_all(const char *bytes, size_t size) {
    while (size) {
        ssize_t n = write(1, bytes, size);
        if (n < 0)
            return fail("write");
        bytes += n, size -= (size_t)n;
    }
    return 0;
}

static int copy(int from) {
    char buffer[65536];
    for (;;) {
        ssize_t n = read(from, buffer, sizeof buffer);
        if (n <= 0)
            return n < 0 ? fail("read") : 0;
        if (write_all(buffer, (size_t)n))
            return 1;
    }
}

int do_cat(int argc, char **argv) {
    if (argc == 1)
        return copy(0);
    for (int i = 1; i < argc; i++) {
        int fd = open(argv[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return fail(argv[i]);
        int status = copy(fd);
        close(fd);
        if (status)
            return status;
    }
    return 0;
}

int do_flood(int argc, char **argv) {
    static char block[65536];
    unsigned long long left = strtoull(argv[1], NULL, 10);
    size_t line = argc > 3 && strcmp(argv[2], "--lines") == 0 ? strtoul(argv[3], NULL, 10) : 0;

    // The pattern goes on from block to block: every byte's place says what it is.
    for (unsigned long long at = 0; left;) {
        size_t n = left < sizeof block ? (size_t)left : sizeof block;
        for (size_t i = 0; i < n; i++, at++)
            block[i] = line && at % line == line - 1 ? '\n' : (char)('a' + at % 26);
        if (write_all(block, n))
            return 1;
        left -= n;
    }
    return 0;
}

int do_binary(int argc, char **argv) {
    (void)argc, (void)argv;
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    return write_all(all, sizeof all);
}

int do_interleave(int argc, char **argv) {
    (void)argc;
    int n = atoi(argv[1]);
    for (int i = 0; i < n; i++) {
        dprintf(1, "out %d\n", i);
        dprintf(2, "err %d\n", i);
    }
    return 0;
}
