// portrait.c: everything about a container that can be compared with another's, a line each: name=value.
#define _GNU_SOURCE
#include "payload.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void show_status(void) {
    static const char *const fields[] = {"CapInh", "CapPrm",     "CapEff",  "CapBnd", "CapAmb",
                                         "Umask",  "NoNewPrivs", "Seccomp", "Groups"};
    char line[4096];
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof line, status))
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
            size_t n = strlen(fields[i]);
            if (strncmp(line, fields[i], n) == 0 && line[n] == ':')
                printf("status %s=%s", fields[i], line + n + 1 + strspn(line + n + 1, "\t "));
        }
    if (status)
        fclose(status);
}

// mountinfo: id parent major:minor root target options … - type source superoptions (proc_pid_mountinfo(5))
static void show_mounts(void) {
    char line[8192];
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    while (mounts && fgets(line, sizeof line, mounts)) {
        char target[1024], options[1024], propagation[64] = "", type[64];
        char *dash = strstr(line, " - ");
        if (!dash || sscanf(line, "%*s %*s %*s %*s %1023s %1023s %63s", target, options, propagation) != 3 ||
            sscanf(dash + 3, "%63s", type) != 1)
            continue;
        printf("mount %s=%s %s%s%s\n", target, type, options, propagation[0] == '-' ? "" : " ",
               propagation[0] == '-' ? "" : "shared or slave");
    }
    if (mounts)
        fclose(mounts);
}

static void show_device(const char *path) {
    char target[256];
    struct stat s;
    if (lstat(path, &s))
        return;
    if (S_ISLNK(s.st_mode)) {
        ssize_t n = readlink(path, target, sizeof target);
        printf("device %s=-> %.*s\n", path, n < 0 ? 0 : (int)n, target);
    } else if (S_ISDIR(s.st_mode))
        printf("device %s=directory %04o\n", path, s.st_mode & 07777);
    else
        printf("device %s=%s %04o %u:%u\n", path,
               S_ISCHR(s.st_mode)   ? "char"
               : S_ISBLK(s.st_mode) ? "block"
                                    : "other",
               s.st_mode & 07777, major(s.st_rdev), minor(s.st_rdev));
}

static void show_devices(void) {
    struct dirent **entries;
    char path[300];
    int n = scandir("/dev", &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "/dev/%s", entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            show_device(path);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

static void show_limits(void) {
    static const char *const names[] = {"CPU",      "FSIZE",  "DATA",    "STACK", "CORE",  "RSS",
                                        "NPROC",    "NOFILE", "MEMLOCK", "AS",    "LOCKS", "SIGPENDING",
                                        "MSGQUEUE", "NICE",   "RTPRIO",  "RTTIME"};
    for (int i = 0; i < 16; i++) {
        struct rlimit limit;
        if (getrlimit((__rlimit_resource_t)i, &limit) == 0)
            printf("limit %s=%lld %lld\n", names[i], (long long)limit.rlim_cur, (long long)limit.rlim_max);
    }
}

static void show_namespaces(void) {
    static const char *const kinds[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
    char path[64], target[64];
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
        ssize_t n = readlink(path, target, sizeof target);
        if (n > 0)
            printf("namespace %s=%.*s\n", kinds[i], (int)n, target);
    }
}

static void show_setting(const char *path) {
    char text[256];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (n > 0)
        printf("setting %s=%.*s%s", path, (int)n, text, text[n - 1] == '\n' ? "" : "\n");
    if (fd >= 0)
        close(fd);
}

// What reading a path gives, and whether it opens for writing.
static const char *reading(const char *path, int is_directory) {
    char byte;
    if (is_directory) {
        struct dirent **entries;
        int n = scandir(path, &entries, NULL, NULL);
        for (int i = 0; i < n; i++)
            free(entries[i]);
        if (n >= 0)
            free(entries);
        return n < 0 ? strerrorname_np(errno) : n == 2 ? "empty" : "entries";
    }
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, &byte, 1);
    const char *found = n < 0 ? strerrorname_np(errno) : n == 0 ? "empty" : "contents";
    if (fd >= 0)
        close(fd);
    return found;
}

static void show_path(const char *path) {
    struct stat s;
    if (lstat(path, &s)) {
        printf("path %s=absent\n", path);
        return;
    }
    int is_null = S_ISCHR(s.st_mode) && s.st_rdev == makedev(1, 3);
    int is_directory = S_ISDIR(s.st_mode);
    printf("path %s=%s, %s\n", path, reading(path, is_directory),
           is_null                   ? "null device"
           : access(path, W_OK) == 0 ? "writable"
           : errno == EROFS          ? "read-only"
                                     : "protected");
}

int do_portrait(int argc, char **argv) {
    show_status();
    show_mounts();
    show_devices();
    show_limits();
    show_namespaces();
    show_setting("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    show_setting("/proc/sys/net/ipv4/ping_group_range");
    show_setting("/proc/self/oom_score_adj");
    for (int i = 1; i < argc; i++)
        show_path(argv[i]);
    return 0;
}
