// files_unpack_directories.c: directories are made at once and finished at the end.
//
// What is put into a directory moves its time, a set-group-id bit or a default ACL would be inherited,
// a group too on some mounts, and a mode without w would keep us out. Hence a list of what is left to do, in the archive's order.
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "monitor_syscalls.h"

#include "files_unpack.h"

#define CHUNK ((size_t)64 << 10)
#define MOST_MEMORY ((size_t)256 << 20) // of the list: a million directories with long names
#define READ_WRITE 0x3
#define PRIVATE_ANONYMOUS 0x22
#define DEFAULT_ACL "system.posix_acl_default"

struct chunk {
    struct chunk *before;
    size_t size;
    char memory[];
};

// ---- the list ---------------------------------------------------------------------------------

static void *allocate(struct ck_unpacking *job, size_t size) {
    size = (size + 7) & ~(size_t)7;
    if (size > job->free_size) {
        size_t bytes = sizeof(struct chunk) + (size > CHUNK ? size : CHUNK);
        if (bytes > MOST_MEMORY - job->memory)
            return NULL;
        long at = CK_SYS6(__NR_mmap, 0, bytes, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);
        if (at < 0)
            return NULL;
        struct chunk *chunk = (struct chunk *)at;
        *chunk = (struct chunk){.before = job->chunks, .size = bytes};
        job->chunks = chunk;
        job->memory += bytes;
        job->free = chunk->memory;
        job->free_size = bytes - sizeof(struct chunk);
    }
    void *taken = job->free;
    job->free += size;
    job->free_size -= size;
    return taken;
}

void ck_free_late(struct ck_unpacking *job) {
    for (struct chunk *chunk = job->chunks, *before; chunk != NULL; chunk = before) {
        before = chunk->before;
        CK_SYS2(__NR_munmap, chunk, chunk->size);
    }
}

static struct ck_late *add_late(struct ck_unpacking *job, const char *name, size_t name_size,
                                size_t acl_size) {
    struct ck_late *late = allocate(job, sizeof(*late) + name_size + 1 + acl_size);
    if (late == NULL)
        return NULL;
    *late = (struct ck_late){.name_size = (uint16_t)name_size, .acl_size = (uint16_t)acl_size};
    memcpy(late->name, name, name_size);
    late->name[name_size] = 0;
    *job->last = late;
    job->last = &late->next;
    return late;
}

static struct ck_tar_xattr find_default_acl(const struct ck_unpacking *job) {
    struct ck_tar_xattr xattr, acl = {NULL, NULL, 0};
    for (size_t at = 0; ck_tar_next_xattr(&job->tar, &at, &xattr);) {
        if (ck_is(xattr.name, DEFAULT_ACL))
            acl = xattr;
    }
    return acl;
}

static int note(struct ck_unpacking *job, bool fresh, bool change_mode) {
    const struct ck_tar_entry *entry = &job->tar.entry;
    struct ck_tar_xattr acl = find_default_acl(job);
    if (acl.size > UINT16_MAX)
        return ck_tar_refuse(&job->tar, CK_TAR_EXTENSION);
    struct ck_late *late = add_late(job, entry->name, entry->name_size, acl.size);
    if (late == NULL)
        return ck_tar_refuse(&job->tar, CK_TAR_ENTRIES);
    late->mtime = entry->mtime;
    late->mtime_ns = entry->mtime_ns;
    late->mode = (uint16_t)ck_mode_of(job);
    late->change_mode = change_mode;
    late->change_owner = ck_choose_owner(job, fresh, &late->uid, &late->gid);
    if (acl.size > 0)
        memcpy(late->name + entry->name_size + 1, acl.value, acl.size);
    return 0;
}

// ---- making -----------------------------------------------------------------------------------

static int apply_directory_xattrs(struct ck_unpacking *job, int parent, const char *name) {
    struct ck_tar_xattr xattr;
    size_t at = 0;
    if (!ck_tar_next_xattr(&job->tar, &at, &xattr))
        return 0;
    CK_CLOSE int fd = ck_sys_openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    return fd < 0 ? fd : ck_apply_xattrs(job, fd);
}

// Something has the name: a directory stays with what is in it.
static int make_over(struct ck_unpacking *job, int parent, const char *name, uint32_t mode, bool *fresh) {
    struct stat about;
    int error = ck_stat_at(parent, name, &about);
    *fresh = error < 0 || !S_ISDIR(about.st_mode);
    if (error < 0 || !*fresh)
        return error;
    if (job->request->flags & CK_FILE_KEEP_KIND)
        return -ENOTDIR;
    error = ck_clear_name(job, parent, name);
    if (error == 0)
        error = ck_sys_mkdirat(parent, name, mode);
    if (error == 0 && ck_is_whiteout(job, &about)) // the layer hides what is below and has its own
        error = ck_set_opaque(job, parent, name);
    return error;
}

int ck_make_directory(struct ck_unpacking *job, int parent, const char *name) {
    uint32_t mode = (job->tar.entry.mode & 0777) | 0700;
    bool fresh = true;
    int error = ck_sys_mkdirat(parent, name, mode);
    if (error == -EEXIST)
        error = make_over(job, parent, name, mode, &fresh);
    if (error == 0)
        error = apply_directory_xattrs(job, parent, name);
    bool as_asked = fresh && job->plain && mode == job->tar.entry.mode;
    return error < 0 ? error : note(job, fresh, !as_asked);
}

// In a layer its time is 0, so that the same archive gives the same tree; elsewhere it is new.
int ck_make_implied(struct ck_unpacking *job, int parent, const char *name, const char *path, uint32_t size) {
    const struct ck_unpack *request = job->request;
    int error = ck_sys_mkdirat(parent, name, 0755);
    if (error == 0 && request->flags & CK_FILE_OWNER)
        error = (int)CK_SYS5(__NR_fchownat, parent, name, request->uid, request->gid, AT_SYMLINK_NOFOLLOW);
    if (error < 0 || !job->layer)
        return error;
    return add_late(job, path, size, 0) != NULL ? 0 : ck_tar_refuse(&job->tar, CK_TAR_ENTRIES);
}

// ---- finishing --------------------------------------------------------------------------------

static int finish_open(const struct ck_late *late, int fd) {
    const char *acl = late->name + late->name_size + 1;
    // By descriptor: a container could have put another file there, which would become somebody else's.
    long error = late->change_owner ? CK_SYS3(__NR_fchown, fd, late->uid, late->gid) : 0;
    if (error == 0 && late->change_mode)
        error = CK_SYS2(__NR_fchmod, fd, late->mode);
    if (error == 0 && late->acl_size > 0) {
        error = CK_SYS5(__NR_fsetxattr, fd, DEFAULT_ACL, acl, late->acl_size, 0);
        if (error == -EOPNOTSUPP || error == -EPERM)
            error = 0;
    }
    return error < 0 ? (int)error : ck_stamp_at(fd, NULL, late->mtime, late->mtime_ns);
}

static int finish(struct ck_unpacking *job, const struct ck_late *late) {
    const char *name;
    struct stat about;
    int parent = ck_enter(job, late->name, false, &name);
    if (parent < 0)
        return parent;
    if (job->check_directories) {
        int error = ck_stat_at(parent, name, &about);
        if (error < 0 || !S_ISDIR(about.st_mode))
            return error < 0 ? error : -ENOTDIR;
    }
    if (!late->change_owner && !late->change_mode && late->acl_size == 0)
        return ck_stamp_at(parent, name, late->mtime, late->mtime_ns);
    CK_CLOSE int fd = ck_sys_openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    return fd < 0 ? fd : finish_open(late, fd);
}

int ck_finish_directories(struct ck_unpacking *job) {
    for (const struct ck_late *late = job->first; late != NULL; late = late->next) {
        int error = finish(job, late);
        bool gone = error == -ENOENT || error == -ENOTDIR || error == -ELOOP; // replaced later on
        if (error < 0 && !gone) {
            memcpy(job->tar.raw, late->name, late->name_size + 1u);
            return error;
        }
    }
    return 0;
}
