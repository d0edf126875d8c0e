// monitor_finish.c: the end of a monitor: nothing left behind, everybody told.
#include "monitor.h"

static bool removes(const struct ck_monitor *m) {
    bool owner_let_go = m->owner_gone && m->set.flags & CK_SET_REMOVE_OWNED;
    return m->set.flags & (CK_SET_REMOVE | CK_SET_REMOVE_ONLY) || owner_let_go;
}

// Nobody would come for the state of a container that never ran, or whose owner is gone.
static bool keeps_state(const struct ck_monitor *m) {
    bool owner_let_go = m->owner_gone && m->set.flags & CK_SET_OWNED;
    return m->set.flags & CK_SET_KEEP_STATE && m->launched && !owner_let_go;
}

static int remove_runtime(struct ck_monitor *m) {
    if (m->runtime < 0 && !(m->set.flags & CK_SET_REMOVE_ONLY))
        return 0;                                   // not made
    ck_sys_unlinkat(m->runtime, "control.sock", 0); // the usual contents, without looking
    ck_sys_unlinkat(m->runtime, "state", 0);
    ck_close_fd(&m->runtime);
    return ck_remove_tree(CK_AT_FDCWD, m->set.runtime_dir);
}

// What has to go, in an order that leaves the state file, by which others find the rest, to the last.
static bool clean_up(struct ck_monitor *m) {
    bool all = removes(m);
    int error = 0;
    if (!m->made_container_dir)
        return false;
    if (all)
        error = ck_remove_tree(CK_AT_FDCWD, m->set.container_dir);
    int cgroup_error = ck_cgroup_remove(m);
    if (error && !m->failed.error)
        m->failed.error = -error;
    if (all && !keeps_state(m))
        return !remove_runtime(m) && !error && !cgroup_error;
    ck_record(m);
    if (m->listener >= 0)
        ck_sys_unlinkat(m->runtime, "control.sock", 0);
    return false;
}

void ck_finish(struct ck_monitor *m) {
    ck_run_discard(m);
    bool quiet = m->owner_gone && !m->made_container_dir;
    uint64_t began = ck_monotonic_ns();
    if (clean_up(m))
        m->exit_flags |= CK_EXIT_CLEAN;
    struct ck_message last = {
        .type = m->launched ? CK_MSG_EXITED : CK_MSG_FAILED,
        .flags = m->exit_flags,
        .value = m->run.status,
        .step = m->failed.step,
        .error = m->failed.error,
        .detail = m->launched ? (uint32_t)((ck_monotonic_ns() - began) / 1000) : m->failed.detail,
        .a = m->run.usage.user_us,
        .b = m->run.usage.system_us,
        .c = m->run.usage.max_rss_kib,
    };
    if (!quiet)
        ck_control_finish(m, &last);
}
