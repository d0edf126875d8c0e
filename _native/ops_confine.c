// ops_confine.c: who the process is and what it may do. One system call an op, mostly.
//
// Credentials by raw system calls: they are those of this one process, whatever a libc would do
// about threads (nptl(7)).
#include <linux/capability.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>

#include "cleanup.h"
#include "execute.h"
#include "resolve.h"

#define ALL_CAPABILITIES 64u

static int prctl(int option, uint64_t a, uint64_t b) {
    return (int)CK_SYS5(__NR_prctl, option, a, b, 0, 0);
}

int ck_do_HOSTNAME(struct ck_run *run, struct ck_field *field) {
    (void)run;
    int err = (int)CK_SYS2(__NR_sethostname, field[0].text.at, field[0].text.size);
    if (err == 0 && field[1].text.size > 0)
        err = (int)CK_SYS2(__NR_setdomainname, field[1].text.at, field[1].text.size);
    return err;
}

int ck_do_RLIMIT(struct ck_run *run, struct ck_field *field) {
    (void)run;
    struct {
        uint64_t soft, hard;
    } limit = {field[1].number, field[2].number};
    return (int)CK_SYS4(__NR_prlimit64, 0, field[0].number, &limit, NULL);
}

int ck_do_BOUNDING_SET(struct ck_run *run, struct ck_field *field) {
    (void)run;
    for (uint32_t cap = 0; cap < ALL_CAPABILITIES; cap++) {
        int err = field[0].number >> cap & 1 ? 0 : prctl(PR_CAPBSET_DROP, cap, 0);
        if (err == -EINVAL) // beyond the last one this kernel knows
            return cap == 0 ? err : 0;
        if (err < 0)
            return err;
    }
    return 0;
}

int ck_do_GROUPS(struct ck_run *run, struct ck_field *field) {
    (void)run;
    struct ck_text gids = field[0].text;
    if (gids.size % sizeof(uint32_t) != 0)
        return -EINVAL;
    return (int)CK_SYS2(__NR_setgroups, gids.size / sizeof(uint32_t), gids.at);
}

int ck_do_GID(struct ck_run *run, struct ck_field *field) {
    (void)run;
    uint64_t gid = field[0].number;
    return gid == UINT32_MAX ? -EINVAL : (int)CK_SYS3(__NR_setresgid, gid, gid, gid);
}

// Permitted capabilities survive the change, so that CAPABILITIES can keep some; if it does not
// come, the exec ends them. -1 would mean "leave it": never what a plan says.
int ck_do_UID(struct ck_run *run, struct ck_field *field) {
    (void)run;
    uint64_t uid = field[0].number;
    int err = uid == UINT32_MAX ? -EINVAL : prctl(PR_SET_KEEPCAPS, 1, 0);
    return err < 0 ? err : (int)CK_SYS3(__NR_setresuid, uid, uid, uid);
}

int ck_do_CAPABILITIES(struct ck_run *run, struct ck_field *field) {
    (void)run;
    uint64_t effective = field[0].number, ambient = field[1].number;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)effective, (uint32_t)effective, (uint32_t)ambient},
        {(uint32_t)(effective >> 32), (uint32_t)(effective >> 32), (uint32_t)(ambient >> 32)},
    };
    int err = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0);
    if (err == 0)
        err = (int)CK_SYS2(__NR_capset, &header, data);
    for (uint32_t cap = 0; err == 0 && cap < ALL_CAPABILITIES; cap++) {
        if (ambient >> cap & 1)
            err = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap);
    }
    return err;
}

int ck_do_NO_NEW_PRIVS(struct ck_run *run, struct ck_field *field) {
    (void)run;
    (void)field;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0);
}

static int install_filter(struct ck_text program, uint32_t flags) {
    uint32_t length = program.size / sizeof(struct sock_filter);
    if (program.size % sizeof(struct sock_filter) != 0 || length > UINT16_MAX)
        return -EINVAL;
    struct sock_fprog filter = {.len = (uint16_t)length, .filter = (void *)(uintptr_t)program.at};
    return (int)CK_SYS3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
}

int ck_do_SECCOMP(struct ck_run *run, struct ck_field *field) {
    (void)run;
    return install_filter(field[0].text, 0);
}

int ck_do_FLAGGED_SECCOMP(struct ck_run *run, struct ck_field *field) {
    (void)run;
    uint64_t asked = field[1].number;
    uint32_t flags = asked & CK_FILTER_LOG ? SECCOMP_FILTER_FLAG_LOG : 0;
    flags |= asked & CK_FILTER_SPEC_ALLOW ? SECCOMP_FILTER_FLAG_SPEC_ALLOW : 0;
    return install_filter(field[0].text, flags);
}

// The directory is opened inside the root and without magic links, and then the kernel is asked
// where we are: a directory outside is "(unreachable)" (getcwd(2); CVE-2024-21626).
int ck_do_CHDIR(struct ck_run *run, struct ck_field *field) {
    char here[CK_PATH_MAX];
    CK_CLOSE int dir = ck_open_inside(run, field[0].text.at, O_PATH | O_DIRECTORY, CK_INSIDE);
    int err = dir < 0 ? dir : ck_status(CK_SYS1(__NR_fchdir, dir));
    if (err == 0)
        err = ck_status(CK_SYS2(__NR_getcwd, here, sizeof(here)));
    return err < 0 ? err : here[0] == '/' ? 0 : -ENOENT;
}

int ck_do_UMASK(struct ck_run *run, struct ck_field *field) {
    (void)run;
    return ck_status(CK_SYS1(__NR_umask, field[0].number & 0777));
}

// Where an outer filter keeps the whole family of calls from us, it keeps the container from the keys as well.
int ck_do_SESSION_KEYRING(struct ck_run *run, struct ck_field *field) {
    (void)run;
    (void)field;
    int err = ck_status(CK_SYS2(__NR_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL));
    bool blocked =
        err == -EPERM && CK_SYS3(__NR_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) == -EPERM;
    return err == -ENOSYS || blocked ? 0 : err;
}
