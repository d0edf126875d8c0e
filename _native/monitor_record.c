// monitor_record.c: the state file, as docs/design.md has it, and /proc/<pid>/stat.
#include "monitor.h"

#define CK_RECORD_AGAIN_MS 1000u // until a record that could not be written is tried again

int ck_replace_file(int dir, const char *name, const char *temporary, const char *data, size_t size) {
    int fd = ck_sys_openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fd;
    long wrote = ck_write(fd, data, size);
    ck_close(fd);
    if (wrote != (long)size)
        return wrote < 0 ? (int)wrote : -ENOSPC;
    return ck_sys_renameat(dir, temporary, dir, name);
}

// The start time of the process whose stat file this is; 0 when it is gone.
uint64_t ck_start_time(int stat, uint64_t *task_flags) {
    char text[1024];
    uint64_t start_time = 0;
    *task_flags = 0;
    long size = CK_SYS4(__NR_pread64, stat, text, sizeof(text), 0);
    if (size > 0)
        ck_parse_stat(text, (size_t)size, task_flags, &start_time);
    return start_time;
}

int ck_open_stat(int32_t pid) {
    char path[32];
    struct ck_writer to = {path, 0, sizeof(path)};
    ck_put_string(&to, "/proc/");
    ck_put_signed(&to, pid);
    ck_put_string(&to, "/stat");
    ck_put_end(&to);
    return ck_sys_openat(CK_AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

static void put_pair(struct ck_writer *to, const char *key, int64_t pid, uint64_t start_time) {
    ck_put_string(to, key);
    ck_put_signed(to, pid);
    ck_put_string(to, " ");
    ck_put_number(to, start_time);
}

static void put_value(struct ck_writer *to, const char *key, int64_t value) {
    ck_put_string(to, key);
    ck_put_signed(to, value);
}

static void put_last_run(struct ck_writer *to, const struct ck_monitor *m) {
    const struct ck_usage *usage = &m->run.usage;
    put_value(to, "\nfinished=", (int64_t)m->run.finished_ns);
    put_value(to, "\nstatus=", m->run.status);
    put_value(to, "\nflags=", m->exit_flags);
    put_value(to, "\nusage=", (int64_t)usage->user_us);
    put_value(to, " ", (int64_t)usage->system_us);
    put_value(to, " ", (int64_t)usage->max_rss_kib);
}

#define LAUNCHED "launched="

static const char *phase_name(const struct ck_monitor *m) {
    if (m->phase == CK_PHASE_OVER)
        return "phase=exited";
    return ck_is_restarting(m) ? "phase=restarting" : "phase=running";
}

static void put_state(struct ck_writer *to, const struct ck_monitor *m) {
    static const char *const health[] = {"none", "starting", "healthy", "unhealthy"};
    ck_put_string(to, m->phase == CK_PHASE_LAUNCHING ? LAUNCHED "0\n" : LAUNCHED "1\n");
    ck_put_string(to, phase_name(m));
    put_pair(to, "\nmonitor=", m->pid, m->start_time);
    if (m->run.recorded)
        put_pair(to, "\ninit=", m->run.recorded, m->run.start_time);
    put_value(to, "\nstarted=", (int64_t)m->run.started_ns);
    if (m->run.finished_ns)
        put_last_run(to, m);
    put_value(to, "\nrestarts=", m->restarts);
    ck_put_string(to, "\nhealth=");
    ck_put_string(to, health[m->health.status]);
    put_value(to, "\nfailing=", m->health.failing);
    if (m->failed.step || m->failed.error) {
        put_value(to, "\nerror=", m->failed.step);
        put_value(to, " ", m->failed.error);
        put_value(to, " ", m->failed.detail);
    }
    if (m->log.lost)
        put_value(to, "\nlost=", (int64_t)m->log.lost);
    ck_put_string(to, "\n");
}

int ck_record(struct ck_monitor *m) {
    if (m->runtime < 0)
        return 0;
    struct ck_writer to = {m->scratch, 0, CK_SCRATCH};
    put_state(&to, m);
    int error = ck_replace_file(m->runtime, "state", "state.new", m->scratch, to.size);
    m->record_at = error ? ck_later(m, CK_RECORD_AGAIN_MS) : CK_NEVER;
    return error;
}

// A full disk may have room again. The end is recorded when all is cleaned up, not before.
void ck_record_tick(struct ck_monitor *m) {
    if (m->now >= m->record_at && m->phase != CK_PHASE_OVER)
        ck_record(m);
}

// One byte of the file as it is: a whole new one would hold up every start.
void ck_record_launched(struct ck_monitor *m) {
    int fd = m->runtime < 0 ? -1 : ck_sys_openat(m->runtime, "state", O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0);
    bool tells_of_this_run = m->record_at == CK_NEVER;
    if (!tells_of_this_run || fd < 0 || CK_SYS4(__NR_pwrite64, fd, "1", 1, sizeof(LAUNCHED) - 1) != 1)
        ck_record(m); // somebody took it away, or it could not be written
    ck_close_fd(&fd);
}
