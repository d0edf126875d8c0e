// ops_userns.c: a user namespace for one container, and the process that goes on in it.
//
// Until ENTER_USER_NAMESPACE a launch has the engine's ids and may open what they may; the process
// after it has the container's own and no power over anything else. Source: user_namespaces(7).
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/stat.h>

#include <sys/socket.h>

#include "cleanup.h"
#include "execute.h"
#include "resolve.h"

#define PROC_NAME_MAX 24 // "/proc/" and a number

// ---- a namespace ----------------------------------------------------------------------------

// The namespace is a child's, until its descriptor is there. The child's memory is its own, so that it may be
// dumpable, unlike the monitor's: else its files in /proc would belong to the host's root (proc(5)).
__attribute__((noreturn)) static void hold(int end) {
    char word = 0;
    CK_SYS5(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    ck_write(end, &word, 1);
    ck_read(end, &word, 1); // until the other end is closed, by whatever end of the other process
    ck_exit(0);
}

static long make_holder(int *end) {
    int ends[2];
    char word;
    int err = (int)CK_SYS4(__NR_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
    if (err < 0)
        return err;
    long pid = CK_SYS5(__NR_clone, CLONE_NEWUSER | 17 /* SIGCHLD */, 0, 0, 0, 0);
    ck_close(ends[pid == 0 ? 0 : 1]);
    if (pid == 0)
        hold(ends[1]);
    *end = ends[0];
    if (pid > 0)
        ck_read(ends[0], &word, 1);
    return pid;
}

static int open_proc_of(long pid) {
    char name[PROC_NAME_MAX] = "/proc/", digits[12];
    int count = 0, length = 6;
    for (; pid > 0; pid /= 10)
        digits[count++] = (char)('0' + pid % 10);
    while (count > 0)
        name[length++] = digits[--count];
    name[length] = 0;
    return (int)CK_SYS4(__NR_openat, CK_AT_FDCWD, name, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
}

static int write_map(int proc, const char *name, struct ck_text map) {
    CK_CLOSE int file = (int)CK_SYS4(__NR_openat, proc, name, O_WRONLY | O_CLOEXEC, 0);
    if (file < 0)
        return file;
    long n = ck_write(file, map.at, map.size);
    return n == (long)map.size ? 0 : n < 0 ? (int)n : -EIO;
}

static int open_mapped(long pid, const struct ck_field *field) {
    CK_CLOSE int proc = open_proc_of(pid);
    int err = proc < 0 ? proc : write_map(proc, "uid_map", field[1].text);
    if (err == 0)
        err = write_map(proc, "gid_map", field[2].text);
    return err < 0 ? err : (int)CK_SYS4(__NR_openat, proc, "ns/user", O_RDONLY | O_CLOEXEC, 0);
}

int ck_do_MAKE_USER_NAMESPACE(struct ck_run *run, struct ck_field *field) {
    if (field[1].text.size == 0 || field[2].text.size == 0)
        return -EINVAL; // ids are claimed first
    CK_CLOSE int end = -1;
    long pid = make_holder(&end);
    if (pid < 0)
        return (int)pid;
    CK_CLOSE int namespace = open_mapped(pid, field);
    ck_close(end);
    end = -1;
    CK_SYS4(__NR_wait4, pid, NULL, 0, NULL);
    return ck_slot_fill(run, field[0].number, &namespace);
}

// ---- going on in it -------------------------------------------------------------------------

// A limit can be raised only here: inside, CAP_SYS_RESOURCE does not count for that.
int ck_do_RAISE_LIMIT(struct ck_run *run, struct ck_field *field) {
    (void)run;
    struct {
        uint64_t soft, hard;
    } limit;
    int err = (int)CK_SYS4(__NR_prlimit64, 0, field[0].number, NULL, &limit);
    if (err < 0 || limit.hard >= field[1].number)
        return err;
    limit.hard = field[1].number;
    return (int)CK_SYS4(__NR_prlimit64, 0, field[0].number, &limit, NULL);
}

// What the container shows gets its mount points while they can be made: the process inside may not
// own the directories they are in.
int ck_do_SLOT_TARGET(struct ck_run *run, struct ck_field *field) {
    int root = ck_slot_fd(run, field[0].number);
    uint32_t mode = field[2].number ? S_IFDIR | 0755 : S_IFREG | 0644;
    bool made;
    CK_CLOSE int target = root < 0 ? root : ck_open_or_make(root, field[1].text.at, mode, CK_INSIDE, &made);
    return target < 0 ? target : 0;
}

static int become_root(void) {
    int err = (int)CK_SYS2(__NR_setgroups, 0, NULL);
    if (err == 0)
        err = (int)CK_SYS3(__NR_setresgid, 0, 0, 0);
    return err < 0 ? err : (int)CK_SYS3(__NR_setresuid, 0, 0, 0);
}

static void go_on(void *argument) {
    struct ck_run *run = argument;
    run->step++;
    ck_walk(run);
}

// The child goes on as the monitor's own (CLONE_PARENT), with this process's memory; this one ends
// and touches nothing more. Its place, where mounts are put on their way, is a directory that the container's
// ids can enter, and not "/": what lies on top of that is not dropped with the old root.
int ck_do_ENTER_USER_NAMESPACE(struct ck_run *run, struct ck_field *field) {
    int namespace = ck_slot_fd(run, field[0].number);
    if (namespace < 0 || run->stack == NULL)
        return namespace < 0 ? namespace : -EINVAL;
    int err = ck_status(CK_SYS1(__NR_chdir, "/dev"));
    if (err == 0)
        err = (int)CK_SYS2(__NR_setns, namespace, CLONE_NEWUSER);
    if (err == 0)
        err = become_root();
    if (err < 0)
        return err;
    run->namespaces = (uint32_t)field[1].number;
    run->outcome->confined_ns = 0; // RAISE_LIMIT is not a part of that
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_PARENT | CLONE_PARENT_SETTID | ck_namespace_flags(run->namespaces),
        .parent_tid = (uintptr_t)&run->outcome->pid,
        .stack = (uintptr_t)run->stack,
        .stack_size = CK_STACK_SIZE / 2, // this process is in the upper half
    };
    long pid = ck_clone3(&args, go_on, run);
    if (pid < 0)
        return (int)pid;
    ck_exit(0);
}
