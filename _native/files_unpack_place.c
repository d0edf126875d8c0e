// files_unpack_place.c: the way to an entry, one directory after the other.
//
// A single name is opened without following a symlink, so the way cannot leave the tree; where it meets
// a symlink, openat2(2) resolves the name so far in the root. The directories stay open for what comes
// next, mostly a neighbour.
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "monitor_syscalls.h"
#include "removal.h"
#include "resolve.h"

#include "files_unpack.h"

#define DIRECTORY_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

int ck_stat_at(int parent, const char *name, struct stat *about) {
    return (int)CK_SYS4(__NR_newfstatat, parent, name, about, AT_SYMLINK_NOFOLLOW);
}

bool ck_is_whiteout(const struct ck_unpacking *job, const struct stat *about) {
    return job->layer && S_ISCHR(about->st_mode) && about->st_rdev == 0;
}

int ck_clear_name(struct ck_unpacking *job, int parent, const char *name) {
    struct stat about;
    if (!job->replace)
        return -EEXIST;
    int error = ck_stat_at(parent, name, &about);
    if (error < 0)
        return error == -ENOENT ? 0 : error;
    bool directory = S_ISDIR(about.st_mode);
    if (directory && job->request->flags & CK_FILE_KEEP_KIND)
        return -EISDIR;
    job->check_directories |= directory;
    job->place.stale |= directory || S_ISLNK(about.st_mode);
    return ck_remove_tree(parent, name);
}

// ---- names from the root --------------------------------------------------------------------

// A name in directory as a path in the root.
static int path_in_root(const struct ck_unpack *request, const char *name, size_t size, char *path) {
    const char *top = request->path != NULL ? request->path : "";
    size_t length = strlen(top);
    if (length + size + 3 > CK_PATH_MAX)
        return -ENAMETOOLONG;
    memcpy(path, top, length);
    path[length++] = '/';
    memcpy(path + length, name, size);
    length += size;
    path[length] = 0;
    return 0;
}

static int root_of(const struct ck_unpack *request) {
    return request->path != NULL ? request->root : request->directory;
}

static int resolve_directory(const struct ck_unpack *request, const char *name, size_t size, bool make) {
    char path[CK_PATH_MAX];
    bool made;
    int error = path_in_root(request, name, size, path);
    if (error < 0)
        return error;
    if (!make)
        return ck_open_at(root_of(request), path, O_PATH | O_DIRECTORY, CK_INSIDE);
    CK_CLOSE int fd = ck_open_or_make(root_of(request), path, S_IFDIR | 0755, CK_INSIDE, &made);
    return fd < 0 ? fd : ck_sys_openat(fd, ".", DIRECTORY_FLAGS, 0); // -ENOTDIR for a file
}

// ---- the way --------------------------------------------------------------------------------

void ck_leave_place(struct ck_unpacking *job) {
    while (job->place.count > 0)
        ck_close(job->place.levels[--job->place.count].fd);
    job->place.stale = false;
}

static const char *last_component(const char *name, uint32_t *parent_size) {
    const char *last = name;
    for (const char *at = name; *at != 0; at++) {
        if (*at == '/')
            last = at + 1;
    }
    *parent_size = last == name ? 0 : (uint32_t)(last - name - 1);
    return *last == 0 ? "." : last;
}

// Give up the levels that do not lead to this directory.
static void climb(struct ck_unpacking *job, const char *parent, uint32_t size) {
    struct ck_place *place = &job->place;
    while (place->count > 0) {
        const struct ck_level *level = &place->levels[place->count - 1];
        bool shared = level->size <= size && memcmp(place->path, parent, level->size) == 0;
        if (shared && (level->size == size || parent[level->size] == '/'))
            return;
        ck_close(level->fd);
        place->count--;
    }
}

static int meet_obstacle(struct ck_unpacking *job, int parent, const char *name, uint32_t size, bool make) {
    struct stat about;
    int error = ck_stat_at(parent, name, &about);
    if (error < 0)
        return error;
    if (!make || !ck_is_whiteout(job, &about))
        return resolve_directory(job->request, job->place.path, size, make);
    error = ck_sys_unlinkat(parent, name, 0);
    if (error == 0)
        error = ck_make_implied(job, parent, name, job->place.path, size);
    if (error == 0)
        error = ck_set_opaque(job, parent, name);
    return error < 0 ? error : ck_sys_openat(parent, name, DIRECTORY_FLAGS, 0);
}

// Open the component that ends the first `size` bytes of place.path.
static int open_component(struct ck_unpacking *job, int parent, const char *name, uint32_t size, bool make) {
    int fd = ck_sys_openat(parent, name, DIRECTORY_FLAGS, 0);
    if (fd == -ENOTDIR || fd == -ELOOP)
        return meet_obstacle(job, parent, name, size, make);
    if (fd != -ENOENT || !make)
        return fd;
    int error = ck_make_implied(job, parent, name, job->place.path, size);
    return error < 0 ? error : ck_sys_openat(parent, name, DIRECTORY_FLAGS, 0);
}

static void push(struct ck_place *place, int fd, uint32_t size) {
    if (place->count == CK_LEVELS) { // deeper than we hold: only the last one matters
        while (place->count > 1)
            ck_close(place->levels[--place->count - 1].fd);
        place->levels[0] = place->levels[CK_LEVELS - 1];
    }
    place->levels[place->count++] = (struct ck_level){fd, size};
}

static int top_of(const struct ck_unpacking *job) {
    const struct ck_place *place = &job->place;
    return place->count > 0 ? place->levels[place->count - 1].fd : job->request->directory;
}

int ck_enter(struct ck_unpacking *job, const char *name, bool make, const char **last) {
    struct ck_place *place = &job->place;
    uint32_t size;
    *last = last_component(name, &size);
    if (place->stale)
        ck_leave_place(job);
    climb(job, name, size);
    uint32_t at = place->count > 0 ? place->levels[place->count - 1].size : 0;
    while (at < size) {
        uint32_t from = at;
        if (at > 0)
            place->path[from++] = '/';
        for (at = from; at < size && name[at] != '/'; at++)
            place->path[at] = name[at];
        place->path[at] = 0;
        int fd = open_component(job, top_of(job), place->path + from, at, make);
        if (fd < 0)
            return fd;
        push(place, fd, at);
    }
    return top_of(job);
}

int ck_enter_target(struct ck_unpacking *job, const char *name, bool *opened, const char **last) {
    uint32_t size;
    *last = last_component(name, &size);
    const struct ck_place *place = &job->place;
    uint32_t here = place->count > 0 ? place->levels[place->count - 1].size : 0;
    *opened = here != size || memcmp(place->path, name, size) != 0;
    return *opened ? resolve_directory(job->request, name, size, false) : top_of(job);
}
