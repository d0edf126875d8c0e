// monitor_exec.c: what clients ask for about exec sessions.
#include <sys/mman.h>

#include "monitor.h"

#define CK_SEALS (F_SEAL_WRITE | F_SEAL_SHRINK)

static struct ck_session *find_free(struct ck_monitor *m) {
    for (uint32_t i = 0; i < CK_HEALTH_SESSION; i++)
        if (m->sessions[i].state == CK_SESSION_FREE)
            return &m->sessions[i];
    return NULL;
}

// What a client gives is read again later: nobody may change or shorten it meanwhile.
long ck_map_sealed(int fd, void **map) {
    int seals = ck_sys_fcntl(fd, F_GET_SEALS, 0);
    return seals < 0 || (seals & CK_SEALS) != CK_SEALS ? -EPERM : ck_map_request(fd, map);
}

static int map_plan(struct ck_session *session, int fd) {
    struct ck_request_view view;
    long size = ck_map_sealed(fd, &session->map);
    if (size < 0)
        return (int)size;
    session->map_size = (size_t)size;
    int error = ck_open_request(session->map, (size_t)size, &view);
    if (!error && !view.has_plan)
        error = -EBADMSG;
    session->launch.plan = view.plan;
    return error;
}

static void report_failure(struct ck_monitor *m, uint32_t client, struct ck_failure failure) {
    struct ck_message message = {
        .type = CK_MSG_FAILED, .step = failure.step, .error = failure.error, .detail = failure.detail};
    ck_send(m, (int)client, &message, -1);
}

// 0 when the session answers from here on.
int ck_session_open(struct ck_monitor *m, uint32_t client, uint32_t flags, int fds[4]) {
    bool terminal = flags & CK_EXEC_TERMINAL;
    struct ck_session *session = find_free(m);
    if (m->phase != CK_PHASE_RUNNING)
        return -ESRCH;
    if (ck_cgroup_is_frozen(m)) // it would wait for the thaw, and with it the caller
        return -EBUSY;
    if (m->clients[client].session >= 0)
        return -EALREADY;
    if (fds[0] < 0 || (fds[3] >= 0) == terminal)
        return -EINVAL;
    if (!session)
        return -EAGAIN;
    *session =
        (struct ck_session){.client = -1, .flags = flags, .report = -1, .cgroup = -1, .launch.report = -1};
    int error = map_plan(session, fds[0]);
    if (error) {
        ck_session_free(m, session);
        return error;
    }
    if (ck_session_launch(m, session, terminal ? (const int[]){-1, -1, -1} : fds + 1)) {
        struct ck_failure failure = session->failure;
        ck_session_free(m, session);
        report_failure(m, client, failure);
        return 0;
    }
    session->client = (int)client;
    m->clients[client].session = (int)(session - m->sessions);
    return 0;
}

// With a cgroup one write ends the tree; without, the supervisor is asked to, and must have got so far.
void ck_session_kill(struct ck_session *session) {
    bool supervised = session->cgroup < 0 && session->launch.own_memory;
    bool launching = session->state == CK_SESSION_LAUNCHING;
    int32_t pid = ck_session_went_on(session);
    session->killed = true;
    ck_cgroup_kill(session->cgroup);
    if (supervised && launching)
        return;
    if (!session->first_reaped)
        ck_sys_kill(session->first, CK_SIGKILL);
    if (!session->reaped && pid && pid != session->first)
        ck_sys_kill(pid, supervised ? CK_SIGUSR1 : CK_SIGKILL);
}

int ck_session_signal(const struct ck_session *session, int signal) {
    if (signal < 1 || signal > 64)
        return -EINVAL;
    if (session->state != CK_SESSION_RUNNING || session->reaped)
        return -ESRCH;
    return ck_sys_kill(session->pid, signal); // our child, not yet reaped: the number is its own
}

void ck_session_lost_client(struct ck_session *session) {
    session->client = -1;
    if (!(session->flags & CK_EXEC_DETACH))
        ck_session_kill(session);
}
