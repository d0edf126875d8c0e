// files.c: ck-files: start, walk the plan, answer requests. See files.h.
//
// One request at a time, no threads, no allocation. Any request may be the last: whoever is at the other
// end of the conversation ends this program by hanging up, or by SIGKILL.
#include <linux/capability.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/sched.h>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "execute.h"
#include "files_tree.h"

enum { // descriptors to start with
    FD_REQUEST = CK_FD_REQUEST,
    FD_CHANNEL,
    FD_USERNS,
    FD_TARGET,
};

#define MAX_REQUEST (64u << 20)

struct rights {
    struct cmsghdr header;
    int fd;
    int pad;
};

struct message {
    struct ck_file_request request;
    char text[2 * CK_FILE_MAX_PATH];
};

struct worker {
    struct ck_tree tree;
    struct ck_run run;
    struct ck_outcome outcome;
    struct message message;
    char text[CK_FILE_MAX_TEXT];
};

static bool is_present(int fd) {
    return CK_SYS3(__NR_fcntl, fd, 1 /* F_GETFD */, 0) >= 0;
}

// ---- the conversation ------------------------------------------------------------------------------

int ck_answer(struct ck_call *call) {
    struct rights rights = {
        .header = {.cmsg_len = sizeof(struct cmsghdr) + sizeof(int),
                   .cmsg_level = SOL_SOCKET,
                   .cmsg_type = SCM_RIGHTS},
        .fd = call->reply_fd,
    };
    struct iovec bytes[] = {{&call->reply, sizeof(call->reply)}, {call->text, call->reply.text_size}};
    struct msghdr header = {.msg_iov = bytes, .msg_iovlen = 2};
    if (call->reply_fd >= 0) {
        header.msg_control = &rights;
        header.msg_controllen = sizeof(rights);
    }
    long sent;
    do
        sent = CK_SYS3(__NR_sendmsg, call->channel, &header, MSG_NOSIGNAL);
    while (sent == -EINTR);
    return ck_status(sent);
}

// One message: its size, 0 at the end, or -errno. *fd is what came along, or -1.
static long receive(struct message *message, int *fd) {
    struct rights rights = {.fd = -1};
    struct iovec bytes = {message, sizeof(*message)};
    struct msghdr header = {
        .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof(rights)};
    long size;
    do
        size = CK_SYS3(__NR_recvmsg, FD_CHANNEL, &header, MSG_CMSG_CLOEXEC);
    while (size == -EINTR);
    bool has_rights = size > 0 && header.msg_controllen >= sizeof(struct cmsghdr) + sizeof(int) &&
                      rights.header.cmsg_level == SOL_SOCKET && rights.header.cmsg_type == SCM_RIGHTS;
    *fd = has_rights ? rights.fd : -1;
    return size > 0 && header.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EMSGSIZE : size;
}

// A text of this size with its NUL, and no other NUL.
static bool is_text(const char *at, uint32_t size) {
    for (uint32_t i = 0; i + 1 < size; i++) {
        if (at[i] == 0)
            return false;
    }
    return size > 0 && size <= CK_FILE_MAX_PATH && at[size - 1] == 0;
}

static int understand(struct message *message, long size, struct ck_call *call) {
    const struct ck_file_request *request = &message->request;
    if (size < (long)sizeof(*request))
        return -EBADMSG;
    uint64_t texts = (uint64_t)request->path_size + request->other_size;
    if (texts != (uint64_t)size - sizeof(*request) || !is_text(message->text, request->path_size) ||
        !is_text(message->text + request->path_size, request->other_size))
        return -EBADMSG;
    call->flags = request->flags;
    call->a = request->a;
    call->b = request->b;
    call->c = request->c;
    call->d = request->d;
    call->path = message->text;
    call->other = message->text + request->path_size;
    return 0;
}

typedef int file_function(struct ck_tree *tree, struct ck_call *call);

static file_function *const op_table[] = {
#define CK_FILE_ENTRY(name, code) [code] = ck_file_##name,
    CK_FILE_OPS(CK_FILE_ENTRY)
#undef CK_FILE_ENTRY
};

int ck_file_READY(struct ck_tree *tree, struct ck_call *call) {
    (void)tree;
    (void)call;
    return -EINVAL;
}

static int turn(struct worker *w) {
    CK_CLOSE int came = -1;
    long size = receive(&w->message, &came);
    if (size <= 0)
        return size < 0 ? (int)size : -EPIPE;
    struct ck_call call = {.channel = FD_CHANNEL, .fd = came, .reply_fd = -1, .text = w->text};
    uint32_t op = w->message.request.op;
    int err = understand(&w->message, size, &call);
    if (err == 0 && op >= sizeof(op_table) / sizeof(op_table[0]))
        err = -ENOSYS;
    if (err == 0)
        err = op_table[op](&w->tree, &call);
    CK_CLOSE int reply_fd = call.reply_fd;
    call.reply.error = -err;
    return ck_answer(&call);
}

// ---- the start -------------------------------------------------------------------------------------

static int map_request(struct ck_request_view *view) {
    struct stat about;
    long err = CK_SYS2(__NR_fstat, FD_REQUEST, &about);
    if (err < 0)
        return (int)err;
    if (about.st_size <= 0 || about.st_size > MAX_REQUEST)
        return -EBADMSG;
    long at = CK_SYS6(__NR_mmap, NULL, about.st_size, PROT_READ, MAP_PRIVATE, FD_REQUEST, 0);
    if (at < 0 && at > -4096)
        return (int)at;
    err = ck_open_request((void *)at, (size_t)about.st_size, view);
    ck_close(FD_REQUEST);
    return err < 0 ? (int)err : view->has_settings && view->has_plan ? 0 : -EBADMSG;
}

// Root of the namespace that was entered: id 0, where it is mapped (EINVAL: it is not).
static int become_root(void) {
    long err = CK_SYS3(__NR_setresgid, 0, 0, 0);
    if (err == 0)
        err = CK_SYS3(__NR_setresuid, 0, 0, 0);
    return err == -EINVAL ? 0 : (int)err;
}

static int join_userns(void) {
    if (!is_present(FD_USERNS))
        return 0;
    long err = CK_SYS2(__NR_setns, FD_USERNS, CLONE_NEWUSER);
    ck_close(FD_USERNS);
    return err < 0 ? (int)err : become_root();
}

static int leave_namespaces(uint64_t namespaces) {
    if (namespaces == 0)
        return 0;
    int err = (int)CK_SYS1(__NR_unshare, ck_namespace_flags(namespaces));
    return err < 0 || !(namespaces & CK_NS_MOUNT) ? err : ck_make_slave();
}

// Where the plan is walked. A work directory that a volatile overlay has left its mark in is of no use to
// any other (overlayfs.rst, "Volatile mount"), and empty it is as good as new.
static int enter_directory(const struct ck_request_view *view) {
    const char *path = view->settings[CK_SETTING_CONTAINER_DIR].text.at;
    struct ck_strings dirs = view->settings[CK_SETTING_DIRS].strings;
    int err = path[0] == 0 ? 0 : (int)CK_SYS1(__NR_chdir, path);
    if (!(view->settings[CK_SETTING_FLAGS].number & CK_SET_DIRTY_WORK))
        return err;
    for (const char *name; err == 0 && (name = ck_next_string(&dirs)) != NULL;)
        err = ck_empty_tree(CK_AT_FDCWD, name);
    return err;
}

// The tree is the root directory the plan came to, or what it left in slot 0: a view of a container's
// root must not be mounted anywhere, because its mount namespace is the container's own.
static int open_root(struct worker *w) {
    int held = w->run.slot[0].fd;
    long err = 0;
    if (held >= 0)
        err = CK_SYS1(__NR_fchdir, held);
    if (held >= 0 && err == 0)
        err = CK_SYS1(__NR_chroot, ".");
    if (err == 0)
        err = CK_SYS1(__NR_chdir, "/");
    if (err < 0)
        return (int)err;
    w->tree.root = (int)CK_SYS4(__NR_openat, CK_AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    return ck_status(w->tree.root);
}

static int walk(struct worker *w, const struct ck_request_view *view, uint32_t *step) {
    ck_run_begin(&w->run, &view->plan, &w->outcome);
    w->run.namespaces = (uint32_t)view->settings[CK_SETTING_NAMESPACES].number;
    w->run.target = is_present(FD_TARGET) ? FD_TARGET : -1;
    int err = ck_walk_here(&w->run);
    if (err == 0 && w->run.target < 0)
        err = become_root(); // a user namespace may have been joined with the rest
    if (err == 0)
        err = open_root(w);
    *step = w->run.step;
    return err;
}

static int start(struct worker *w, uint32_t *step) {
    struct ck_request_view view;
    *step = CK_STEP_REQUEST;
    int err = map_request(&view);
    if (err < 0)
        return err;
    w->tree.self =
        (int)CK_SYS4(__NR_openat, CK_AT_FDCWD, "/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (w->tree.self < 0)
        return w->tree.self;
    *step = CK_STEP_USERNS;
    if ((err = join_userns()) < 0)
        return err;
    *step = CK_STEP_CLONE;
    if ((err = leave_namespaces(view.settings[CK_SETTING_NAMESPACES].number)) < 0)
        return err;
    *step = CK_STEP_DIRS;
    if ((err = enter_directory(&view)) < 0)
        return err;
    return walk(w, &view, step);
}

// Deep trees are walked with a descriptor for each directory on the way.
static void raise_file_limit(void) {
    struct rlimit limit;
    if (CK_SYS4(__NR_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    CK_SYS4(__NR_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL);
}

// From here on only files are touched, and hostile input is parsed. What is kept is for owners, modes,
// whiteouts and overlayfs's attributes; without CAP_SYSLOG, for one, no symlink leads into /proc/kmsg.
static int limit_rights(void) {
    static const uint32_t kept = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH |
                                 1u << CAP_FOWNER | 1u << CAP_FSETID | 1u << CAP_SYS_ADMIN | 1u << CAP_MKNOD |
                                 1u << CAP_SETFCAP;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2];
    long err = CK_SYS2(__NR_capget, &header, data);
    uint32_t ours = data[0].permitted & kept;
    data[0] = (struct __user_cap_data_struct){ours, ours, 0};
    data[1] = (struct __user_cap_data_struct){0, 0, 0};
    if (err == 0)
        err = CK_SYS2(__NR_capset, &header, data);
    if (err == 0)
        err = CK_SYS5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (err == 0) // new credentials may have changed it
        err = CK_SYS5(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    return (int)err;
}

static struct worker the_worker; // the program's one object; untouched pages cost nothing

__attribute__((noreturn)) void ck_main(void) {
    struct worker *w = &the_worker;
    struct ck_call ready = {.channel = FD_CHANNEL, .fd = -1, .reply_fd = -1, .text = w->text};
    CK_SYS5(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    CK_SYS1(__NR_umask, 0);
    raise_file_limit();
    int err = start(w, &ready.reply.step);
    if (err == 0)
        err = limit_rights();
    ready.reply.error = -err;
    if (ck_answer(&ready) < 0 || err < 0)
        ck_exit(1);
    while (turn(w) == 0)
        continue;
    ck_exit(0);
}
