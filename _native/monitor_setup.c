// monitor_setup.c: from the descriptors the monitor starts with to the places of its container.
#include <sys/mman.h>

#include "cleanup.h"
#include "monitor.h"

void ck_begin(struct ck_monitor *m) {
    for (int fd = CK_FD_REQUEST; fd < CK_FD_REQUEST + (int)CK_FD_COUNT; fd++)
        if (ck_sys_fcntl(fd, F_GETFD, 0) >= 0) // before anything of ours can take the number
            m->present |= 1u << fd;
    m->signals = m->owner_pidfd = m->listener = m->runtime = m->cgroup = -1;
    m->run.pidfd = m->run.report = m->run.stat = m->run.launch.report = m->log.fd = m->health.output = -1;
    m->stdio.in = m->stdio.master = m->stdio.out[0] = m->stdio.out[1] = -1;
    m->stdio.child[0] = m->stdio.child[1] = m->stdio.child[2] = -1;
    m->stdio.trim_at = CK_NEVER;
    m->force_at = m->limit_at = m->drain_until = m->restart_at = m->record_at = m->stale_at = CK_NEVER;
    m->health.next_at = m->health.timeout_at = CK_NEVER;
    for (uint32_t i = 0; i < CK_CLIENTS; i++)
        m->clients[i].fd = -1;
    if (m->present & 1u << CK_FD_OWNER)
        m->clients[0] = (struct ck_client){.fd = CK_FD_OWNER, .waits = true, .session = -1};
    m->now = ck_clock_ms();
    m->pid = (int32_t)CK_SYS0(__NR_getpid);
    CK_CLOSE int stat = ck_open_stat(m->pid);
    uint64_t flags;
    m->start_time = ck_start_time(stat, &flags);
}

static void read_settings(struct ck_settings *set, const struct ck_field *field) {
    *set = (struct ck_settings){
        .flags = (uint32_t)field[CK_SETTING_FLAGS].number,
        .owner_pid = (uint32_t)field[CK_SETTING_OWNER_PID].number,
        .namespaces = (uint32_t)field[CK_SETTING_NAMESPACES].number,
        .container_dir = field[CK_SETTING_CONTAINER_DIR].text.at,
        .runtime_dir = field[CK_SETTING_RUNTIME_DIR].text.at,
        .dirs = field[CK_SETTING_DIRS].strings,
        .dir_mode = (uint32_t)field[CK_SETTING_DIR_MODE].number,
        .cgroup_parent = field[CK_SETTING_CGROUP_PARENT].text.at,
        .cgroup_name = field[CK_SETTING_CGROUP_NAME].text.at,
        .cgroup_writes = field[CK_SETTING_CGROUP_WRITES].strings,
        .stop_signal = (uint32_t)field[CK_SETTING_STOP_SIGNAL].number,
        .stop_timeout_ms = field[CK_SETTING_STOP_TIMEOUT_MS].number,
        .restart = (uint32_t)field[CK_SETTING_RESTART].number,
        .restart_max = (uint32_t)field[CK_SETTING_RESTART_MAX].number,
        .log_max_bytes = field[CK_SETTING_LOG_MAX_BYTES].number,
        .log_max_files = (uint32_t)field[CK_SETTING_LOG_MAX_FILES].number,
        .health_interval_ms = field[CK_SETTING_HEALTH_INTERVAL_MS].number,
        .health_timeout_ms = field[CK_SETTING_HEALTH_TIMEOUT_MS].number,
        .health_retries = (uint32_t)field[CK_SETTING_HEALTH_RETRIES].number,
        .health_start_period_ms = field[CK_SETTING_HEALTH_START_PERIOD_MS].number,
        .health_start_interval_ms = field[CK_SETTING_HEALTH_START_INTERVAL_MS].number,
        .time_limit_ms = field[CK_SETTING_TIME_LIMIT_MS].number,
    };
}

long ck_map_request(int fd, void **map) {
    struct stat about;
    long error = CK_SYS2(__NR_fstat, fd, &about);
    if (error)
        return error;
    if (about.st_size <= 0 || about.st_size > CK_MAX_REQUEST)
        return -EBADMSG;
    long at = CK_SYS6(__NR_mmap, 0, about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (at < 0 && at > -4096)
        return at;
    *map = (void *)at;
    return about.st_size;
}

int ck_read_request(struct ck_monitor *m) {
    struct ck_request_view view;
    void *map;
    long size = ck_map_request(CK_FD_REQUEST, &map);
    if (size < 0)
        return (int)size;
    int error = ck_open_request(map, (size_t)size, &view);
    if (error)
        return error;
    if (!view.has_settings || !view.has_plan)
        return -EBADMSG;
    ck_close(CK_FD_REQUEST);
    read_settings(&m->set, view.settings);
    m->run.launch.plan = view.plan;
    if (view.has_health)
        m->health.plan = view.health;
    return 0;
}

// From here on root and rootless are the same: id 0 of the namespace is who started us.
int ck_join_userns(struct ck_monitor *m) {
    if (!(m->present & 1u << CK_FD_USERNS))
        return 0;
    long error = CK_SYS2(__NR_setns, CK_FD_USERNS, CLONE_NEWUSER);
    if (error)
        return (int)error;
    ck_close(CK_FD_USERNS);
    m->joined_userns = true;
    error = CK_SYS3(__NR_setresgid, 0, 0, 0);
    if (!error)
        error = CK_SYS3(__NR_setresuid, 0, 0, 0);
    return error == -EINVAL ? 0 : (int)error; // EINVAL: 0 is not mapped
}

int ck_watch_owner(struct ck_monitor *m) {
    if (!(m->set.flags & CK_SET_OWNED))
        return 0;
    long pidfd = CK_SYS2(__NR_pidfd_open, m->set.owner_pid, 0);
    if (pidfd < 0)
        return (int)pidfd;
    m->owner_pidfd = (int)pidfd;
    // The number may have been given to another process before pidfd_open.
    if (CK_SYS0(__NR_getppid) != (long)m->set.owner_pid)
        return -ESRCH;
    return 0;
}

static bool is_work(const char *name) {
    return name[0] == 'w' && name[1] == 'o' && name[2] == 'r' && name[3] == 'k';
}

static int make_dir(int dir, const char *name, unsigned mode) {
    int error = ck_sys_mkdirat(dir, name, mode);
    return error == -EEXIST ? 0 : error;
}

// A probe finds its directory made, or needs none.
int ck_enter_dir(struct ck_monitor *m) {
    return m->set.container_dir[0] ? (int)CK_SYS1(__NR_chdir, m->set.container_dir) : 0;
}

int ck_make_dirs(struct ck_monitor *m) {
    int error = make_dir(CK_AT_FDCWD, m->set.container_dir, 0700);
    if (!error) {
        m->made_container_dir = true;
        error = (int)CK_SYS1(__NR_chdir, m->set.container_dir);
    }
    struct ck_strings dirs = m->set.dirs;
    for (const char *name; !error && (name = ck_next_string(&dirs));)
        error = make_dir(CK_AT_FDCWD, name, is_work(name) ? 0700 : m->set.dir_mode);
    return error;
}

// A volatile overlay leaves a mark in its work directory and refuses to be mounted on it again.
int ck_clear_work_dirs(struct ck_monitor *m) {
    int error = 0;
    struct ck_strings dirs = m->set.dirs;
    if (!(m->set.flags & CK_SET_DIRTY_WORK))
        return 0;
    for (const char *name; !error && (name = ck_next_string(&dirs));)
        if (is_work(name))
            error = ck_empty_tree(CK_AT_FDCWD, name);
    return error;
}

int ck_make_runtime_dir(struct ck_monitor *m) {
    int error = make_dir(CK_AT_FDCWD, m->set.runtime_dir, 0700);
    if (error)
        return error;
    m->runtime = ck_sys_openat(CK_AT_FDCWD, m->set.runtime_dir, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    return m->runtime < 0 ? m->runtime : 0;
}
