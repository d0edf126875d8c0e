// ops_terminal.c: stdio of the container's own: a pty of its devpts, which is the controlling terminal as well,
// or its null device.
#include <asm/ioctls.h>
#include <asm/termios.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/stat.h>

#include <asm/statfs.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "execute.h"
#include "resolve.h"

#define PTMX_MAJOR 5
#define PTMX_MINOR 2

static int ioctl(int fd, unsigned long request, uintptr_t argument) {
    return (int)CK_SYS3(__NR_ioctl, fd, request, argument);
}

// It must be devpts and it must be ptmx: the container may have put something else in its place.
static int verify_ptmx(int fd) {
    struct statfs of;
    struct statx stat;
    int err = ck_status(CK_SYS2(__NR_fstatfs, fd, &of));
    if (err == 0)
        err = ck_status(CK_SYS5(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &stat));
    if (err < 0)
        return err;
    bool genuine = of.f_type == DEVPTS_SUPER_MAGIC && (stat.stx_mode & S_IFMT) == S_IFCHR &&
                   stat.stx_rdev_major == PTMX_MAJOR && stat.stx_rdev_minor == PTMX_MINOR;
    return genuine ? 0 : -ENODEV;
}

static int open_master(struct ck_run *run, const char *devpts) {
    CK_CLOSE int dir = ck_open_inside(run, devpts, O_PATH | O_DIRECTORY, CK_INSIDE_ORDINARY);
    if (dir < 0)
        return dir;
    CK_CLOSE int found = ck_open_at(dir, "ptmx", O_PATH, CK_INSIDE_ORDINARY | RESOLVE_NO_XDEV);
    int err = found < 0 ? found : verify_ptmx(found);
    if (err < 0)
        return err;
    CK_CLOSE int master = ck_open_at(dir, "ptmx", O_RDWR | O_NOCTTY, CK_INSIDE_ORDINARY | RESOLVE_NO_XDEV);
    err = master < 0 ? master : verify_ptmx(master);
    return err < 0 ? err : ck_steal_fd(&master);
}

// The slave by its master (TIOCGPTPEER): no path is looked up that could be another's.
static int open_slave(int master, uint64_t rows, uint64_t columns) {
    struct winsize size = {.ws_row = (uint16_t)rows, .ws_col = (uint16_t)columns};
    int unlock = 0;
    int err = ioctl(master, TIOCSPTLCK, (uintptr_t)&unlock);
    if (err == 0)
        err = ioctl(master, TIOCSWINSZ, (uintptr_t)&size);
    return err < 0 ? err : ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static int send_master(int report, int master) {
    struct ck_message message = {.type = CK_MSG_TTY};
    struct iovec data = {.iov_base = &message, .iov_len = sizeof(message)};
    union {
        struct cmsghdr header;
        unsigned char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = {0}};
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    __builtin_memcpy(CMSG_DATA(&control.header), &master, sizeof(int));
    struct msghdr header = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    return ck_status(CK_SYS3(__NR_sendmsg, report, &header, MSG_NOSIGNAL));
}

int ck_do_TERMINAL(struct ck_run *run, struct ck_field *field) {
    CK_CLOSE int master = open_master(run, field[0].text.at);
    if (master < 0)
        return master;
    CK_CLOSE int slave = open_slave(master, field[1].number, field[2].number);
    int err = slave < 0 ? slave : ck_start_session();
    if (err == 0)
        err = ioctl(slave, TIOCSCTTY, 0);
    for (int fd = 0; err == 0 && fd < 3; fd++)
        err = ck_status(CK_SYS3(__NR_dup3, slave, fd, 0));
    return err < 0 ? err : send_master(run->report, master);
}

// ---- the null device ------------------------------------------------------------------------

// Who runs in the container already may have put something else in its place, and wait for us to open it.
static int open_own_null(struct ck_run *run) {
    CK_CLOSE int null = ck_open_inside(run, "/dev/null", O_RDWR | O_NOCTTY | O_NONBLOCK, CK_INSIDE_ORDINARY);
    int err = null < 0 ? null : ck_check_null_device(null);
    if (err == 0)
        err = ck_status(CK_SYS3(__NR_fcntl, null, F_SETFL, 0));
    return err < 0 ? err : ck_steal_fd(&null);
}

// What nobody can write to reads like the null device.
static int open_empty_pipe(void) {
    int ends[2];
    long err = CK_SYS2(__NR_pipe2, ends, O_CLOEXEC);
    if (err < 0)
        return (int)err;
    ck_close(ends[1]);
    return ends[0];
}

static int replace_null(struct ck_run *run, int fd) {
    int err = ck_check_null_device(fd);
    if (err < 0)
        return err == -ENODEV ? 0 : err;
    CK_CLOSE int own = open_own_null(run);
    if (own < 0 && fd == 0)
        own = open_empty_pipe();
    return own < 0 ? own : ck_status(CK_SYS3(__NR_dup3, own, fd, 0));
}

// Through a descriptor of the host's node, root in a container would change the mode and the owner of that.
int ck_do_NULL_STDIO(struct ck_run *run, struct ck_field *field) {
    int err = 0;
    (void)field;
    for (int fd = 0; err == 0 && fd < 3; fd++)
        err = replace_null(run, fd);
    return err;
}
