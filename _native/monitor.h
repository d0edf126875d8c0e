// monitor.h: the state of one container's monitor, and the verbs of its parts.
//
// One process, one thread, one struct. Each part adds its descriptors and deadlines to the
// next wait (ck_*_watch), is told when they are ready, and looks at the clock in ck_*_tick.
// Handlers use non-blocking calls and ignore revents, so a stale event is harmless.
#ifndef CK_MONITOR_H
#define CK_MONITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ckit.h"
#include "decode.h"
#include "launch.h"
#include "monitor_format.h"
#include "monitor_session.h"
#include "monitor_syscalls.h"
#include "removal.h"

#define CK_CLIENTS 97u       // [0] is the owner's channel; room for every exec session besides
#define CK_PLAIN_CLIENTS 32u // connections without an exec session
#define CK_WATCHES 512u
#define CK_CHUNK 65536u   // one read of container output
#define CK_SCRATCH 73728u // formatted output, directory entries, small files: never held over a turn
#define CK_NEVER UINT64_MAX
#define CK_SLOW_CLIENT_MS 10000u
#define CK_HEALTH_OUTPUT 4096u

#define CK_MAX_REQUEST (64u << 20)

struct ck_monitor;

struct ck_settings {
    uint32_t flags, owner_pid, namespaces;
    const char *container_dir, *runtime_dir;
    struct ck_strings dirs;
    uint32_t dir_mode;
    const char *cgroup_parent, *cgroup_name;
    struct ck_strings cgroup_writes;
    uint32_t stop_signal;
    uint64_t stop_timeout_ms;
    uint32_t restart, restart_max;
    uint64_t log_max_bytes;
    uint32_t log_max_files;
    uint64_t health_interval_ms, health_timeout_ms;
    uint32_t health_retries;
    uint64_t health_start_period_ms, health_start_interval_ms;
    uint64_t time_limit_ms;
};

#define CK_SIGKILL 9 // <signal.h> would bring the C library's signal sets along
#define CK_SIGUSR1 10
#define CK_SIGTERM 15
#define CK_SIGCHLD 17
#define CK_NOT_EXECED 0x40u // PF_FORKNOEXEC in /proc/<pid>/stat

enum ck_phase {
    CK_PHASE_WAITING,   // for GO; nothing was touched yet
    CK_PHASE_LAUNCHING, // init walks its plan
    CK_PHASE_RUNNING,
    CK_PHASE_DRAINING, // init is reaped; output and exec sessions come to their end
    CK_PHASE_BACKOFF,  // until the next run
    CK_PHASE_OVER,
};

struct ck_init { // the present run of init, or the last one
    struct ck_launch launch;
    bool prepared, reaped;
    bool first_stage;                 // init is yet to come: see monitor_stages.c
    int pidfd, report;                // -1 when closed
    int stat;                         // /proc/<pid>/stat
    int32_t pid;                      // 0 when there is no process to reap
    int32_t recorded;                 // its pid for the state file, also after the end
    uint64_t start_time;              // field 22 of /proc/<pid>/stat
    uint64_t started_ns, finished_ns; // since the epoch
    uint64_t began;                   // on our clock, ms
    int32_t status;
    struct ck_usage usage;
    uint64_t cloned_ns; // monotonic, as the outcome's times are
};

struct ck_log {
    int fd;
    uint64_t size, lost; // lost: bytes that could not be written
};

struct ck_stdio {
    int child[3];                    // init's ends until the clone
    int in;                          // write end of its stdin
    int out[2];                      // read ends of stdout and stderr
    int master;                      // the pty instead of all three
    uint32_t held_stream, held_size; // chunk not yet taken by every attached client
    uint64_t quiet_until;            // a terminal nobody has open is asked again then
    uint64_t trim_at;
};

struct ck_client {
    int fd;     // -1: free
    bool waits; // told when the container is over
    bool attached, slow_ok;
    int session;      // index of its exec session or -1
    int out[2];       // where it wants stdout and stderr
    uint32_t written; // of the held chunk
    uint64_t stuck_until;
};

enum ck_health_status { CK_HEALTH_NONE, CK_HEALTH_STARTING, CK_HEALTH_HEALTHY, CK_HEALTH_UNHEALTHY };

struct ck_health {
    struct ck_plan plan; // count 0: no health check
    enum ck_health_status status;
    uint32_t failing;
    bool timed_out;
    uint32_t run; // restarts when the probe began
    int output;   // read end
    uint64_t next_at, timeout_at, period_end;
    uint64_t probe_started_ns;
    uint32_t size;
    char text[CK_HEALTH_OUTPUT];
};

struct ck_watch {
    void (*ready)(struct ck_monitor *m, uint32_t index);
    uint32_t index;
};

struct ck_monitor {
    enum ck_phase phase;
    struct ck_settings set;
    uint32_t present; // bit n: descriptor n was given
    bool joined_userns;
    int signals, owner_pidfd, listener;
    int runtime, cgroup;     // directories
    bool made_container_dir; // GO came: REMOVE has something to do
    bool owner_gone;
    bool stopping;        // on request: no restart
    uint32_t exit_flags;  // CK_EXIT_* of the present run
    bool stop_pending;    // stop came while init was being built
    uint32_t stop_signal; // to send then
    uint64_t force_at;    // end of the stop timeout
    uint64_t limit_at;    // end of the run's time limit
    uint64_t drain_until;
    uint32_t restarts;
    uint64_t backoff_ms, restart_at;
    uint64_t record_at; // a record that could not be written is tried again then
    uint64_t oom_seen;
    void *limits_map; // what the last CK_MSG_LIMITS brought
    long limits_size;
    int32_t pid;
    uint64_t start_time;
    struct ck_failure failed; // step 0 and error 0: none
    bool launched;            // STARTED was sent once
    uint64_t now, wake;       // ms
    struct ck_init run;
    struct ck_log log;
    struct ck_stdio stdio;
    struct ck_health health;
    uint32_t session_count; // ever: names the next cgroup
    uint32_t stale_count;   // cgroups of ended sessions that were still populated
    uint32_t stale[CK_SESSIONS];
    uint64_t stale_at;
    struct ck_client clients[CK_CLIENTS];
    struct ck_session sessions[CK_SESSIONS];
    uint32_t watch_count;
    struct pollfd fds[CK_WATCHES];
    struct ck_watch watches[CK_WATCHES];
    char chunk[CK_CHUNK] __attribute__((aligned(4096)));
    char scratch[CK_SCRATCH] __attribute__((aligned(4096)));
};

// monitor.c
void ck_watch(struct ck_monitor *m, int fd, short events, void (*ready)(struct ck_monitor *, uint32_t),
              uint32_t index);
void ck_wake_at(struct ck_monitor *m, uint64_t when);
void ck_fail(struct ck_monitor *m, uint32_t step, int error, uint32_t detail);
uint64_t ck_clock_ms(void);
uint64_t ck_clock_ns(void); // since the epoch
uint64_t ck_later(const struct ck_monitor *m, uint64_t ms);
void ck_close_fd(int *fd);
struct ck_usage ck_usage_of(const struct rusage *usage);

// monitor_setup.c: what happens before GO, and the container's places
void ck_begin(struct ck_monitor *m);
long ck_map_request(int fd, void **map); // its size or -errno
int ck_read_request(struct ck_monitor *m);
int ck_join_userns(struct ck_monitor *m);
int ck_watch_owner(struct ck_monitor *m);
int ck_make_dirs(struct ck_monitor *m);
int ck_enter_dir(struct ck_monitor *m);
int ck_clear_work_dirs(struct ck_monitor *m);
int ck_make_runtime_dir(struct ck_monitor *m);

// monitor_devices.c
int ck_devices_attach(struct ck_monitor *m);

// monitor_cgroup.c
int ck_cgroup_make(struct ck_monitor *m, uint32_t *detail);
void ck_cgroup_kill(int cgroup);
void ck_cgroup_thaw(int cgroup);
bool ck_cgroup_is_frozen(struct ck_monitor *m);
uint64_t ck_cgroup_oom_kills(const struct ck_monitor *m);
bool ck_cgroup_count_oom(struct ck_monitor *m);
int ck_cgroup_remove(struct ck_monitor *m);
long ck_write_at(int dir, const char *name, const char *text, size_t size);
long ck_read_at(int dir, const char *name, char *buffer, size_t size);

// monitor_exec.c
long ck_map_sealed(int fd, void **map); // its size or -errno

// monitor_limits.c
int ck_limits_write(int cgroup, struct ck_strings writes, uint32_t *count);
void ck_limits_change(struct ck_monitor *m, uint32_t client, int memfd);

// monitor_run.c: one run of init
int ck_run_prepare(struct ck_monitor *m);
int ck_run_clone(struct ck_monitor *m);
int ck_run_announce(struct ck_monitor *m);
void ck_run_go(struct ck_monitor *m);
void ck_run_watch(struct ck_monitor *m);
void ck_run_tick(struct ck_monitor *m);
void ck_run_reaped(struct ck_monitor *m, int status, const struct rusage *usage);
void ck_run_discard(struct ck_monitor *m);
bool ck_is_restarting(const struct ck_monitor *m);

// monitor_stages.c
bool ck_stages_reaped(struct ck_monitor *m, int32_t pid, int status);
void ck_stages_kill(struct ck_monitor *m);
void ck_stages_discard(struct ck_monitor *m);

// monitor_stop.c
void ck_stop(struct ck_monitor *m, uint32_t signal, uint64_t timeout_ms);
void ck_stop_run_started(struct ck_monitor *m);
void ck_force(struct ck_monitor *m);
void ck_stop_tick(struct ck_monitor *m);
int ck_signal_init(struct ck_monitor *m, int signal);
void ck_owner_gone(struct ck_monitor *m);

// monitor_stdio.c
int ck_stdio_prepare(struct ck_monitor *m);
void ck_stdio_close_child(struct ck_monitor *m);
void ck_stdio_take_master(struct ck_monitor *m, int fd);
void ck_stdio_watch(struct ck_monitor *m);
void ck_stdio_tick(struct ck_monitor *m);
bool ck_stdio_drained(struct ck_monitor *m);
void ck_stdio_close(struct ck_monitor *m);
int ck_stdio_input(const struct ck_monitor *m);

// monitor_attach.c
int ck_attach(struct ck_monitor *m, uint32_t index, const struct ck_message *message, int *fds);
void ck_attach_give(struct ck_monitor *m);
void ck_attach_watch(struct ck_monitor *m);
void ck_attach_tick(struct ck_monitor *m);
void ck_attach_end(struct ck_client *client);
bool ck_attach_is_behind(const struct ck_monitor *m, const struct ck_client *client);

// monitor_log.c
int ck_log_open(struct ck_monitor *m);
void ck_log_write(struct ck_monitor *m, uint32_t stream, const char *data, size_t size);

// monitor_control.c
int ck_control_bind(struct ck_monitor *m);
bool ck_control_turn(struct ck_monitor *m, uint32_t index); // handle one message; false: there is none
void ck_control_watch(struct ck_monitor *m);
void ck_send(struct ck_monitor *m, int client, const struct ck_message *message, int fd);
void ck_control_finish(struct ck_monitor *m, const struct ck_message *message);
void ck_drop_client(struct ck_monitor *m, uint32_t index);
long ck_receive(int socket, struct ck_message *message, int fds[4]);

// monitor_health.c
void ck_health_reset(struct ck_monitor *m);
void ck_health_run_started(struct ck_monitor *m);
void ck_health_run_ended(struct ck_monitor *m);
void ck_health_watch(struct ck_monitor *m);
void ck_health_tick(struct ck_monitor *m);
void ck_health_probed(struct ck_monitor *m, const struct ck_session *session);

// monitor_record.c
int ck_record(struct ck_monitor *m);
void ck_record_launched(struct ck_monitor *m);
void ck_record_tick(struct ck_monitor *m);
uint64_t ck_start_time(int stat, uint64_t *task_flags);
int ck_open_stat(int32_t pid); // /proc/<pid>/stat
int ck_replace_file(int dir, const char *name, const char *temporary, const char *data, size_t size);

// monitor_finish.c
void ck_finish(struct ck_monitor *m);

#endif
