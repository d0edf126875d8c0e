// files_unpack_attributes.c: owner, mode, extended attributes, times, in the order the kernel wants:
// chown(2) clears set-id bits and file capabilities, a write clears them too and moves the time.
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "monitor_syscalls.h"

#include "files_unpack.h"

#define SPECIAL_BITS 07000u
#define SET_ID_BITS 06000u

bool ck_choose_owner(const struct ck_unpacking *job, bool fresh, uint32_t *uid, uint32_t *gid) {
    bool given = job->request->flags & CK_FILE_OWNER;
    *uid = given ? (uint32_t)job->request->uid : job->tar.entry.uid;
    *gid = given ? (uint32_t)job->request->gid : job->tar.entry.gid;
    bool ours = fresh && job->plain && *uid == job->uid && *gid == job->gid;
    return !ours && !(job->request->flags & CK_FILE_NO_OWNER);
}

uint32_t ck_mode_of(const struct ck_unpacking *job) {
    uint32_t without = job->request->flags & CK_FILE_NO_SET_ID ? SET_ID_BITS : 0;
    return job->tar.entry.mode & ~without;
}

int ck_own_at(const struct ck_unpacking *job, int parent, const char *name) {
    uint32_t uid, gid;
    if (!ck_choose_owner(job, true, &uid, &gid))
        return 0;
    return (int)CK_SYS5(__NR_fchownat, parent, name, uid, gid, AT_SYMLINK_NOFOLLOW);
}

int ck_stamp_at(int parent, const char *name, int64_t seconds, uint32_t nanoseconds) {
    struct ck_timespec times[2] = {{0, UTIME_OMIT}, {seconds, nanoseconds}};
    return (int)CK_SYS4(__NR_utimensat, parent, name, times, name != NULL ? AT_SYMLINK_NOFOLLOW : 0);
}

// ---- extended attributes ----------------------------------------------------------------------

// Never what steers an overlay or a security module of the host: an archive does not decide that.
static bool is_wanted(const struct ck_unpacking *job, const char *name) {
    if (ck_begins(name, "user."))
        return !ck_begins(name, "user.overlay.");
    if (ck_is(name, "security.capability"))
        return !(job->request->flags & CK_FILE_NO_SET_ID);
    return ck_is(name, "system.posix_acl_access");
}

// What the file system or a user namespace does not have is left out, as every unpacker does.
int ck_apply_xattrs(const struct ck_unpacking *job, int fd) {
    struct ck_tar_xattr xattr;
    for (size_t at = 0; ck_tar_next_xattr(&job->tar, &at, &xattr);) {
        if (!is_wanted(job, xattr.name))
            continue;
        long error = CK_SYS5(__NR_fsetxattr, fd, xattr.name, xattr.value, xattr.size, 0);
        if (error < 0 && error != -EOPNOTSUPP && error != -EPERM)
            return (int)error;
    }
    return 0;
}

int ck_set_opaque(const struct ck_unpacking *job, int parent, const char *name) {
    bool user = job->request->flags & CK_FILE_USER_XATTR;
    const char *xattr = user ? "user.overlay.opaque" : "trusted.overlay.opaque";
    CK_CLOSE int fd = ck_sys_openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    return fd < 0 ? fd : (int)CK_SYS5(__NR_fsetxattr, fd, xattr, "y", 1, 0);
}

// ---- a file that has its content --------------------------------------------------------------

int ck_finish_file(const struct ck_unpacking *job, int fd) {
    const struct ck_tar_entry *entry = &job->tar.entry;
    uint32_t uid, gid;
    long error = 0;
    if (ck_choose_owner(job, true, &uid, &gid))
        error = CK_SYS3(__NR_fchown, fd, uid, gid);
    if (error == 0 && (!job->plain || entry->mode & SPECIAL_BITS))
        error = CK_SYS2(__NR_fchmod, fd, ck_mode_of(job));
    if (error == 0)
        error = ck_apply_xattrs(job, fd);
    return error < 0 ? (int)error : ck_stamp_at(fd, NULL, entry->mtime, entry->mtime_ns);
}
