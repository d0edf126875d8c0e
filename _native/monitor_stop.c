// monitor_stop.c: the ways a container is ended on request.
#include "monitor.h"

static void mark_stopped(struct ck_monitor *m) {
    m->stopping = true;
    m->exit_flags |= CK_EXIT_STOPPED;
}

static bool init_lives(const struct ck_monitor *m) {
    return m->run.pid && (m->phase == CK_PHASE_LAUNCHING || m->phase == CK_PHASE_RUNNING);
}

// SIGKILL to all of the cgroup, and to init, whose pid namespace ends with it.
static void kill_run(struct ck_monitor *m) {
    ck_cgroup_kill(m->cgroup);
    ck_sys_kill(m->run.pid, CK_SIGKILL); // our child, not yet reaped: the number is its own
    ck_stages_kill(m);
    ck_cgroup_thaw(m->cgroup);
}

// End it now.
void ck_force(struct ck_monitor *m) {
    mark_stopped(m);
    m->force_at = CK_NEVER;
    if (m->phase == CK_PHASE_BACKOFF)
        m->phase = CK_PHASE_OVER;
    if (init_lives(m))
        kill_run(m);
}

// Ask init to end, and end it when the time is up. The shortest of several timeouts wins.
void ck_stop(struct ck_monitor *m, uint32_t signal, uint64_t timeout_ms) {
    if (m->phase == CK_PHASE_WAITING)
        return ck_fail(m, CK_STEP_LOST, ECANCELED, 0);
    mark_stopped(m);
    if (m->phase == CK_PHASE_BACKOFF)
        m->phase = CK_PHASE_OVER;
    if (!init_lives(m))
        return;
    uint64_t end = ck_later(m, timeout_ms == CK_DEFAULT_TIMEOUT ? m->set.stop_timeout_ms : timeout_ms);
    if (end < m->force_at)
        m->force_at = end;
    m->stop_signal = signal ? signal : m->set.stop_signal;
    if (m->phase == CK_PHASE_LAUNCHING) {
        m->stop_pending = true;
        return;
    }
    ck_sys_kill(m->run.pid, (int)m->stop_signal);
    ck_cgroup_thaw(m->cgroup);
}

// A stop signal before the exec would be lost on a process that ignores all it has no handler for.
void ck_stop_run_started(struct ck_monitor *m) {
    m->limit_at = m->set.time_limit_ms ? ck_later(m, m->set.time_limit_ms) : CK_NEVER;
    if (m->stop_pending)
        ck_sys_kill(m->run.pid, (int)m->stop_signal);
    m->stop_pending = false;
}

// The run only: a restart policy may give it another one.
static void end_run_in_time(struct ck_monitor *m) {
    if (m->now < m->limit_at)
        return;
    m->limit_at = CK_NEVER;
    m->exit_flags |= CK_EXIT_TIME_LIMIT;
    kill_run(m);
}

void ck_stop_tick(struct ck_monitor *m) {
    if (!init_lives(m))
        return;
    end_run_in_time(m);
    if (m->now < m->force_at)
        return;
    m->exit_flags |= CK_EXIT_FORCED;
    ck_force(m);
}

int ck_signal_init(struct ck_monitor *m, int signal) {
    if (signal < 1 || signal > 64)
        return -EINVAL;
    if (!init_lives(m) && !ck_is_restarting(m))
        return -ESRCH;
    if (signal == CK_SIGKILL) {
        ck_force(m);
        return 0;
    }
    if (m->phase != CK_PHASE_RUNNING)
        return -ESRCH;
    if ((uint32_t)signal == m->set.stop_signal)
        mark_stopped(m);
    return ck_sys_kill(m->run.pid, signal);
}

void ck_owner_gone(struct ck_monitor *m) {
    if (m->owner_gone)
        return;
    m->owner_gone = true;
    ck_close_fd(&m->owner_pidfd);
    if (m->phase == CK_PHASE_WAITING)
        m->phase = CK_PHASE_OVER; // nothing was begun
    else if (m->set.flags & CK_SET_OWNED)
        ck_force(m);
}
