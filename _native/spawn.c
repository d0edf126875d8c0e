// spawn.c: see spawn.h. The children share the caller's memory (CLONE_VM) and not its thread-local
// storage: raw system calls only, a stack of their own, every signal blocked from before the clone.
#include "spawn.h"

#include <linux/close_range.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/sched.h>
#include <linux/wait.h>
#include <stdbool.h>

#include "cleanup.h"

#define STACK_SIZE ((size_t)64 << 10)
#define SIGNAL_KILL 9
#define SIGNAL_CHILD 17
#define SET_MASK 2

static uint64_t block_signals(void) {
    uint64_t all = ~(uint64_t)0, before = 0;
    CK_SYS4(__NR_rt_sigprocmask, SET_MASK, &all, &before, sizeof(all));
    return before;
}

static void restore_signals(uint64_t before) {
    CK_SYS4(__NR_rt_sigprocmask, SET_MASK, &before, NULL, sizeof(before));
}

static long map_stack(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK;
    return CK_SYS6(__NR_mmap, NULL, STACK_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0);
}

static void unmap_stack(void *stack) {
    CK_SYS2(__NR_munmap, stack, STACK_SIZE);
}

static void wait_for(int pid) {
    while (CK_SYS4(__NR_wait4, pid, NULL, __WALL, NULL) == -EINTR)
        continue;
}

// Close everything but these descriptors (-1: none), in an unshared table.
static void close_others(const int *keep, int count) {
    for (unsigned from = 0;;) {
        unsigned next = ~0u;
        for (int i = 0; i < count; i++) {
            if (keep[i] >= 0 && (unsigned)keep[i] >= from && (unsigned)keep[i] < next)
                next = (unsigned)keep[i];
        }
        if (next > from)
            CK_SYS3(__NR_close_range, from, next == ~0u ? next : next - 1, 0);
        if (next == ~0u)
            return;
        from = next + 1;
    }
}

// ---- our programs -----------------------------------------------------------------------------

#define FIRST_FREE (CK_FD_REQUEST + (int)CK_FD_COUNT)
#define NAME_SIZE 32

enum { PROGRAM = CK_FD_COUNT, NOTHING, DESCRIPTORS }; // behind the program's own

struct spawn { // the lowest bytes of the child's stack, which comes from the other end
    char name[NAME_SIZE];
    int fds[DESCRIPTORS]; // as given; the program; /dev/null
    int error;            // set by the child: its memory is ours
};

// Above the places that are to be filled, so that no order of arrival can hurt.
static int move_up(struct spawn *spawn) {
    close_others(spawn->fds, DESCRIPTORS); // first: RLIMIT_NOFILE may leave no room otherwise
    for (int i = 0; i < DESCRIPTORS; i++) {
        if (spawn->fds[i] < 0)
            continue;
        spawn->fds[i] = (int)CK_SYS3(__NR_fcntl, spawn->fds[i], F_DUPFD_CLOEXEC, FIRST_FREE);
        if (spawn->fds[i] < 0) // EINVAL: RLIMIT_NOFILE is below the places themselves
            return spawn->fds[i] == -EINVAL ? -EMFILE : spawn->fds[i];
    }
    return 0;
}

static int arrange(struct spawn *spawn) {
    long err = move_up(spawn);
    for (int fd = 0; err >= 0 && fd < CK_FD_REQUEST; fd++)
        err = CK_SYS3(__NR_dup3, spawn->fds[NOTHING], fd, 0);
    for (int i = 0; err >= 0 && i < (int)CK_FD_COUNT; i++) {
        if (spawn->fds[i] >= 0)
            err = CK_SYS3(__NR_dup3, spawn->fds[i], CK_FD_REQUEST + i, 0);
        else
            CK_SYS1(__NR_close, CK_FD_REQUEST + i);
    }
    if (err >= 0)
        err = CK_SYS3(__NR_close_range, FIRST_FREE, ~0u, CLOSE_RANGE_CLOEXEC);
    return err < 0 ? (int)err : 0;
}

// CLONE_CLEAR_SIGHAND leaves ignored what Python ignores (SIGPIPE), and so does exec: also for containers.
static void reset_signals(void) {
    struct {
        uint64_t handler, flags, restorer, mask;
    } by_default = {0, 0, 0, 0};
    for (int signal = 1; signal <= 64; signal++)
        CK_SYS4(__NR_rt_sigaction, signal, &by_default, NULL, sizeof(by_default.mask));
}

static void become_program(void *argument) {
    struct spawn *spawn = argument;
    const char *argv[] = {spawn->name, NULL};
    const char *envp[] = {NULL};
    reset_signals();
    int err = arrange(spawn);
    if (err == 0) {
        CK_SYS0(__NR_setsid);
        err = (int)CK_SYS5(__NR_execveat, spawn->fds[PROGRAM], "", argv, envp, AT_EMPTY_PATH);
    }
    spawn->error = err;
    ck_exit(127);
}

// The child runs in our memory until its exec, and we go on: what it needs is in a mapping of its own, which
// stays until the exec is known to have happened. It has a copy of the descriptors, so ours may be closed at
// once; signals stay blocked in it; it knows no thread-local storage. Should this process end or execute
// something else meanwhile, the memory lives as long as the child uses it; a fork gets a copy and no child.
static long clone_program(struct spawn *spawn, uint64_t wait, int *pidfd) {
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_PIDFD | CLONE_CLEAR_SIGHAND | wait,
        .pidfd = (uintptr_t)pidfd,
        .exit_signal = SIGNAL_CHILD,
        .stack = (uintptr_t)spawn,
        .stack_size = STACK_SIZE,
    };
    uint64_t mask = block_signals();
    long pid = ck_clone3(&args, become_program, spawn);
    restore_signals(mask);
    return pid;
}

static long begin(int program, const char *name, const int fds[CK_FD_COUNT], uint64_t wait,
                  struct ck_spawned *spawned) {
    CK_CLOSE int nothing = (int)CK_SYS4(__NR_openat, CK_AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
    long stack = nothing < 0 ? nothing : map_stack();
    if (stack < 0)
        return stack;
    struct spawn *spawn = (struct spawn *)stack; // zeros
    for (size_t i = 0; name[i] != 0 && i < NAME_SIZE - 1; i++)
        spawn->name[i] = name[i];
    for (unsigned i = 0; i < CK_FD_COUNT; i++)
        spawn->fds[i] = fds[i];
    spawn->fds[PROGRAM] = program;
    spawn->fds[NOTHING] = nothing;
    *spawned = (struct ck_spawned){.pidfd = -1, .memory = spawn};
    long pid = clone_program(spawn, wait, &spawned->pidfd);
    if (pid < 0) {
        unmap_stack(spawn);
        spawned->memory = NULL;
        return pid;
    }
    spawned->pid = (int)pid;
    return 0;
}

int ck_spawn_begin(int program, const char *name, const int fds[CK_FD_COUNT], struct ck_spawned *spawned) {
    return (int)begin(program, name, fds, 0, spawned);
}

int ck_spawn_end(struct ck_spawned *spawned) {
    struct spawn *spawn = spawned->memory;
    if (spawn == NULL)
        return 0;
    int error = spawn->error;
    unmap_stack(spawn);
    spawned->memory = NULL;
    return error;
}

int ck_spawn(int program, const char *name, const int fds[CK_FD_COUNT], struct ck_spawned *spawned) {
    long error = begin(program, name, fds, CLONE_VFORK, spawned);
    if (error < 0)
        return (int)error;
    error = ck_spawn_end(spawned); // the clone came back when the child had executed or ended
    if (error < 0) {
        wait_for(spawned->pid);
        ck_close(spawned->pidfd);
    }
    return (int)error;
}

// ---- the holder of a user namespace -----------------------------------------------------------------

// Only waits. It must not change its credentials: that would make the memory it shares with its
// parent undumpable, and the parent's /proc files root's.
static void hold(void *argument) {
    int gate = *(int *)argument;
    char byte;
    close_others(&gate, 1);
    while (ck_read(gate, &byte, sizeof(byte)) == -EINTR)
        continue;
    ck_exit(0);
}

static long clone_holder(struct ck_userns_holder *holder, int gate) {
    int *argument = holder->stack; // the lowest bytes: the stack comes from the other end
    *argument = gate;
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_NEWUSER | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        .pidfd = (uintptr_t)&holder->pidfd,
        .exit_signal = 0, // nobody's SIGCHLD, nobody's wait(-1)
        .stack = (uintptr_t)holder->stack,
        .stack_size = STACK_SIZE,
    };
    uint64_t mask = block_signals();
    long pid = ck_clone3(&args, hold, argument);
    restore_signals(mask);
    return pid;
}

int ck_hold_userns(struct ck_userns_holder *holder) {
    int pipe[2];
    long stack = map_stack();
    int err = stack < 0 ? (int)stack : (int)CK_SYS2(__NR_pipe2, pipe, O_CLOEXEC);
    if (err < 0) {
        if (stack > 0)
            unmap_stack((void *)stack);
        return err;
    }
    CK_CLOSE int gate = pipe[0];
    *holder = (struct ck_userns_holder){.pid = -1, .pidfd = -1, .release = pipe[1], .stack = (void *)stack};
    long pid = clone_holder(holder, gate);
    if (pid < 0) {
        ck_close(holder->release);
        unmap_stack(holder->stack);
        return (int)pid;
    }
    holder->pid = (int)pid;
    return 0;
}

// By signal as well: a process forked meanwhile may hold the pipe open.
void ck_release_userns(struct ck_userns_holder *holder) {
    CK_SYS4(__NR_pidfd_send_signal, holder->pidfd, SIGNAL_KILL, NULL, 0);
    wait_for(holder->pid);
    ck_close(holder->release);
    ck_close(holder->pidfd);
    unmap_stack(holder->stack);
    *holder = (struct ck_userns_holder){.pid = -1, .pidfd = -1, .release = -1, .stack = NULL};
}
