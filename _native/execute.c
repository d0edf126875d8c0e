// execute.c: launch.h: memory for a child, its clone, and the walk over its plan.
#include <linux/close_range.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/futex.h>
#include <linux/mman.h>
#include <linux/sched.h>

#include "cleanup.h"
#include "execute.h"

// ---- the walk -----------------------------------------------------------------------------------

typedef int op_function(struct ck_run *run, struct ck_field *field);

static op_function *const op_table[CK_OP_LIMIT] = {
#define CK_OP_ENTRY(name, code, format) [code] = ck_do_##name,
    CK_OPS(CK_OP_ENTRY)
#undef CK_OP_ENTRY
};

__attribute__((noreturn)) static void fail(struct ck_run *run, int error) {
    run->outcome->step = run->step;
    run->outcome->error = -error;
    __atomic_store_n(&run->outcome->state, CK_OUTCOME_FAILED, __ATOMIC_RELEASE);
    ck_exit(CK_EXIT_LAUNCH_FAILED);
}

static int do_step(struct ck_run *run) {
    struct ck_field field[CK_MAX_FIELDS];
    struct ck_cursor fields;
    uint32_t code;
    int err = ck_take_step(&run->rest, &code, &fields);
    const char *format = err < 0 ? NULL : ck_op_format(code);
    if (err == 0 && code >= CK_OP_HOSTNAME && run->outcome->confined_ns == 0)
        run->outcome->confined_ns = ck_monotonic_ns();
    if (err == 0 && code == CK_OP_EXEC)
        run->outcome->exec_ns = ck_monotonic_ns();
    if (format == NULL || ck_take_record(&fields, format, field) < 0)
        return -EBADMSG;
    return op_table[code](run, field);
}

int ck_walk_here(struct ck_run *run) {
    int err = 0;
    while (run->step < run->plan.count && (err = do_step(run)) == 0)
        run->step++;
    return err;
}

void ck_walk(struct ck_run *run) {
    int err = ck_walk_here(run);
    if (err < 0)
        fail(run, err);
    __atomic_store_n(&run->outcome->state, CK_OUTCOME_DONE, __ATOMIC_RELEASE);
    ck_exit(0);
}

// ---- the child before its first step ------------------------------------------------------------

enum { // descriptors of a child: stdio, and nothing else that it was not given
    FD_REPORT = 3,
    FD_TARGET = 4,
    FD_FREE = 5,
};

static int move_up(int *fd) {
    if (*fd >= 0 && *fd < FD_FREE)
        *fd = (int)CK_SYS3(__NR_fcntl, *fd, F_DUPFD_CLOEXEC, FD_FREE);
    return *fd;
}

// Everything else is closed, not only marked: whoever looks at this process from inside the container
// finds no directory of the host, and the monitor's end of the report closes with the monitor.
static int settle_descriptors(struct ck_run *run) {
    int *wanted[FD_FREE] = {&run->stdio[0], &run->stdio[1], &run->stdio[2], &run->report, &run->target};
    for (int i = 0; i < 3; i++) { // TERMINAL will provide; until then nothing may land on 0 to 2
        if (run->stdio[i] < 0)
            run->stdio[i] = (int)CK_SYS4(__NR_openat, CK_AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
    }
    for (int i = 0; i < FD_FREE; i++) {
        if (move_up(wanted[i]) < 0 && i != FD_TARGET)
            return *wanted[i];
    }
    for (int i = 0; i < FD_FREE; i++) {
        long err = *wanted[i] < 0 ? 0 : CK_SYS3(__NR_dup3, *wanted[i], i, i < FD_REPORT ? 0 : O_CLOEXEC);
        if (err < 0)
            return (int)err;
        *wanted[i] = *wanted[i] < 0 ? -1 : i;
    }
    int first_free = run->target < 0 ? FD_TARGET : FD_FREE;
    return (int)CK_SYS3(__NR_close_range, first_free, ~0u, 0);
}

// The cgroup namespace is made here, not by the clone: its root is the cgroup at that moment.
static int enter_cgroup(struct ck_run *run) {
    CK_CLOSE int procs =
        (int)CK_SYS4(__NR_openat, run->cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (procs < 0)
        return procs;
    long err = ck_write(procs, "0", 1);
    if (err > 0 && run->namespaces & CK_NS_CGROUP)
        err = CK_SYS1(__NR_unshare, CLONE_NEWCGROUP);
    return ck_status(err);
}

static void begin(void *argument) {
    struct ck_run *run = argument;
    run->outcome->began_ns = ck_monotonic_ns();
    CK_SYS1(__NR_umask, 0);
    int err = run->cgroup < 0 ? 0 : enter_cgroup(run);
    if (err == 0)
        err = settle_descriptors(run);
    if (err == 0 && run->namespaces & CK_NS_MOUNT)
        err = ck_make_slave();
    if (err < 0)
        fail(run, err);
    ck_walk(run);
}

// ---- the parent's side ----------------------------------------------------------------------------

// One mapping:  outcome | guard | stack | guard | run, argv and envp | guard
// The outcome is shared even with a child that has memory of its own.
#define PAGE ((size_t)65536) // the largest page of any kernel we run on
#define STACK_AT (2 * PAGE)
#define RUN_AT (STACK_AT + CK_STACK_SIZE + PAGE)

static long map(void *at, size_t size, int flags) {
    return CK_SYS6(__NR_mmap, at, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
}

int ck_launch_prepare(struct ck_launch *launch) {
    // a string takes eight bytes at least on the wire and a pointer here; two arrays end in NULL
    size_t pointers = (size_t)launch->plan.size + 2 * sizeof(char *);
    size_t size = RUN_AT + ((sizeof(struct ck_run) + pointers + PAGE - 1) & ~(PAGE - 1)) + PAGE;
    long at = map(NULL, size, MAP_PRIVATE | MAP_NORESERVE);
    if (at < 0)
        return (int)at;
    unsigned char *memory = (unsigned char *)at;
    long err = map(memory, PAGE, MAP_SHARED | MAP_FIXED);
    const size_t guards[] = {PAGE, STACK_AT + CK_STACK_SIZE, size - PAGE};
    for (size_t i = 0; err >= 0 && i < sizeof(guards) / sizeof(guards[0]); i++)
        err = CK_SYS3(__NR_mprotect, memory + guards[i], PAGE, PROT_NONE);
    if (err < 0) {
        CK_SYS2(__NR_munmap, memory, size);
        return (int)err;
    }
    launch->memory = memory;
    launch->memory_size = size;
    launch->outcome = (struct ck_outcome *)memory;
    return 0;
}

void ck_run_begin(struct ck_run *run, const struct ck_plan *plan, struct ck_outcome *outcome) {
    *run = (struct ck_run){
        .plan = *plan,
        .rest = {plan->steps, plan->steps + plan->size},
        .outcome = outcome,
        .report = -1,
        .target = -1,
        .stdio = {-1, -1, -1},
        .root = -1,
        .cgroup = -1,
    };
    for (uint32_t i = 0; i < CK_MAX_SLOTS; i++)
        run->slot[i] = (struct ck_slot){.fd = -1};
}

static struct ck_run *make_run(const struct ck_launch *launch) {
    unsigned char *memory = launch->memory;
    struct ck_run *run = (struct ck_run *)(memory + RUN_AT);
    ck_run_begin(run, &launch->plan, launch->outcome);
    run->report = launch->report;
    run->target = launch->target;
    for (int i = 0; i < 3; i++)
        run->stdio[i] = launch->stdio[i];
    run->namespaces = launch->namespaces;
    run->cgroup = launch->enter_cgroup ? launch->cgroup : -1;
    run->own_memory = launch->own_memory;
    run->pointers = (const char **)(run + 1);
    run->stack = memory + STACK_AT;
    return run;
}

long ck_launch_clone(struct ck_launch *launch, int *pidfd) {
    unsigned char *memory = launch->memory;
    bool into_cgroup = launch->cgroup >= 0 && !launch->enter_cgroup;
    uint32_t namespaces = launch->namespaces & ~(launch->enter_cgroup ? CK_NS_CGROUP : 0);
    struct clone_args args = {
        .flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND | ck_namespace_flags(namespaces) |
                 (launch->own_memory ? 0 : CLONE_VM) | (into_cgroup ? CLONE_INTO_CGROUP : 0),
        .pidfd = (uintptr_t)pidfd,
        .exit_signal = 17 /* SIGCHLD */,
        .stack = (uintptr_t)(memory + STACK_AT),
        .stack_size = CK_STACK_SIZE,
        .cgroup = into_cgroup ? (uint64_t)launch->cgroup : 0,
    };
    __builtin_memset(launch->outcome, 0, sizeof(*launch->outcome));
    return ck_clone3(&args, begin, make_run(launch));
}

void ck_launch_ready(struct ck_launch *launch) {
    uint32_t *ready = &launch->outcome->ready;
    __atomic_store_n(ready, 1, __ATOMIC_RELEASE);
    CK_SYS3(__NR_futex, ready, FUTEX_WAKE, INT32_MAX);
}

void ck_launch_release(struct ck_launch *launch) {
    if (launch->memory == NULL)
        return;
    CK_SYS2(__NR_munmap, launch->memory, launch->memory_size);
    launch->memory = NULL;
    launch->outcome = NULL;
}
