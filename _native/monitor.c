// monitor.c: one process per container: starts init, copies its output, serves its control
// socket, restarts it, cleans up behind it.
//
// The life of a monitor:
//
//   WAITING ── GO ──► LAUNCHING ── exec ──► RUNNING ── init ended ──► DRAINING ──► OVER
//      │                 ▲  │ a step failed: OVER                        │
//      │ owner gone      └──┼──────────────── BACKOFF ◄─ to be restarted ┘
//      ▼ exit               ▼                    │ stop: OVER
//
// Everything is an event of one ppoll: no threads, no allocation, no blocking but at the end.
#include "monitor.h"

#include <linux/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#define CK_SIGNAL_BIT(signal) (1ull << ((signal) - 1))

uint64_t ck_clock_ms(void) {
    return ck_monotonic_ns() / 1000000;
}

uint64_t ck_clock_ns(void) {
    struct timespec time = {0};
    ck_sys_clock(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

uint64_t ck_later(const struct ck_monitor *m, uint64_t ms) {
    return ms < CK_NEVER - m->now ? m->now + ms : CK_NEVER;
}

void ck_close_fd(int *fd) {
    if (*fd >= 0)
        ck_close(*fd);
    *fd = -1;
}

struct ck_usage ck_usage_of(const struct rusage *usage) {
    return (struct ck_usage){
        .user_us = (uint64_t)usage->ru_utime.tv_sec * 1000000 + (uint64_t)usage->ru_utime.tv_usec,
        .system_us = (uint64_t)usage->ru_stime.tv_sec * 1000000 + (uint64_t)usage->ru_stime.tv_usec,
        .max_rss_kib = (uint64_t)usage->ru_maxrss,
    };
}

void ck_fail(struct ck_monitor *m, uint32_t step, int error, uint32_t detail) {
    m->failed = (struct ck_failure){step, error < 0 ? -error : error, detail};
    m->phase = CK_PHASE_OVER;
}

void ck_watch(struct ck_monitor *m, int fd, short events, void (*ready)(struct ck_monitor *, uint32_t),
              uint32_t index) {
    if (fd < 0 || m->watch_count == CK_WATCHES)
        return;
    m->fds[m->watch_count] = (struct pollfd){.fd = fd, .events = events};
    m->watches[m->watch_count++] = (struct ck_watch){ready, index};
}

void ck_wake_at(struct ck_monitor *m, uint64_t when) {
    if (when < m->wake)
        m->wake = when;
}

static void reap(struct ck_monitor *m) {
    struct rusage usage;
    int status, pid;
    while ((pid = ck_sys_wait4(-1, &status, WNOHANG, &usage)) > 0) {
        if (ck_stages_reaped(m, pid, status))
            continue;
        if (pid == m->run.pid)
            ck_run_reaped(m, status, &usage);
        else
            ck_session_reaped(m, pid, status, &usage);
    }
}

static void signal_ready(struct ck_monitor *m, uint32_t index) {
    (void)index;
    struct signalfd_siginfo info[4];
    long got = ck_read(m->signals, info, sizeof(info));
    for (long i = 0; i < got / (long)sizeof(info[0]); i++)
        if (info[i].ssi_signo == CK_SIGTERM)
            ck_stop(m, 0, CK_DEFAULT_TIMEOUT);
    reap(m);
}

static void owner_died(struct ck_monitor *m, uint32_t index) {
    (void)index;
    ck_close_fd(&m->owner_pidfd);
    // What it said last may have been DETACH: hear it first.
    while (m->clients[0].fd >= 0 && m->phase != CK_PHASE_OVER && !m->owner_gone)
        if (!ck_control_turn(m, 0))
            break;
    ck_owner_gone(m);
}

static void wait_for_events(struct ck_monitor *m) {
    struct timespec timeout = {0};
    if (m->wake != CK_NEVER && m->wake > m->now) {
        timeout.tv_sec = (long)((m->wake - m->now) / 1000);
        timeout.tv_nsec = (long)((m->wake - m->now) % 1000 * 1000000);
    }
    int ready = ck_sys_ppoll(m->fds, m->watch_count, m->wake == CK_NEVER ? NULL : &timeout);
    m->now = ck_clock_ms();
    for (uint32_t i = 0; ready > 0 && i < m->watch_count; i++)
        if (m->fds[i].revents)
            m->watches[i].ready(m, m->watches[i].index);
}

static void turn(struct ck_monitor *m) {
    m->watch_count = 0;
    m->wake = CK_NEVER;
    ck_run_watch(m); // first: an exec is heard of before the death that follows it
    ck_sessions_watch(m);
    ck_watch(m, m->signals, POLLIN, signal_ready, 0);
    ck_stdio_watch(m);
    ck_attach_watch(m);
    ck_control_watch(m);
    ck_watch(m, m->owner_pidfd, POLLIN, owner_died, 0);
    ck_health_watch(m);
    ck_wake_at(m, m->record_at);

    wait_for_events(m);

    ck_stop_tick(m);
    ck_attach_tick(m);
    ck_stdio_tick(m);
    ck_sessions_tick(m);
    ck_health_tick(m);
    ck_run_tick(m);
    ck_record_tick(m);
}

static int take_signals(struct ck_monitor *m) {
    uint64_t all = ~0ull, heard = CK_SIGNAL_BIT(CK_SIGCHLD) | CK_SIGNAL_BIT(CK_SIGTERM);
    CK_SYS4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, 0, sizeof(all));
    m->signals = (int)CK_SYS4(__NR_signalfd4, -1, &heard, sizeof(heard), O_CLOEXEC | O_NONBLOCK);
    return m->signals < 0 ? m->signals : 0;
}

static void start(struct ck_monitor *m) {
    int error = take_signals(m);
    if (!error)
        error = ck_read_request(m);
    if (error)
        return ck_fail(m, CK_STEP_REQUEST, error, 0);
    if ((error = ck_join_userns(m)))
        return ck_fail(m, CK_STEP_USERNS, error, 0);
    if ((error = ck_watch_owner(m)))
        return ck_fail(m, CK_STEP_REQUEST, error, 0);
    if ((error = ck_run_prepare(m)))
        return ck_fail(m, CK_STEP_STDIO, error, 0);
    if (m->set.flags & CK_SET_PROBE)
        ck_run_go(m);
}

static struct ck_monitor the_monitor; // the program's one object; untouched pages cost nothing

__attribute__((noreturn)) void ck_main(void) {
    struct ck_monitor *m = &the_monitor;
    CK_SYS5(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    CK_SYS1(__NR_umask, 0);
    ck_begin(m);
    start(m);
    while (m->phase != CK_PHASE_OVER)
        turn(m);
    ck_finish(m);
    ck_exit(0);
}
