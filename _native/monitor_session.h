// monitor_session.h: exec sessions: one for each further process inside the container.
//
// A client's EXEC makes one, and so does each health probe. See monitor_session.c for its life.
#ifndef CK_MONITOR_SESSION_H
#define CK_MONITOR_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "launch.h"

#define CK_SESSIONS 65u // the last one is the health probe's
#define CK_HEALTH_SESSION (CK_SESSIONS - 1)

struct ck_monitor;

struct ck_failure {
    uint32_t step;
    int32_t error;
    uint32_t detail;
};

struct ck_usage {
    uint64_t user_us, system_us, max_rss_kib;
};

enum ck_session_state {
    CK_SESSION_FREE,
    CK_SESSION_LAUNCHING,
    CK_SESSION_RUNNING,
    CK_SESSION_FAILED, // the client was told; its processes are still to be reaped
};

struct ck_session { // one exec'd process
    enum ck_session_state state;
    int client;     // index or -1
    uint32_t flags; // CK_EXEC_*
    bool killed;    // with all it started
    int32_t first;  // the cloned process
    int32_t pid;    // the one that went on; may be the first
    bool first_reaped, reaped;
    uint32_t number; // names its cgroup
    int cgroup, report;
    void *map; // the request its plan is in
    size_t map_size;
    struct ck_launch launch;
    bool prepared; // launch memory is mapped
    struct ck_failure failure;
    int32_t status;
    uint64_t oom_kills; // counted before it began
    struct ck_usage usage;
    uint64_t retry_at, retry_ms, give_up_at; // removing the cgroup of a killed tree
};

// monitor_exec.c: what a client says about a session
int ck_session_open(struct ck_monitor *m, uint32_t client, uint32_t flags, int fds[4]);
int32_t ck_session_went_on(const struct ck_session *session);
void ck_session_kill(struct ck_session *session);
int ck_session_signal(const struct ck_session *session, int signal);
void ck_session_lost_client(struct ck_session *session);

// monitor_session.c: its life
int ck_session_launch(struct ck_monitor *m, struct ck_session *session, const int stdio[3]);
void ck_session_free(struct ck_monitor *m, struct ck_session *session);
void ck_sessions_watch(struct ck_monitor *m);
void ck_sessions_tick(struct ck_monitor *m);
void ck_session_reaped(struct ck_monitor *m, int pid, int status, const struct rusage *usage);
void ck_sessions_kill_all(struct ck_monitor *m);
bool ck_sessions_over(const struct ck_monitor *m);

// monitor_exec_cgroup.c
int ck_exec_cgroup_make(struct ck_monitor *m, struct ck_session *session);
bool ck_exec_cgroup_is_gone(struct ck_monitor *m, struct ck_session *session);
void ck_exec_cgroup_leave(struct ck_monitor *m, struct ck_session *session);
void ck_exec_cgroups_tick(struct ck_monitor *m);

#endif
