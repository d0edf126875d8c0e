// monitor_session.c: the life of an exec session: launched, started, reaped, gone.
//
// The plan joins init's namespaces and the process that goes on is our child too (CLONE_PARENT),
// so both are reaped here. With a cgroup, a session has one of its own.
#include <sys/mman.h>
#include <sys/wait.h>

#include "monitor.h"

static int failed(struct ck_session *session, uint32_t step, int error) {
    session->failure = (struct ck_failure){step, -error, 0};
    return error;
}

// stdio is copied into the child; whose ends they are closes them.
int ck_session_launch(struct ck_monitor *m, struct ck_session *session, const int stdio[3]) {
    struct ck_launch *launch = &session->launch;
    int error, report[2], pidfd = -1;
    session->number = ++m->session_count;
    session->oom_kills = ck_cgroup_oom_kills(m);
    session->retry_at = session->give_up_at = CK_NEVER;
    launch->report = -1;
    if ((error = ck_exec_cgroup_make(m, session)))
        return failed(session, CK_STEP_CGROUP, error);
    if ((error = ck_sys_socketpair(report)))
        return failed(session, CK_STEP_STDIO, error);
    session->report = report[0];
    launch->report = report[1];
    for (int i = 0; i < 3; i++)
        launch->stdio[i] = stdio[i];
    launch->target = m->run.pidfd;
    launch->cgroup = session->cgroup;
    launch->own_memory = session->flags & CK_EXEC_OWN_MEMORY;
    launch->enter_cgroup = m->set.flags & CK_SET_ENTER_CGROUP;
    if ((error = ck_launch_prepare(launch)))
        return failed(session, CK_STEP_CLONE, error);
    session->prepared = true;
    long pid = ck_launch_clone(launch, &pidfd);
    ck_close_fd(&launch->report);
    ck_close_fd(&pidfd);
    if (pid < 0)
        return failed(session, CK_STEP_CLONE, (int)pid);
    ck_launch_ready(launch); // nothing is recorded of it first
    session->first = (int32_t)pid;
    session->state = CK_SESSION_LAUNCHING;
    return 0;
}

static void release(struct ck_session *session) {
    ck_close_fd(&session->report);
    ck_close_fd(&session->launch.report);
    if (session->prepared)
        ck_launch_release(&session->launch);
    session->prepared = false;
    if (session->map)
        CK_SYS2(__NR_munmap, session->map, session->map_size);
    session->map = NULL;
}

void ck_session_free(struct ck_monitor *m, struct ck_session *session) {
    release(session);
    ck_exec_cgroup_leave(m, session);
    if (session->client >= 0)
        m->clients[session->client].session = -1;
    session->client = -1;
    session->state = CK_SESSION_FREE;
}

static void tell(struct ck_monitor *m, struct ck_session *session, struct ck_message message) {
    ck_send(m, session->client, &message, -1);
}

static bool died_on_its_way(const struct ck_session *session) {
    uint64_t task_flags = 0;
    if (session->reaped)
        return WIFSIGNALED(session->status);
    if (session->launch.own_memory) // the supervisor never execs
        return session->pid == session->first;
    int stat = ck_open_stat(session->pid);
    ck_start_time(stat, &task_flags);
    ck_close_fd(&stat);
    return task_flags & CK_NOT_EXECED;
}

// The process that went on, or 0. Its number lies in memory that it can write to, and it has been inside
// a container: it is believed only where it names a child of ours.
int32_t ck_session_went_on(const struct ck_session *session) {
    int32_t pid = session->prepared ? session->launch.outcome->pid : session->pid;
    int options = WEXITED | WNOHANG | WNOWAIT;
    bool ours = pid > 0 && CK_SYS5(__NR_waitid, 1 /* P_PID */, pid, NULL, options, NULL) == 0;
    return ours ? pid : 0;
}

static void launch_is_over(struct ck_monitor *m, struct ck_session *session) {
    struct ck_outcome outcome = *session->launch.outcome;
    int32_t went_on = session->reaped ? outcome.pid : ck_session_went_on(session);
    session->pid = went_on ? went_on : session->first;
    ck_close_fd(&session->report);
    if (outcome.state == CK_OUTCOME_FAILED)
        session->failure = (struct ck_failure){outcome.step, outcome.error, outcome.detail};
    else if (outcome.state == CK_OUTCOME_PENDING && died_on_its_way(session))
        session->failure = (struct ck_failure){CK_STEP_LOST, ECHILD, 0};
    session->state = session->failure.error ? CK_SESSION_FAILED : CK_SESSION_RUNNING;
    if (session->state == CK_SESSION_RUNNING)
        tell(m, session, (struct ck_message){.type = CK_MSG_STARTED, .value = session->pid});
    else
        tell(m, session,
             (struct ck_message){.type = CK_MSG_FAILED,
                                 .step = session->failure.step,
                                 .error = session->failure.error,
                                 .detail = session->failure.detail});
    release(session); // whoever waits has been told
    if (session->killed)
        ck_session_kill(session);
}

static void report_ready(struct ck_monitor *m, uint32_t index) {
    struct ck_session *session = &m->sessions[index];
    struct ck_message message;
    int fds[4];
    while (session->state == CK_SESSION_LAUNCHING) {
        long size = ck_receive(session->report, &message, fds);
        if (size == -EAGAIN)
            return;
        if (size <= 0)
            return launch_is_over(m, session);
        message = (struct ck_message){.type = CK_MSG_TTY};
        ck_send(m, session->client, &message, fds[0]);
        for (int i = 0; i < 4; i++)
            ck_close_fd(&fds[i]);
    }
}

void ck_session_reaped(struct ck_monitor *m, int pid, int status, const struct rusage *usage) {
    for (uint32_t i = 0; i < CK_SESSIONS; i++) {
        struct ck_session *session = &m->sessions[i];
        int32_t goes_on = session->prepared ? session->launch.outcome->pid : session->pid;
        if (session->state == CK_SESSION_FREE || (pid != session->first && pid != goes_on))
            continue;
        session->first_reaped |= pid == session->first;
        if (pid == goes_on || !goes_on || goes_on == session->first) {
            session->reaped = true;
            session->status = status;
            session->usage = ck_usage_of(usage);
        }
        report_ready(m, i);
        return;
    }
}

// All its processes are reaped, and a killed tree is gone.
static bool is_over(struct ck_monitor *m, struct ck_session *session) {
    bool told = session->state == CK_SESSION_RUNNING || session->state == CK_SESSION_FAILED;
    bool reaped = session->first_reaped && session->reaped;
    return told && reaped && (!session->killed || ck_exec_cgroup_is_gone(m, session));
}

// The kernel counts before it sends the signal: the number is there when the process is reaped. A kill
// that was asked for is not the kernel's; one at the end of the container may be (memory.oom.group).
static bool ran_out_of_memory(const struct ck_monitor *m, const struct ck_session *session) {
    bool asked_for = session->killed && m->phase == CK_PHASE_RUNNING;
    bool by_signal = WIFSIGNALED(session->status) && WTERMSIG(session->status) == CK_SIGKILL;
    return !asked_for && by_signal && ck_cgroup_oom_kills(m) > session->oom_kills;
}

static uint32_t exit_flags(const struct ck_monitor *m, const struct ck_session *session) {
    return (session->killed ? CK_EXIT_STOPPED : 0) | (ran_out_of_memory(m, session) ? CK_EXIT_OOM : 0);
}

static void end(struct ck_monitor *m, struct ck_session *session) {
    struct ck_message exited = {.type = CK_MSG_EXITED,
                                .value = session->status,
                                .flags = exit_flags(m, session),
                                .a = session->usage.user_us,
                                .b = session->usage.system_us,
                                .c = session->usage.max_rss_kib};
    if (session->state == CK_SESSION_RUNNING)
        ck_send(m, session->client, &exited, -1); // before the cgroup goes: nobody has to wait for that
    ck_session_free(m, session);
    if (session == &m->sessions[CK_HEALTH_SESSION])
        ck_health_probed(m, session);
}

void ck_sessions_watch(struct ck_monitor *m) {
    ck_wake_at(m, m->stale_at);
    for (uint32_t i = 0; i < CK_SESSIONS; i++) {
        if (m->sessions[i].state == CK_SESSION_FREE)
            continue;
        ck_watch(m, m->sessions[i].report, POLLIN, report_ready, i);
        ck_wake_at(m, m->sessions[i].retry_at);
    }
}

void ck_sessions_tick(struct ck_monitor *m) {
    ck_exec_cgroups_tick(m);
    for (uint32_t i = 0; i < CK_SESSIONS; i++)
        if (m->sessions[i].state != CK_SESSION_FREE && is_over(m, &m->sessions[i]))
            end(m, &m->sessions[i]);
}

void ck_sessions_kill_all(struct ck_monitor *m) {
    for (uint32_t i = 0; i < CK_SESSIONS; i++)
        if (m->sessions[i].state != CK_SESSION_FREE)
            ck_session_kill(&m->sessions[i]);
}

bool ck_sessions_over(const struct ck_monitor *m) {
    for (uint32_t i = 0; i < CK_SESSIONS; i++)
        if (m->sessions[i].state != CK_SESSION_FREE)
            return false;
    return true;
}
