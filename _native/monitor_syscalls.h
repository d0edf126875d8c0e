// monitor_syscalls.h: the raw calls only the monitor makes, named as in the man pages.
//
// As in syscalls.h, every wrapper returns a result or -errno. The structs come from the
// C library's headers, whose layouts are the kernel's on x86-64 and arm64.
#ifndef CK_MONITOR_SYSCALLS_H
#define CK_MONITOR_SYSCALLS_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "syscalls.h"

static inline int ck_sys_openat(int dir, const char *path, int flags, unsigned mode) {
    return (int)CK_SYS4(__NR_openat, dir, path, flags, mode);
}
static inline int ck_sys_mkdirat(int dir, const char *path, unsigned mode) {
    return (int)CK_SYS3(__NR_mkdirat, dir, path, mode);
}
static inline int ck_sys_unlinkat(int dir, const char *path, int flags) {
    return (int)CK_SYS3(__NR_unlinkat, dir, path, flags);
}
static inline int ck_sys_renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return (int)CK_SYS5(__NR_renameat2, from_dir, from, to_dir, to, 0);
}
static inline int ck_sys_fcntl(int fd, int command, long value) {
    return (int)CK_SYS3(__NR_fcntl, fd, command, value);
}
static inline int ck_sys_pipe(int ends[2]) {
    return (int)CK_SYS2(__NR_pipe2, ends, O_CLOEXEC);
}
static inline int ck_sys_socketpair(int ends[2]) {
    return (int)CK_SYS4(__NR_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
}
static inline long ck_sys_clock(int clock, struct timespec *time) {
    return CK_SYS2(__NR_clock_gettime, clock, time);
}
static inline int ck_sys_ppoll(struct pollfd *fds, unsigned count, const struct timespec *timeout) {
    return (int)CK_SYS5(__NR_ppoll, fds, count, timeout, 0, 0);
}
static inline int ck_sys_wait4(int pid, int *status, int options, struct rusage *usage) {
    return (int)CK_SYS4(__NR_wait4, pid, status, options, usage);
}
static inline int ck_sys_kill(int pid, int signal) {
    return (int)CK_SYS2(__NR_kill, pid, signal);
}

#endif
