// monitor_stages.c: a launch in two stages: init is the process that the first one leaves behind.
//
// ENTER_USER_NAMESPACE ends the first, which had the engine's ids, and the second is our child too
// (CLONE_PARENT). Until the first was reaped nothing of the run is recorded and READY does not pass:
//
//   first ends well, or was killed after it left a second   the second is init; killed if the first was
//   second ends before the first was reaped                 the first has nothing left to do and is reaped
//   first ends without a second                             its end is that of the launch
#include <sys/wait.h>

#include "monitor.h"

// The second, or 0. Its number lies in memory that it can write to: it is believed only where it names a child of ours.
static int32_t find_second(const struct ck_init *run) {
    int32_t pid = run->first_stage && run->prepared ? run->launch.outcome->pid : 0;
    int options = WEXITED | WNOHANG | WNOWAIT;
    bool ours = pid > 0 && pid != run->pid && CK_SYS5(__NR_waitid, P_PID, pid, NULL, options, NULL) == 0;
    return ours ? pid : 0;
}

static void reap(int32_t pid) {
    int status;
    struct rusage usage;
    while (ck_sys_wait4(pid, &status, 0, &usage) == -EINTR)
        ;
}

static int take_over(struct ck_init *run, int32_t pid) {
    uint64_t task_flags;
    run->first_stage = false;
    run->pid = run->recorded = pid;
    ck_close_fd(&run->pidfd);
    ck_close_fd(&run->stat);
    run->stat = ck_open_stat(pid);
    run->start_time = ck_start_time(run->stat, &task_flags);
    run->pidfd = (int)CK_SYS2(__NR_pidfd_open, pid, 0); // our child: the number is its own
    return run->pidfd < 0 ? run->pidfd : 0;
}

// One of our children was reaped; true: it was the first stage, and the run goes on.
bool ck_stages_reaped(struct ck_monitor *m, int32_t pid, int status) {
    struct ck_init *run = &m->run;
    int error;
    if (!run->first_stage)
        return false;
    if (pid != run->pid && run->prepared && pid == run->launch.outcome->pid) {
        ck_sys_kill(run->pid, CK_SIGKILL); // it may be frozen, or stopped
        reap(run->pid);
        run->first_stage = false;
        run->pid = run->recorded = pid;
        return false;
    }
    int32_t second = pid == run->pid ? find_second(run) : 0;
    if (!second)
        return false;
    if (status)
        ck_sys_kill(second, CK_SIGKILL);
    if ((error = take_over(run, second)) || (error = ck_run_announce(m)))
        ck_fail(m, CK_STEP_RUNTIME, error, 0);
    return true;
}

void ck_stages_kill(struct ck_monitor *m) {
    int32_t second = find_second(&m->run);
    if (second)
        ck_sys_kill(second, CK_SIGKILL);
}

// The first is reaped: there will be no second that is not there now.
void ck_stages_discard(struct ck_monitor *m) {
    int32_t second = find_second(&m->run);
    m->run.first_stage = false;
    if (!second)
        return;
    ck_sys_kill(second, CK_SIGKILL);
    reap(second);
}
