// monitor_cgroup.c: the container's cgroup: made, filled, asked, killed, removed (cgroup-v2.rst).
#include "cleanup.h"
#include "monitor.h"

#define CK_CGROUP_PATIENCE_MS 5000u

long ck_write_at(int dir, const char *name, const char *text, size_t size) {
    CK_CLOSE int fd = ck_sys_openat(dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    return fd < 0 ? fd : ck_write(fd, text, size);
}

long ck_read_at(int dir, const char *name, char *buffer, size_t size) {
    CK_CLOSE int fd = ck_sys_openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    return fd < 0 ? fd : ck_read(fd, buffer, size);
}

// *detail: which of the writes failed, counted from 1.
int ck_cgroup_make(struct ck_monitor *m, uint32_t *detail) {
    if (!m->set.cgroup_parent[0])
        return 0;
    CK_CLOSE int parent =
        ck_sys_openat(CK_AT_FDCWD, m->set.cgroup_parent, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (parent < 0)
        return parent;
    int error = ck_sys_mkdirat(parent, m->set.cgroup_name, 0755);
    if (error && error != -EEXIST)
        return error;
    m->cgroup = ck_sys_openat(parent, m->set.cgroup_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (m->cgroup < 0)
        return m->cgroup;
    if ((error = ck_devices_attach(m))) {
        *detail = CK_DETAIL_DEVICES;
        return error;
    }
    return ck_limits_write(m->cgroup, m->set.cgroup_writes, detail);
}

void ck_cgroup_kill(int cgroup) {
    if (cgroup >= 0)
        ck_write_at(cgroup, "cgroup.kill", "1", 1);
}

// A frozen process takes no signal but SIGKILL.
void ck_cgroup_thaw(int cgroup) {
    if (cgroup >= 0)
        ck_write_at(cgroup, "cgroup.freeze", "0", 1);
}

bool ck_cgroup_is_frozen(struct ck_monitor *m) {
    char answer[2] = "";
    return m->cgroup >= 0 && ck_read_at(m->cgroup, "cgroup.freeze", answer, 1) == 1 && answer[0] == '1';
}

// How many processes of the cgroup and below the kernel has killed for want of memory.
uint64_t ck_cgroup_oom_kills(const struct ck_monitor *m) {
    char events[512];
    long size = m->cgroup < 0 ? 0 : ck_read_at(m->cgroup, "memory.events", events, sizeof(events));
    return size > 0 ? ck_parse_counter(events, (size_t)size, "oom_kill") : 0;
}

// Whether it did so since the last time this was asked.
bool ck_cgroup_count_oom(struct ck_monitor *m) {
    uint64_t kills = ck_cgroup_oom_kills(m);
    bool more = kills > m->oom_seen;
    m->oom_seen = kills;
    return more;
}

static void pause_until(uint64_t end, struct pollfd *changed) {
    uint64_t now = ck_clock_ms(), rest = now < end ? end - now : 0;
    struct timespec timeout = {.tv_sec = (long)(rest / 1000), .tv_nsec = (long)(rest % 1000 * 1000000)};
    ck_sys_ppoll(changed, changed ? 1 : 0, &timeout);
}

// Wait until nothing lives in the cgroup.
static void wait_until_empty(int cgroup, uint64_t end) {
    CK_CLOSE int events = ck_sys_openat(cgroup, "cgroup.events", O_RDONLY | O_CLOEXEC, 0);
    struct pollfd changed = {.fd = events, .events = POLLPRI};
    char text[256];
    while (events >= 0 && ck_clock_ms() < end) {
        long size = CK_SYS4(__NR_pread64, events, text, sizeof(text), 0);
        if (size <= 0 || !ck_parse_counter(text, (size_t)size, "populated"))
            return;
        pause_until(end, &changed);
    }
}

// The name of some cgroup below this one; false when there is none.
static bool find_child(struct ck_monitor *m, int cgroup, char name[256]) {
    for (long size; (size = CK_SYS3(__NR_getdents64, cgroup, m->scratch, CK_SCRATCH)) > 0;)
        for (long at = 0; at < size;) {
            const struct ck_entry *entry = (const struct ck_entry *)(m->scratch + at);
            at += entry->size;
            if (entry->type != CK_TYPE_DIRECTORY || ck_is_dot(entry->name))
                continue;
            __builtin_memcpy(name, entry->name, ck_string_size(entry->name) + 1);
            return true;
        }
    return false;
}

// Walk down to a leaf and remove it: two descriptors whatever the depth.
static int remove_leaf(struct ck_monitor *m, const char *top) {
    CK_CLOSE int parent =
        ck_sys_openat(CK_AT_FDCWD, m->set.cgroup_parent, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    char name[2][256];
    size_t size = ck_string_size(top) + 1;
    if (size > sizeof(name[0]))
        return -ENAMETOOLONG;
    __builtin_memcpy(name[0], top, size);
    for (unsigned now = 0; parent >= 0; now = !now) {
        int child = ck_sys_openat(parent, name[now], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (child < 0 || !find_child(m, child, name[!now])) {
            ck_close_fd(&child);
            return ck_sys_unlinkat(parent, name[now], AT_REMOVEDIR);
        }
        ck_close(parent);
        parent = child;
    }
    return parent;
}

// Gone is what counts, whoever did it. The container may have made cgroups below its own.
int ck_cgroup_remove(struct ck_monitor *m) {
    CK_CLOSE int cgroup = ck_steal_fd(&m->cgroup);
    if (cgroup < 0)
        return 0;
    CK_CLOSE int parent =
        ck_sys_openat(CK_AT_FDCWD, m->set.cgroup_parent, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    int error = ck_sys_unlinkat(parent, m->set.cgroup_name, AT_REMOVEDIR);
    for (uint64_t end = error ? ck_clock_ms() + CK_CGROUP_PATIENCE_MS : 0; error == -EBUSY;) {
        ck_cgroup_kill(cgroup);
        wait_until_empty(cgroup, end);
        int leaf = remove_leaf(m, m->set.cgroup_name);
        error = ck_sys_unlinkat(parent, m->set.cgroup_name, AT_REMOVEDIR);
        if (ck_clock_ms() >= end)
            break;
        if (error == -EBUSY && leaf == -EBUSY) // dying tasks are counted a moment longer
            pause_until(ck_clock_ms() + 1, NULL);
    }
    return error == -ENOENT ? 0 : error;
}
