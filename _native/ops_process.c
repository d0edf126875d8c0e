// ops_process.c: steps that are about the process itself: sessions, the monitor, other namespaces,
// another process going on, and the exec.
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/futex.h>
#include <linux/if.h>
#include <linux/magic.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/sockios.h>

#include <asm/poll.h>
#include <asm/statfs.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "execute.h"
#include "resolve.h"

#define READY_POLL_NS 50000000 // how long a dead monitor can go unnoticed

// The network namespace's devices are within reach of any socket; the report is one as well, so
// AF_UNIX is there even where the kernel has no IPv4.
int ck_do_LOOPBACK_UP(struct ck_run *run, struct ck_field *field) {
    (void)run;
    (void)field;
    CK_CLOSE int any = (int)CK_SYS3(__NR_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    return any < 0 ? any : (int)CK_SYS3(__NR_ioctl, any, SIOCSIFFLAGS, &lo);
}

int ck_do_PARENT_DEATH_SIGNAL(struct ck_run *run, struct ck_field *field) {
    (void)run;
    return (int)CK_SYS5(__NR_prctl, PR_SET_PDEATHSIG, field[0].number, 0, 0, 0);
}

int ck_start_session(void) {
    long err = CK_SYS0(__NR_setsid);
    if (err == -EPERM && CK_SYS1(__NR_getsid, 0) == CK_SYS0(__NR_getpid))
        return 0;
    return ck_status(err);
}

int ck_do_START_SESSION(struct ck_run *run, struct ck_field *field) {
    (void)run;
    (void)field;
    return ck_start_session();
}

// ---- what the kernel keeps about a process ------------------------------------------------------

static int open_own_file(const char *path) {
    uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    struct statfs of;
    CK_CLOSE int self = ck_open_at(CK_AT_FDCWD, "/proc/self", O_PATH | O_DIRECTORY, 0);
    int err = self < 0 ? self : ck_status(CK_SYS2(__NR_fstatfs, self, &of));
    if (err < 0)
        return err;
    return of.f_type == PROC_SUPER_MAGIC ? ck_open_at(self, path, O_WRONLY, resolve) : -EBADF;
}

// The host's /proc, before anything of the container can be seen. With memory shared a write of
// oom_score_adj would hold for the monitor as well, and so would the moment of being dumpable: without
// it the files of a process in a user namespace belong to the host's root (proc(5)).
int ck_do_PROCESS_FILE(struct ck_run *run, struct ck_field *field) {
    if (!run->own_memory)
        return -EINVAL;
    CK_SYS5(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    CK_CLOSE int file = open_own_file(field[0].text.at);
    CK_SYS5(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    long n = file < 0 ? file : ck_write(file, field[1].text.at, field[1].text.size);
    return n == (long)field[1].text.size ? 0 : n < 0 ? (int)n : -EIO;
}

// ---- other namespaces ---------------------------------------------------------------------------

static const struct {
    uint32_t ours;
    uint64_t kernel;
} namespace_table[] = {
    {CK_NS_USER, CLONE_NEWUSER},     {CK_NS_MOUNT, CLONE_NEWNS}, {CK_NS_PID, CLONE_NEWPID},
    {CK_NS_IPC, CLONE_NEWIPC},       {CK_NS_UTS, CLONE_NEWUTS},  {CK_NS_NET, CLONE_NEWNET},
    {CK_NS_CGROUP, CLONE_NEWCGROUP},
};

uint64_t ck_namespace_flags(uint64_t ours) {
    uint64_t flags = 0;
    for (size_t i = 0; i < sizeof(namespace_table) / sizeof(namespace_table[0]); i++) {
        if (ours & namespace_table[i].ours)
            flags |= namespace_table[i].kernel;
    }
    return flags;
}

// setns(2) with a pidfd joins all at once, the user namespace first. A pid namespace holds only for
// children: until ENTER_PID_NAMESPACE nobody inside can see this process.
int ck_do_JOIN_NAMESPACES(struct ck_run *run, struct ck_field *field) {
    int err = (int)CK_SYS2(__NR_setns, run->target, ck_namespace_flags(field[0].number));
    if (err < 0)
        return err;
    ck_close(run->target);
    run->target = -1;
    ck_forget_root(run);
    return 0;
}

// The child goes on as the monitor's own (CLONE_PARENT), while this process ends. It has memory of its
// own and, by its place in the plan, the container's privileges only: those inside may have CAP_SYS_PTRACE.
// Not clone3: a filter that is installed by now answers that with ENOSYS.
int ck_do_ENTER_PID_NAMESPACE(struct ck_run *run, struct ck_field *field) {
    (void)field;
    long pid = CK_SYS5(__NR_clone, CLONE_PARENT | CLONE_PARENT_SETTID, 0, &run->outcome->pid, 0, 0);
    if (pid > 0)
        ck_exit(0);
    run->own_memory = true;
    return (int)pid;
}

// PID 1's children: this process stays behind as a reaper, its child goes on. Only with memory of its
// own: a process that stays must not live in the monitor's.
int ck_do_FORK_INIT(struct ck_run *run, struct ck_field *field) {
    bool subreaper = field[0].number & CK_INIT_SUBREAPER, dumpable = field[0].number & CK_INIT_DUMPABLE;
    if (!run->own_memory)
        return -EINVAL;
    if (subreaper) {
        int err = (int)CK_SYS5(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        if (err < 0)
            return err;
    }
    CK_CLOSE int proc = subreaper ? ck_open_own_proc(run) : -1;
    // Not clone3: the default filter, which may be installed by now, answers that with ENOSYS.
    long pid = CK_SYS5(__NR_clone, 17 /* SIGCHLD */, 0, 0, 0, 0);
    if (pid > 0)
        ck_reap((int)pid, subreaper, dumpable, ck_steal_fd(&proc));
    return (int)pid;
}

// ---- the monitor's word ---------------------------------------------------------------------------

static bool monitor_is_gone(int report) {
    struct pollfd poll = {.fd = report, .events = 0};
    struct ck_timespec now = {0, 0};
    long n = CK_SYS5(__NR_ppoll, &poll, 1, &now, NULL, 0);
    return n > 0 && poll.revents & (POLLHUP | POLLERR);
}

// The end of the monitor is looked for even when its word is there: a parent-death signal asked for
// too late never comes.
int ck_do_READY(struct ck_run *run, struct ck_field *field) {
    (void)field;
    uint32_t *ready = &run->outcome->ready;
    for (;;) {
        if (monitor_is_gone(run->report))
            return -EPIPE;
        if (__atomic_load_n(ready, __ATOMIC_ACQUIRE) != 0)
            return 0;
        struct ck_timespec timeout = {0, READY_POLL_NS};
        CK_SYS4(__NR_futex, ready, FUTEX_WAIT, 0, &timeout);
    }
}

// ---- exec -----------------------------------------------------------------------------------------

static const char **point(struct ck_strings strings, const char **at) {
    for (const char *string; (string = ck_next_string(&strings)) != NULL;)
        *at++ = string;
    *at++ = NULL;
    return at;
}

// As execvp(3): what is not there or not ours to run is passed over, anything else decides.
static int try_candidates(struct ck_strings candidates, const char **argv, const char **envp) {
    int verdict = -ENOENT;
    for (const char *path; (path = ck_next_string(&candidates)) != NULL;) {
        int err = (int)CK_SYS3(__NR_execve, path, argv, envp);
        if (err == -EACCES)
            verdict = err;
        else if (err != -ENOENT && err != -ENOTDIR)
            return err;
    }
    return verdict;
}

// A file that exists although its exec says ENOENT misses its interpreter: #! or the ELF loader.
static uint32_t find_existing(struct ck_strings candidates) {
    uint32_t index = 1;
    for (const char *path; (path = ck_next_string(&candidates)) != NULL; index++) {
        if (CK_SYS3(__NR_faccessat, CK_AT_FDCWD, path, 0) == 0)
            return index;
    }
    return 0;
}

int ck_do_EXEC(struct ck_run *run, struct ck_field *field) {
    const char **argv = run->pointers;
    const char **envp = point(field[1].strings, argv);
    uint64_t no_signals = 0;
    point(field[2].strings, envp);
    int err =
        ck_status(CK_SYS4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &no_signals, NULL, sizeof(no_signals)));
    if (err == 0)
        err = try_candidates(field[0].strings, argv, envp);
    if (err == -ENOENT)
        run->outcome->detail = find_existing(field[0].strings);
    return err;
}
