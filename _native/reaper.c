// reaper.c: what FORK_INIT leaves behind: a process that forwards signals, reaps orphans and ends
// as its main child ended.
//
// As PID 1 its exit ends the pid namespace. As a subreaper (an exec session) it stands above
// everything the session starts, and ends it all on SIGUSR1.
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/wait.h>

#include <asm/statfs.h>

#include "cleanup.h"
#include "execute.h"
#include "resolve.h"

#define SIGNAL_KILL 9
#define SIGNAL_USR1 10
#define SIGNAL_CHILD 17
#define STATUS_KILLED (128 + SIGNAL_KILL)

struct family {
    int me;
    int main_child;
    int proc; // directory of our own pid namespace's procfs, or -1
};

// ---- /proc -----------------------------------------------------------------------------------

static int parse_number(const char **at) {
    int number = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++)
        number = number * 10 + (**at - '0');
    return number;
}

// procfs of our own pid namespace, else its numbers are not ours: "self" must be this process.
int ck_open_own_proc(struct ck_run *run) {
    CK_CLOSE int proc = ck_open_inside(run, "/proc", O_RDONLY | O_DIRECTORY, CK_INSIDE_ORDINARY);
    struct statfs of;
    char self[16];
    if (proc < 0 || CK_SYS2(__NR_fstatfs, proc, &of) < 0 || of.f_type != PROC_SUPER_MAGIC)
        return -1;
    long size = CK_SYS4(__NR_readlinkat, proc, "self", self, sizeof(self) - 1);
    if (size <= 0)
        return -1;
    self[size] = 0;
    const char *at = self;
    return parse_number(&at) == CK_SYS0(__NR_getpid) ? ck_steal_fd(&proc) : -1;
}

// The parent in /proc/<pid>/stat: "pid (name) state parent …"; the name may hold anything.
static int read_parent(int proc, const char *pid) {
    char text[512];
    CK_CLOSE int dir = ck_open_at(proc, pid, O_PATH | O_DIRECTORY, RESOLVE_BENEATH);
    CK_CLOSE int file = dir < 0 ? dir : ck_open_at(dir, "stat", O_RDONLY, RESOLVE_BENEATH);
    long size = file < 0 ? file : ck_read(file, text, sizeof(text) - 1);
    if (size <= 0)
        return -1;
    text[size] = 0;
    const char *name_end = NULL;
    for (const char *p = text; *p != 0; p++)
        name_end = *p == ')' ? p : name_end;
    if (name_end == NULL || text + size - name_end < 5)
        return -1;
    const char *at = name_end + 4;
    return parse_number(&at);
}

struct entry { // linux_dirent64, getdents64(2)
    uint64_t inode;
    int64_t offset;
    uint16_t size;
    uint8_t type;
    char name[];
};

static void kill_children(const struct family *family) {
    union {
        struct entry align;
        char bytes[2048];
    } room;
    CK_SYS2(__NR_kill, family->main_child, SIGNAL_KILL);
    CK_SYS3(__NR_lseek, family->proc, 0, 0);
    for (;;) {
        long size = CK_SYS3(__NR_getdents64, family->proc, &room, sizeof(room));
        if (size <= 0)
            return;
        for (long at = 0; at < size;) {
            const struct entry *entry = (const struct entry *)(room.bytes + at);
            const char *name = entry->name;
            int pid = parse_number(&name);
            if (pid > 0 && *name == 0 && read_parent(family->proc, entry->name) == family->me)
                CK_SYS2(__NR_kill, pid, SIGNAL_KILL);
            at += entry->size;
        }
    }
}

// Orphans become ours, so killing children again and again reaches every descendant.
static void end_family(const struct family *family) {
    if (family->proc < 0) { // no procfs, no names: the main child at least
        CK_SYS2(__NR_kill, family->main_child, SIGNAL_KILL);
        CK_SYS4(__NR_wait4, family->main_child, NULL, __WALL, NULL);
        return;
    }
    for (long pid = 0; pid != -ECHILD;) {
        kill_children(family);
        pid = CK_SYS4(__NR_wait4, -1, NULL, __WALL, NULL);
        while (pid > 0)
            pid = CK_SYS4(__NR_wait4, -1, NULL, __WALL | WNOHANG, NULL);
    }
}

// ---- the life of a reaper ------------------------------------------------------------------------

static void keep_only(int fd) {
    if (fd > 0)
        CK_SYS3(__NR_close_range, 0, fd - 1, 0);
    CK_SYS3(__NR_close_range, fd + 1, ~0u, 0);
}

// End as the main child ended; by the same signal unless PID 1, which no signal of its own ends.
__attribute__((noreturn)) static void end_as(const struct family *family, int status) {
    int signal = status & 0x7f;
    if (signal == 0)
        ck_exit(status >> 8 & 0xff);
    uint64_t others = ~((uint64_t)1 << (signal - 1));
    uint64_t no_core[2] = {0, 0};
    if (family->me != 1) {
        CK_SYS4(__NR_prlimit64, 0, RLIMIT_CORE, no_core, NULL);
        CK_SYS4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &others, NULL, sizeof(others));
        CK_SYS2(__NR_kill, family->me, signal);
    }
    ck_exit(128 + signal);
}

static void reap_ended(const struct family *family) {
    for (;;) {
        int status = 0;
        long pid = CK_SYS4(__NR_wait4, -1, &status, WNOHANG | __WALL, NULL);
        if (pid == family->main_child)
            end_as(family, status);
        if (pid <= 0)
            return;
    }
}

void ck_reap(int main_child, bool subreaper, bool dumpable, int proc) {
    struct family family = {.me = (int)CK_SYS0(__NR_getpid), .main_child = main_child, .proc = proc};
    uint64_t all = ~(uint64_t)0;
    CK_SYS4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, NULL, sizeof(all));
    CK_SYS5(__NR_prctl, PR_SET_DUMPABLE, dumpable, 0, 0, 0);
    CK_SYS1(__NR_chdir, "/");
    keep_only(proc);
    for (;;) {
        long signal = CK_SYS4(__NR_rt_sigtimedwait, &all, NULL, NULL, sizeof(all));
        if (signal == SIGNAL_CHILD) {
            reap_ended(&family);
        } else if (signal == SIGNAL_USR1 && subreaper) {
            end_family(&family);
            ck_exit(STATUS_KILLED);
        } else if (signal > 0) {
            CK_SYS2(__NR_kill, main_child, signal);
        }
    }
}
