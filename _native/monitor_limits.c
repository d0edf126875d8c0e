// monitor_limits.c: the container's limits: written into each cgroup that is made for it, and changed
// while it runs (CK_MSG_LIMITS).
#include "monitor.h"

#include <sys/mman.h>

static int write_one(int cgroup, const char *file, const char *value) {
    bool optional = file[0] == CK_OPTIONAL_FILE;
    long written = ck_write_at(cgroup, file + optional, value, ck_string_size(value));
    return written >= 0 || (optional && written == -ENOENT) ? 0 : (int)written;
}

// *count: how many writes were tried; the last one failed when there is an error.
int ck_limits_write(int cgroup, struct ck_strings writes, uint32_t *count) {
    const char *file, *value;
    int error = 0;
    while (!error && (file = ck_next_string(&writes)) && (value = ck_next_string(&writes))) {
        ++*count;
        error = write_one(cgroup, file, value);
    }
    return error;
}

static void undo(int cgroup, struct ck_strings writes, uint32_t count) {
    const char *file, *value;
    while (count-- && (file = ck_next_string(&writes)) && (value = ck_next_string(&writes)))
        write_one(cgroup, file, value);
}

// The third list is what later runs begin with: its memory stays.
static void keep(struct ck_monitor *m, void *map, long size, struct ck_strings later) {
    if (m->limits_map)
        CK_SYS2(__NR_munmap, m->limits_map, m->limits_size);
    m->limits_map = map;
    m->limits_size = size;
    m->set.cgroup_writes = later;
}

// Write the first list; when that fails, as much of the second one as undoes it.
static int change(struct ck_monitor *m, int memfd, uint32_t *detail) {
    struct ck_field lists[sizeof(CK_LIMITS_FORMAT) - 1];
    void *map;
    long size = ck_map_sealed(memfd, &map);
    if (size < 0)
        return (int)size;
    struct ck_cursor all = {map, (const unsigned char *)map + size};
    int error = ck_take_record(&all, CK_LIMITS_FORMAT, lists);
    if (!error && lists[0].strings.count && m->cgroup < 0)
        error = -EOPNOTSUPP;
    if (!error && (error = ck_limits_write(m->cgroup, lists[0].strings, detail)))
        undo(m->cgroup, lists[1].strings, *detail - 1);
    if (error)
        CK_SYS2(__NR_munmap, map, size);
    else
        keep(m, map, size, lists[2].strings);
    return error;
}

void ck_limits_change(struct ck_monitor *m, uint32_t client, int memfd) {
    uint32_t detail = 0;
    int error = m->phase == CK_PHASE_WAITING ? -ESRCH : change(m, memfd, &detail);
    struct ck_message answer = {
        .type = error ? CK_MSG_ERROR : CK_MSG_OK, .error = -error, .detail = error ? detail : 0};
    ck_send(m, (int)client, &answer, -1);
}
