// monitor_run.c: one run of init after the other: prepared, cloned, watched, reaped, restarted.
#include <sys/wait.h>

#include "monitor.h"

#define CK_SESSION_PATIENCE_MS 5000u

// All that can be done before GO: pipes and the memory init will need.
int ck_run_prepare(struct ck_monitor *m) {
    struct ck_launch *launch = &m->run.launch;
    int report[2];
    int error = ck_stdio_prepare(m);
    if (!error)
        error = ck_sys_socketpair(report);
    if (error)
        return error;
    m->run.report = report[0];
    launch->report = report[1];
    for (int i = 0; i < 3; i++)
        launch->stdio[i] = m->stdio.child[i];
    launch->target = -1;
    launch->namespaces = m->set.namespaces;
    launch->own_memory = m->set.flags & CK_SET_OWN_MEMORY;
    launch->enter_cgroup = m->set.flags & CK_SET_ENTER_CGROUP;
    error = ck_launch_prepare(launch);
    m->run.prepared = !error;
    return error;
}

int ck_run_clone(struct ck_monitor *m) {
    struct ck_init *run = &m->run;
    uint64_t task_flags;
    run->launch.cgroup = m->cgroup;
    run->cloned_ns = ck_monotonic_ns();
    long pid = ck_launch_clone(&run->launch, &run->pidfd);
    ck_close_fd(&run->launch.report);
    ck_stdio_close_child(m);
    if (pid < 0)
        return (int)pid;
    run->pid = (int32_t)pid;
    run->first_stage = m->set.flags & CK_SET_STAGES;
    run->recorded = run->first_stage ? 0 : run->pid;
    run->stat = ck_open_stat(run->pid);
    run->start_time = ck_start_time(run->stat, &task_flags);
    run->started_ns = ck_clock_ns();
    run->finished_ns = 0;
    run->reaped = false;
    run->began = m->now;
    m->exit_flags = 0;
    m->phase = CK_PHASE_LAUNCHING;
    ck_health_reset(m);
    return 0;
}

static int open_runtime(struct ck_monitor *m) {
    int error = ck_make_runtime_dir(m);
    if (!error)
        error = ck_record(m);
    return error ? error : ck_control_bind(m);
}

// Say where the run can be found, and let it go on. A restart does not end for a full disk.
int ck_run_announce(struct ck_monitor *m) {
    bool probe = m->set.flags & CK_SET_PROBE;
    int error = probe || m->runtime >= 0 ? 0 : open_runtime(m);
    if (m->restarts)
        ck_record(m);
    if (!error)
        ck_launch_ready(&m->run.launch);
    return error;
}

// GO for a monitor that only removes: the end does it.
static void remove_only(struct ck_monitor *m) {
    m->made_container_dir = m->launched = true;
    m->phase = CK_PHASE_OVER;
}

// GO, for the first run: a container in five lines.
void ck_run_go(struct ck_monitor *m) {
    bool probe = m->set.flags & CK_SET_PROBE;
    uint32_t detail = 0;
    int error;
    if (m->set.flags & CK_SET_REMOVE_ONLY)
        return remove_only(m);
    if ((error = probe ? ck_enter_dir(m) : ck_make_dirs(m)) || (error = ck_clear_work_dirs(m)))
        return ck_fail(m, CK_STEP_DIRS, error, 0);
    if (!probe && (error = ck_cgroup_make(m, &detail)))
        return ck_fail(m, CK_STEP_CGROUP, error, detail);
    if ((error = ck_run_clone(m)))
        return ck_fail(m, CK_STEP_CLONE, error, 0);
    // From here on beside the child, which waits for READY before it executes its command.
    if (m->set.flags & CK_SET_LOG && (error = ck_log_open(m)))
        return ck_fail(m, CK_STEP_STDIO, error, 0);
    if (!m->run.first_stage && (error = ck_run_announce(m)))
        return ck_fail(m, CK_STEP_RUNTIME, error, 0);
}

// A new cgroup for each run: the kernel may kill what is cloned into one that was killed before
// (seen on 6.18: the child's kill count is compared with its parent's cgroup, not with its own).
static int renew_cgroup(struct ck_monitor *m, uint32_t *detail) {
    int error = ck_cgroup_remove(m);
    m->oom_seen = 0;
    return error ? error : ck_cgroup_make(m, detail);
}

static void run_again(struct ck_monitor *m) {
    uint32_t detail = 0;
    int error;
    m->restart_at = CK_NEVER;
    m->restarts++;
    if ((error = renew_cgroup(m, &detail)))
        return ck_fail(m, CK_STEP_CGROUP, error, detail);
    if ((error = ck_clear_work_dirs(m)))
        return ck_fail(m, CK_STEP_DIRS, error, 0);
    if ((error = ck_run_prepare(m)))
        return ck_fail(m, CK_STEP_STDIO, error, 0);
    if ((error = ck_run_clone(m)))
        return ck_fail(m, CK_STEP_CLONE, error, 0);
    if (!m->run.first_stage)
        ck_run_announce(m);
}

static void started(struct ck_monitor *m, const struct ck_outcome *outcome) {
    m->phase = CK_PHASE_RUNNING;
    ck_record_launched(m);
    if (!m->launched && !(m->set.flags & CK_SET_PROBE)) {
        struct ck_message message = {
            .type = CK_MSG_STARTED,
            .value = m->run.pid,
            .detail = (uint32_t)((ck_monotonic_ns() - outcome->exec_ns) / 1000),
            .a = outcome->began_ns - m->run.cloned_ns,
            .b = outcome->confined_ns - outcome->began_ns,
            .c = outcome->exec_ns - outcome->confined_ns,
        };
        ck_send(m, 0, &message, -1);
    }
    m->launched = true;
    ck_health_run_started(m);
    ck_stop_run_started(m);
}

// A stub that stays behind (own_memory) never execs, so only its death can tell.
static bool died_on_its_way(const struct ck_init *run) {
    uint64_t task_flags = 0;
    if (run->first_stage)
        return true;
    if (run->reaped)
        return WIFSIGNALED(run->status);
    if (!run->launch.own_memory)
        ck_start_time(run->stat, &task_flags);
    return task_flags & CK_NOT_EXECED;
}

// The report ended: by the exec, by a step that failed, or because init was killed on its way.
static void launch_is_over(struct ck_monitor *m) {
    struct ck_outcome outcome = *m->run.launch.outcome;
    ck_close_fd(&m->run.report);
    if (outcome.state == CK_OUTCOME_FAILED)
        return ck_fail(m, outcome.step, outcome.error, outcome.detail);
    if (outcome.state == CK_OUTCOME_PENDING && died_on_its_way(&m->run))
        return ck_fail(m, CK_STEP_LOST, ECHILD, 0);
    started(m, &outcome);
    ck_launch_release(&m->run.launch);
    m->run.prepared = false;
    ck_close_fd(&m->run.stat);
}

static void report_ready(struct ck_monitor *m, uint32_t index) {
    struct ck_message message;
    int fds[4];
    (void)index;
    for (;;) {
        long size = m->run.report < 0 ? -EAGAIN : ck_receive(m->run.report, &message, fds);
        if (size == -EAGAIN)
            return;
        if (size <= 0)
            return launch_is_over(m);
        if (fds[0] >= 0)
            ck_stdio_take_master(m, fds[0]);
        for (int i = 1; i < 4; i++)
            ck_close_fd(&fds[i]);
    }
}

void ck_run_watch(struct ck_monitor *m) {
    ck_watch(m, m->run.report, POLLIN, report_ready, 0);
    ck_wake_at(m, m->force_at);
    ck_wake_at(m, m->limit_at);
    ck_wake_at(m, m->restart_at);
    if (m->phase == CK_PHASE_DRAINING)
        ck_wake_at(m, m->drain_until);
}

static void note_end(struct ck_init *run, int status, const struct rusage *usage) {
    run->pid = 0;
    run->reaped = true;
    run->status = status;
    run->usage = ck_usage_of(usage);
    run->finished_ns = ck_clock_ns();
    ck_close_fd(&run->pidfd);
}

static bool is_wanted_again(const struct ck_monitor *m) {
    const struct ck_settings *set = &m->set;
    return ck_restart_is_wanted(set->restart, set->restart_max, m->restarts, m->run.status, m->stopping);
}

// Between two runs.
bool ck_is_restarting(const struct ck_monitor *m) {
    return m->phase == CK_PHASE_BACKOFF || (m->phase == CK_PHASE_DRAINING && is_wanted_again(m));
}

void ck_run_reaped(struct ck_monitor *m, int status, const struct rusage *usage) {
    note_end(&m->run, status, usage);
    report_ready(m, 0);
    if (m->run.report >= 0) // somebody else still holds the other end
        launch_is_over(m);
    m->force_at = m->limit_at = CK_NEVER;
    if (ck_cgroup_count_oom(m))
        m->exit_flags |= CK_EXIT_OOM;
    if (m->phase == CK_PHASE_OVER)
        return;
    m->phase = CK_PHASE_DRAINING;
    m->drain_until = ck_later(m, CK_SESSION_PATIENCE_MS);
    if (!(m->set.namespaces & CK_NS_PID) || m->set.restart != CK_RESTART_NO)
        ck_cgroup_kill(m->cgroup);
    ck_health_run_ended(m);
    ck_sessions_kill_all(m);
    if (ck_is_restarting(m)) // where no other run is wanted, only the end is recorded
        ck_record(m);
}

static void run_is_over(struct ck_monitor *m) {
    uint64_t lasted = m->now - m->run.began;
    ck_stdio_close(m);
    m->phase = CK_PHASE_OVER;
    if (!is_wanted_again(m))
        return;
    m->backoff_ms = ck_restart_backoff(m->backoff_ms, lasted);
    m->restart_at = ck_later(m, m->backoff_ms);
    m->phase = CK_PHASE_BACKOFF;
    ck_record(m);
}

void ck_run_tick(struct ck_monitor *m) {
    bool sessions_over = ck_sessions_over(m) || m->now >= m->drain_until;
    if (m->phase == CK_PHASE_DRAINING && sessions_over && ck_stdio_drained(m))
        run_is_over(m);
    if (m->phase == CK_PHASE_BACKOFF && m->now >= m->restart_at)
        run_again(m);
}

// Leave nothing of a launch that did not come to its end.
void ck_run_discard(struct ck_monitor *m) {
    struct rusage usage;
    int status;
    if (m->run.pid) {
        ck_cgroup_kill(m->cgroup);
        ck_sys_kill(m->run.pid, CK_SIGKILL);
        while (ck_sys_wait4(m->run.pid, &status, 0, &usage) == -EINTR)
            ;
        note_end(&m->run, status, &usage);
        ck_stages_discard(m);
    }
    ck_close_fd(&m->run.report);
    ck_close_fd(&m->run.launch.report);
    ck_close_fd(&m->run.stat);
    if (m->run.prepared)
        ck_launch_release(&m->run.launch);
    m->run.prepared = false;
    ck_stdio_close(m);
}
