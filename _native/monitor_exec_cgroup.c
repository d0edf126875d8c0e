// monitor_exec_cgroup.c: the cgroup of an exec session, exec-<n> below the container's.
#include "monitor.h"

#define CK_PATIENCE_MS 2000u // for a killed tree to be gone
#define CK_STALE_MS 1000u    // between looks at what ended sessions left running

static void name_cgroup(char name[32], uint32_t number) {
    struct ck_writer to = {name, 0, 32};
    ck_put_string(&to, "exec-");
    ck_put_number(&to, number);
    ck_put_end(&to);
}

static int remove_cgroup(struct ck_monitor *m, uint32_t number) {
    char name[32];
    name_cgroup(name, number);
    return ck_sys_unlinkat(m->cgroup, name, AT_REMOVEDIR);
}

int ck_exec_cgroup_make(struct ck_monitor *m, struct ck_session *session) {
    char name[32];
    if (m->cgroup < 0)
        return 0;
    name_cgroup(name, session->number);
    int error = ck_sys_mkdirat(m->cgroup, name, 0755);
    if (error)
        return error;
    session->cgroup = ck_sys_openat(m->cgroup, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    return session->cgroup < 0 ? session->cgroup : 0;
}

// After a kill: whether all of the tree is gone, or was waited for long enough. Sets when to ask again.
bool ck_exec_cgroup_is_gone(struct ck_monitor *m, struct ck_session *session) {
    if (session->cgroup < 0 || m->now >= session->give_up_at)
        return true;
    if (session->retry_at > m->now && session->retry_at != CK_NEVER)
        return false;
    if (remove_cgroup(m, session->number) != -EBUSY) {
        ck_close_fd(&session->cgroup);
        return true;
    }
    ck_cgroup_kill(session->cgroup);
    if (session->retry_at == CK_NEVER)
        session->give_up_at = ck_later(m, CK_PATIENCE_MS);
    session->retry_ms = session->retry_ms * 2 + 1;
    session->retry_at = ck_later(m, session->retry_ms);
    return false;
}

// A session may end before all it started: then its cgroup stays until that ends.
void ck_exec_cgroup_leave(struct ck_monitor *m, struct ck_session *session) {
    if (session->cgroup < 0)
        return;
    ck_close_fd(&session->cgroup);
    if (remove_cgroup(m, session->number) != -EBUSY || m->stale_count == CK_SESSIONS)
        return; // one too many is removed with the container
    m->stale[m->stale_count++] = session->number;
    m->stale_at = ck_later(m, CK_STALE_MS);
}

void ck_exec_cgroups_tick(struct ck_monitor *m) {
    uint32_t kept = 0;
    if (m->now < m->stale_at)
        return;
    for (uint32_t i = 0; i < m->stale_count; i++)
        if (remove_cgroup(m, m->stale[i]) == -EBUSY)
            m->stale[kept++] = m->stale[i];
    m->stale_count = kept;
    m->stale_at = kept ? ck_later(m, CK_STALE_MS) : CK_NEVER;
}
