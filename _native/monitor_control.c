// monitor_control.c: the control socket and the owner's channel: who may speak, what is understood.
//
// One message is one request. A handler returns 0 for "answer OK", -errno for "answer ERROR",
// CK_ANSWERED when it answered itself or the answer comes later. A client that does not read
// its answers is dropped.
#include <sys/ioctl.h>
#include <sys/un.h>

#include "cleanup.h"
#include "monitor.h"

#define CK_ANSWERED 1
#define CK_OVERFLOW_UID 65534
#define CK_LAST_WORDS 64 // unread requests thrown away at the end

struct rights { // room for four descriptors, laid out as the kernel wants it
    struct cmsghdr header;
    int fds[4];
};

// One message: its size, 0 at the end, or -errno. Descriptors that did not come are -1.
long ck_receive(int socket, struct ck_message *message, int fds[4]) {
    struct rights rights = {0};
    struct iovec bytes = {message, sizeof(*message)};
    struct msghdr header = {
        .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof(rights)};
    fds[0] = fds[1] = fds[2] = fds[3] = -1;
    long size = CK_SYS3(__NR_recvmsg, socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0)
        return size;
    bool has_rights = header.msg_controllen >= sizeof(struct cmsghdr) &&
                      rights.header.cmsg_type == SCM_RIGHTS && rights.header.cmsg_level == SOL_SOCKET;
    size_t count = has_rights ? (rights.header.cmsg_len - sizeof(struct cmsghdr)) / sizeof(int) : 0;
    for (size_t i = 0; i < count && i < 4; i++)
        fds[i] = rights.fds[i];
    for (size_t i = 0; size == 0 && i < 4; i++) // an empty message, the end to us, may bring descriptors
        ck_close_fd(&fds[i]);
    if (size == 0 || (size == sizeof(*message) && !(header.msg_flags & (MSG_TRUNC | MSG_CTRUNC))))
        return size;
    message->type = 0; // of a size that is none of ours: answered as unknown
    return size;
}

// fd, unless -1, goes along as a copy.
void ck_send(struct ck_monitor *m, int client, const struct ck_message *message, int fd) {
    if (client < 0 || m->clients[client].fd < 0)
        return;
    struct rights rights = {.header = {.cmsg_len = sizeof(struct cmsghdr) + sizeof(int),
                                       .cmsg_level = SOL_SOCKET,
                                       .cmsg_type = SCM_RIGHTS},
                            .fds = {fd}};
    struct iovec bytes = {(void *)message, sizeof(*message)};
    struct msghdr header = {.msg_iov = &bytes, .msg_iovlen = 1};
    if (fd >= 0) {
        header.msg_control = &rights;
        header.msg_controllen = sizeof(struct cmsghdr) + 2 * sizeof(int);
    }
    long sent = CK_SYS3(__NR_sendmsg, m->clients[client].fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && client > 0)
        ck_drop_client(m, (uint32_t)client);
}

void ck_drop_client(struct ck_monitor *m, uint32_t index) {
    struct ck_client *client = &m->clients[index];
    ck_attach_end(client);
    ck_close_fd(&client->fd);
    client->waits = false;
    if (client->session >= 0)
        ck_session_lost_client(&m->sessions[client->session]);
    client->session = -1;
    if (index == 0)
        ck_owner_gone(m);
}

// ---- requests -----------------------------------------------------------------------

struct call {
    uint32_t client;
    const struct ck_message *message;
    int *fds; // what a handler keeps it replaces by -1
};

static int do_go(struct ck_monitor *m, const struct call *call) {
    if (call->client != 0 || m->phase != CK_PHASE_WAITING)
        return -EINVAL;
    ck_run_go(m);
    return CK_ANSWERED;
}

static int do_detach(struct ck_monitor *m, const struct call *call) {
    if (call->client != 0)
        return -EINVAL;
    m->set.flags &= ~(CK_SET_OWNED | CK_SET_REMOVE_OWNED);
    ck_close_fd(&m->owner_pidfd);
    return CK_ANSWERED;
}

static int do_signal(struct ck_monitor *m, const struct call *call) {
    int session = m->clients[call->client].session;
    if (session >= 0)
        return ck_session_signal(&m->sessions[session], call->message->value);
    return ck_signal_init(m, call->message->value);
}

static int do_stop(struct ck_monitor *m, const struct call *call) {
    if (call->message->value < 0 || call->message->value > 64)
        return -EINVAL;
    if (m->phase == CK_PHASE_WAITING)
        return -ESRCH;
    m->clients[call->client].waits = true;
    ck_stop(m, (uint32_t)call->message->value, call->message->a);
    return CK_ANSWERED;
}

static int do_wait(struct ck_monitor *m, const struct call *call) {
    m->clients[call->client].waits = true;
    return CK_ANSWERED;
}

static int do_exec(struct ck_monitor *m, const struct call *call) {
    int error = ck_session_open(m, call->client, call->message->flags, call->fds);
    return error ? error : CK_ANSWERED;
}

static int do_kill_tree(struct ck_monitor *m, const struct call *call) {
    int session = m->clients[call->client].session;
    if (session < 0)
        return -ESRCH;
    ck_session_kill(&m->sessions[session]);
    return 0;
}

static int do_attach(struct ck_monitor *m, const struct call *call) {
    int error = ck_attach(m, call->client, call->message, call->fds);
    return error ? error : CK_ANSWERED;
}

static int do_close_stdin(struct ck_monitor *m, const struct call *call) {
    (void)call;
    ck_close_fd(&m->stdio.in);
    return 0;
}

static int do_resize(struct ck_monitor *m, const struct call *call) {
    uint32_t value = (uint32_t)call->message->value;
    struct winsize size = {.ws_row = (uint16_t)(value >> 16), .ws_col = (uint16_t)value};
    if (m->stdio.master < 0)
        return -ENOTTY;
    return (int)CK_SYS3(__NR_ioctl, m->stdio.master, TIOCSWINSZ, &size);
}

static int do_restart_policy(struct ck_monitor *m, const struct call *call) {
    uint32_t policy = (uint32_t)call->message->value;
    if (policy > CK_RESTART_UNLESS_STOPPED || call->message->a > UINT32_MAX)
        return -EINVAL;
    m->set.restart = policy;
    m->set.restart_max = (uint32_t)call->message->a;
    return 0;
}

static int do_limits(struct ck_monitor *m, const struct call *call) {
    ck_limits_change(m, call->client, call->fds[0]);
    return CK_ANSWERED;
}

static const struct {
    uint32_t type;
    int (*act)(struct ck_monitor *m, const struct call *call);
} requests[] = {
    {CK_MSG_GO, do_go},
    {CK_MSG_DETACH, do_detach},
    {CK_MSG_SIGNAL, do_signal},
    {CK_MSG_STOP, do_stop},
    {CK_MSG_WAIT, do_wait},
    {CK_MSG_EXEC, do_exec},
    {CK_MSG_KILL_TREE, do_kill_tree},
    {CK_MSG_ATTACH, do_attach},
    {CK_MSG_CLOSE_STDIN, do_close_stdin},
    {CK_MSG_RESIZE, do_resize},
    {CK_MSG_RESTART_POLICY, do_restart_policy},
    {CK_MSG_LIMITS, do_limits},
};

static int act(struct ck_monitor *m, const struct call *call) {
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
        if (requests[i].type == call->message->type)
            return requests[i].act(m, call);
    return -EINVAL;
}

bool ck_control_turn(struct ck_monitor *m, uint32_t index) {
    struct ck_message message;
    int fds[4];
    if (m->clients[index].fd < 0)
        return false;
    long size = ck_receive(m->clients[index].fd, &message, fds);
    if (size == -EAGAIN || size == -EINTR)
        return false;
    if (size <= 0) {
        ck_drop_client(m, index);
        return false;
    }
    int result = act(m, &(struct call){index, &message, fds});
    for (int i = 0; i < 4; i++)
        ck_close_fd(&fds[i]);
    struct ck_message answer = {.type = result ? CK_MSG_ERROR : CK_MSG_OK, .error = -result};
    if (result != CK_ANSWERED)
        ck_send(m, (int)index, &answer, -1);
    return true;
}

static void client_ready(struct ck_monitor *m, uint32_t index) {
    ck_control_turn(m, index);
}

// ---- the listening socket -------------------------------------------------------------

int ck_control_bind(struct ck_monitor *m) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ck_writer to = {address.sun_path, 0, sizeof(address.sun_path)};
    ck_put_string(&to, "/proc/self/fd/"); // the runtime directory's own path may be too long
    ck_put_signed(&to, m->runtime);
    ck_put_string(&to, "/control.sock");
    CK_CLOSE int fd = (int)CK_SYS3(__NR_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    CK_SYS2(__NR_fchmod, fd, 0600); // bind gives the file this mode
    int error = (int)CK_SYS3(__NR_bind, fd, &address, sizeof(address));
    if (error == -EADDRINUSE) { // left by a monitor that died
        ck_sys_unlinkat(m->runtime, "control.sock", 0);
        error = (int)CK_SYS3(__NR_bind, fd, &address, sizeof(address));
    }
    if (!error)
        error = (int)CK_SYS2(__NR_listen, fd, 64);
    if (!error)
        m->listener = ck_steal_fd(&fd);
    return error;
}

// Ourselves, or root. In a user namespace we are 0 there, and the host's root has no number:
// the overflow id stands for it, and the file's mode 0600 keeps everybody else from connecting.
static bool is_allowed(const struct ck_monitor *m, int fd) {
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (CK_SYS5(__NR_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
        return false;
    uid_t ours = (uid_t)CK_SYS0(__NR_geteuid);
    return peer.uid == ours || peer.uid == (m->joined_userns ? CK_OVERFLOW_UID : 0u);
}

static uint32_t find_place(const struct ck_monitor *m) {
    uint32_t plain = 0, place = 0;
    for (uint32_t i = 1; i < CK_CLIENTS; i++) {
        if (m->clients[i].fd < 0)
            place = place ? place : i;
        else
            plain += m->clients[i].session < 0;
    }
    return plain < CK_PLAIN_CLIENTS ? place : 0;
}

static void knocked(struct ck_monitor *m, uint32_t index) {
    (void)index;
    CK_CLOSE int fd = (int)CK_SYS4(__NR_accept4, m->listener, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 || !is_allowed(m, fd))
        return;
    uint32_t place = find_place(m);
    if (!place) {
        struct ck_message full = {.type = CK_MSG_ERROR, .error = EMFILE};
        CK_SYS6(__NR_sendto, fd, &full, sizeof(full), MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
        return;
    }
    m->clients[place] = (struct ck_client){.fd = ck_steal_fd(&fd), .session = -1};
}

void ck_control_watch(struct ck_monitor *m) {
    for (uint32_t i = 0; i < CK_CLIENTS; i++)
        ck_watch(m, m->clients[i].fd, POLLIN, client_ready, i);
    ck_watch(m, m->listener, POLLIN, knocked, 0);
}

// The last message to everybody who waits. A socket closed with requests unread would turn
// our answer into a connection error at the other end: read them first.
void ck_control_finish(struct ck_monitor *m, const struct ck_message *message) {
    struct ck_message unread;
    int fds[4];
    for (int i = 0; i < (int)CK_CLIENTS; i++) {
        struct ck_client *client = &m->clients[i];
        ck_attach_end(client);
        if (client->fd < 0)
            continue;
        if (client->waits)
            ck_send(m, i, message, -1);
        for (int n = 0; n < CK_LAST_WORDS && client->fd >= 0 && ck_receive(client->fd, &unread, fds) > 0; n++)
            for (int k = 0; k < 4; k++)
                ck_close_fd(&fds[k]);
    }
}
