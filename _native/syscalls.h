// syscalls.h: raw system calls, so that code between clone and exec needs no libc.
//
// Every wrapper returns the kernel's value: a result, or -errno. Nothing here touches
// errno or thread-local storage, which a CLONE_VM child would share with its parent.
#ifndef CK_SYSCALLS_H
#define CK_SYSCALLS_H

#include <asm/unistd.h>
#include <linux/sched.h>
#include <linux/types.h>
#include <stddef.h>
#include <stdint.h>

static inline long ck_syscall6(long nr, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#else
#error "container_kit supports x86-64 and arm64"
#endif
}

// Casts every argument, so that call sites read like the man page.
#define CK_ARG(x) ((long)(x))
#define CK_SYS0(nr) ck_syscall6(nr, 0, 0, 0, 0, 0, 0)
#define CK_SYS1(nr, a) ck_syscall6(nr, CK_ARG(a), 0, 0, 0, 0, 0)
#define CK_SYS2(nr, a, b) ck_syscall6(nr, CK_ARG(a), CK_ARG(b), 0, 0, 0, 0)
#define CK_SYS3(nr, a, b, c) ck_syscall6(nr, CK_ARG(a), CK_ARG(b), CK_ARG(c), 0, 0, 0)
#define CK_SYS4(nr, a, b, c, d) ck_syscall6(nr, CK_ARG(a), CK_ARG(b), CK_ARG(c), CK_ARG(d), 0, 0)
#define CK_SYS5(nr, a, b, c, d, e) ck_syscall6(nr, CK_ARG(a), CK_ARG(b), CK_ARG(c), CK_ARG(d), CK_ARG(e), 0)
#define CK_SYS6(nr, a, b, c, d, e, f)                                                                        \
    ck_syscall6(nr, CK_ARG(a), CK_ARG(b), CK_ARG(c), CK_ARG(d), CK_ARG(e), CK_ARG(f))

// clone3 with a stack of its own: the child calls fn(arg), which must not return.
// The child starts with the stack that args->stack names.
static inline long ck_clone3(struct clone_args *args, void (*fn)(void *), void *arg) {
#if defined(__x86_64__)
    long ret;
    register void *r12 __asm__("r12") = (void *)fn;
    register void *r13 __asm__("r13") = arg;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r13, %%rdi\n\t"
                     "call *%%r12\n\t"
                     "ud2\n"
                     "1:"
                     : "=a"(ret)
                     : "0"((long)__NR_clone3), "D"(args), "S"(sizeof(*args)), "r"(r12), "r"(r13)
                     : "rcx", "r11", "memory");
    return ret;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = __NR_clone3;
    register long x0 __asm__("x0") = (long)args;
    register long x1 __asm__("x1") = sizeof(*args);
    register void *x9 __asm__("x9") = (void *)fn;
    register void *x10 __asm__("x10") = arg;
    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, x10\n\t"
                     "blr x9\n\t"
                     "brk #1\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x9), "r"(x10)
                     : "memory", "x30");
    return x0;
#endif
}

__attribute__((noreturn)) static inline void ck_exit(int status) {
    for (;;)
        CK_SYS1(__NR_exit_group, status);
}

#define CK_AT_FDCWD (-100)

struct ck_timespec { // of the kernel, 64-bit everywhere
    int64_t seconds;
    int64_t nanoseconds;
};

static inline uint64_t ck_monotonic_ns(void) {
    struct ck_timespec time = {0, 0};
    CK_SYS2(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, &time);
    return (uint64_t)time.seconds * 1000000000 + (uint64_t)time.nanoseconds;
}

static inline int ck_close(int fd) {
    return (int)CK_SYS1(__NR_close, fd);
}
static inline long ck_read(int fd, void *buf, size_t n) {
    return CK_SYS3(__NR_read, fd, buf, n);
}
static inline long ck_write(int fd, const void *buf, size_t n) {
    return CK_SYS3(__NR_write, fd, buf, n);
}

#endif
