// files.c: the file system as seen inside.
#define _GNU_SOURCE
#include "payload.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int do_write(int argc, char **argv) {
    (void)argc;
    size_t size = strlen(argv[2]);
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0)
        return fail(argv[1]);
    int status = write(fd, argv[2], size) == (ssize_t)size ? 0 : fail(argv[1]);
    close(fd);
    return status;
}

int do_read(int argc, char **argv) {
    return do_cat(argc, argv);
}

static const char *type_name(mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "symlink";
    case S_IFCHR:
        return "char";
    case S_IFBLK:
        return "block";
    case S_IFIFO:
        return "fifo";
    default:
        return "socket";
    }
}

int do_stat(int argc, char **argv) {
    int status = 0;
    for (int i = 1; i < argc; i++) {
        struct stat s;
        if (lstat(argv[i], &s)) {
            status = fail(argv[i]);
            continue;
        }
        printf("%s %04o %u %u %lld %u:%u %s\n", type_name(s.st_mode), s.st_mode & 07777, s.st_uid, s.st_gid,
               (long long)s.st_size, major(s.st_rdev), minor(s.st_rdev), argv[i]);
    }
    return status;
}

int do_open(int argc, char **argv) {
    (void)argc;
    int flags = argv[1][0] == 'r'   ? O_RDONLY
                : argv[1][0] == 'w' ? O_WRONLY
                : argv[1][0] == 'a' ? O_WRONLY | O_APPEND
                                    : O_WRONLY | O_CREAT | O_EXCL;
    int fd = open(argv[2], flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644);
    puts(fd < 0 ? strerrorname_np(errno) : "ok");
    return fd < 0;
}

int do_mkdir(int argc, char **argv) {
    (void)argc;
    return mkdir(argv[1], 0755) ? fail(argv[1]) : 0;
}

int do_unlink(int argc, char **argv) {
    (void)argc;
    return remove(argv[1]) ? fail(argv[1]) : 0;
}

int do_chown(int argc, char **argv) {
    (void)argc;
    return lchown(argv[3], (uid_t)atoi(argv[1]), (gid_t)atoi(argv[2])) ? fail(argv[3]) : 0;
}

int do_mknod(int argc, char **argv) {
    (void)argc;
    dev_t device = makedev((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
    return mknod(argv[1], S_IFCHR | 0600, device) ? fail(argv[1]) : 0;
}

int do_symlink(int argc, char **argv) {
    (void)argc;
    return symlink(argv[1], argv[2]) ? fail(argv[2]) : 0;
}

static int shown(const struct dirent *entry) {
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

int do_ls(int argc, char **argv) {
    (void)argc;
    struct dirent **entries;
    int n = scandir(argv[1], &entries, shown, alphasort);

    if (n < 0)
        return fail(argv[1]);
    for (int i = 0; i < n; i++) {
        puts(entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return 0;
}
