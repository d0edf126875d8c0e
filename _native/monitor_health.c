// monitor_health.c: the health check: an exec plan run again and again.
//
// starting ── success ──► healthy ◄── success ── unhealthy
//     └── as many failures in a row as `retries` ──► unhealthy (the same from healthy)
// A failure within the start period does not count until a first success ends that period.
#include <sys/wait.h>

#include "monitor.h"

#define CK_DEFAULT_PROBE_TIMEOUT_MS 30000u

static bool in_start_period(const struct ck_monitor *m) {
    return m->health.status == CK_HEALTH_STARTING && m->now < m->health.period_end;
}

static void plan_next(struct ck_monitor *m) {
    uint64_t pause = m->set.health_interval_ms;
    if (in_start_period(m) && m->set.health_start_interval_ms)
        pause = m->set.health_start_interval_ms;
    m->health.next_at = ck_later(m, pause ? pause : 1);
}

// Before a run is recorded.
void ck_health_reset(struct ck_monitor *m) {
    m->health.status = m->health.plan.count ? CK_HEALTH_STARTING : CK_HEALTH_NONE;
    m->health.failing = 0;
}

void ck_health_run_started(struct ck_monitor *m) {
    if (!m->health.plan.count)
        return;
    m->health.period_end = ck_later(m, m->set.health_start_period_ms);
    plan_next(m);
}

void ck_health_run_ended(struct ck_monitor *m) {
    m->health.next_at = m->health.timeout_at = CK_NEVER;
}

static bool needs_own_memory(const struct ck_plan *plan) {
    struct ck_cursor rest = {plan->steps, plan->steps + plan->size}, fields;
    uint32_t code;
    for (uint32_t i = 0; i < plan->count && !ck_take_step(&rest, &code, &fields); i++)
        if (code == CK_OP_FORK_INIT || code == CK_OP_PROCESS_FILE)
            return true;
    return false;
}

static void begin_probe(struct ck_monitor *m) {
    struct ck_health *health = &m->health;
    struct ck_session *session = &m->sessions[CK_HEALTH_SESSION];
    int ends[2];
    health->size = 0;
    health->timed_out = false;
    health->run = m->restarts;
    health->next_at = CK_NEVER;
    health->probe_started_ns = ck_clock_ns();
    *session = (struct ck_session){.client = -1,
                                   .flags = needs_own_memory(&health->plan) ? CK_EXEC_OWN_MEMORY : 0,
                                   .report = -1,
                                   .cgroup = -1,
                                   .launch = {.plan = health->plan, .report = -1}};
    int error = ck_sys_pipe(ends);
    if (!error) {
        ck_sys_fcntl(ends[0], F_SETFL, O_NONBLOCK);
        health->output = ends[0];
        error = ck_session_launch(m, session, (const int[]){0, ends[1], ends[1]});
        ck_close(ends[1]);
    }
    if (error) {
        if (!session->failure.error)
            session->failure = (struct ck_failure){CK_STEP_STDIO, -error, 0};
        ck_session_free(m, session);
        return ck_health_probed(m, session);
    }
    uint64_t timeout = m->set.health_timeout_ms;
    health->timeout_at = ck_later(m, timeout ? timeout : CK_DEFAULT_PROBE_TIMEOUT_MS);
}

// What is beyond the bound is read and thrown away, so that no probe waits for a reader.
static bool read_output(struct ck_monitor *m) {
    struct ck_health *health = &m->health;
    long size = health->output < 0 ? 0 : ck_read(health->output, m->scratch, CK_SCRATCH);
    if (size > 0) {
        struct ck_writer to = {health->text, health->size, CK_HEALTH_OUTPUT};
        ck_put_bytes(&to, m->scratch, (size_t)size);
        health->size = (uint32_t)to.size;
        return true;
    }
    if (size != -EAGAIN && size != -EINTR)
        ck_close_fd(&health->output);
    return false;
}

static void output_ready(struct ck_monitor *m, uint32_t index) {
    (void)index;
    read_output(m);
}

static void put_value(struct ck_writer *to, const char *key, int64_t value) {
    ck_put_string(to, key);
    ck_put_signed(to, value);
}

// The last probe for people: lines of key=value, an empty line, its output. exit is -1 when there
// is no exit code: a timeout, a signal, a probe that could not be launched.
static void write_report(struct ck_monitor *m, int code, const struct ck_session *session) {
    static const char *const names[] = {"none", "starting", "healthy", "unhealthy"};
    struct ck_health *health = &m->health;
    struct ck_writer to = {m->scratch, 0, CK_SCRATCH};
    ck_put_string(&to, "status=");
    ck_put_string(&to, names[health->status]);
    put_value(&to, "\nexit=", code);
    put_value(&to, "\nstarted=", (int64_t)health->probe_started_ns);
    put_value(&to, "\nfinished=", (int64_t)ck_clock_ns());
    put_value(&to, "\ntimed_out=", health->timed_out);
    if (session->failure.error) {
        put_value(&to, "\nerror=", session->failure.step);
        put_value(&to, " ", session->failure.error);
        put_value(&to, " ", session->failure.detail);
    }
    ck_put_string(&to, "\n\n");
    ck_put_bytes(&to, health->text, health->size);
    ck_replace_file(m->runtime, "health", "health.new", to.data, to.size);
}

static void judge(struct ck_monitor *m, bool success) {
    struct ck_health *health = &m->health;
    if (success) {
        health->failing = 0;
        health->status = CK_HEALTH_HEALTHY;
    } else if (!in_start_period(m)) {
        health->failing++;
        if (health->failing >= m->set.health_retries)
            health->status = CK_HEALTH_UNHEALTHY;
    }
}

// The probe's session is over, or could not begin.
void ck_health_probed(struct ck_monitor *m, const struct ck_session *session) {
    struct ck_health *health = &m->health;
    enum ck_health_status status_before = health->status;
    uint32_t failing_before = health->failing;
    bool exited = !session->failure.error && !health->timed_out && WIFEXITED(session->status);
    int code = exited ? WEXITSTATUS(session->status) : -1;
    while (read_output(m))
        ;
    ck_close_fd(&health->output);
    health->timeout_at = CK_NEVER;
    if (m->phase != CK_PHASE_RUNNING || health->run != m->restarts) // the container ended below it
        return;
    judge(m, code == 0);
    write_report(m, code, session);
    plan_next(m);
    if (health->status != status_before || health->failing != failing_before)
        ck_record(m);
}

void ck_health_watch(struct ck_monitor *m) {
    ck_watch(m, m->health.output, POLLIN, output_ready, 0);
    ck_wake_at(m, m->health.next_at);
    ck_wake_at(m, m->health.timeout_at);
}

void ck_health_tick(struct ck_monitor *m) {
    struct ck_health *health = &m->health;
    if (m->now >= health->timeout_at) {
        health->timeout_at = CK_NEVER;
        health->timed_out = true;
        ck_session_kill(&m->sessions[CK_HEALTH_SESSION]);
    }
    if (m->now < health->next_at || m->phase != CK_PHASE_RUNNING)
        return;
    bool is_free = m->sessions[CK_HEALTH_SESSION].state == CK_SESSION_FREE; // an earlier run's probe may last
    if (!is_free || ck_cgroup_is_frozen(m)) // a paused container is not asked how it is
        plan_next(m);
    else
        begin_probe(m);
}
