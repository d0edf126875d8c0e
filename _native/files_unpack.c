// files_unpack.c: the entries of an archive become files below a directory (see files_tar.h).
//
// For each: find its directory (files_unpack_place.c), make it under a single name there, finish it.
// Nothing that exists is ever opened or written to: it is unlinked and made anew.
#include "files_unpack.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "monitor_syscalls.h"

#define READ_WRITE 0x3
#define PRIVATE_ANONYMOUS 0x22
#define WHITEOUT ".wh."
#define WHITEOUT_META ".wh..wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

// ---- kinds ------------------------------------------------------------------------------------

static int make_file(struct ck_unpacking *job, int parent, const char *name) {
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    uint32_t mode = job->tar.entry.mode & 0777;
    CK_CLOSE int fd = ck_sys_openat(parent, name, flags, mode);
    if (fd == -EEXIST) {
        int error = ck_clear_name(job, parent, name);
        if (error < 0)
            return error;
        fd = ck_sys_openat(parent, name, flags, mode);
    }
    if (fd < 0)
        return fd;
    int error = ck_write_content(job, fd);
    return error < 0 ? error : ck_finish_file(job, fd);
}

static int make_symlink(struct ck_unpacking *job, int parent, const char *name) {
    const struct ck_tar_entry *entry = &job->tar.entry;
    int error = (int)CK_SYS3(__NR_symlinkat, entry->link, parent, name);
    if (error == -EEXIST) {
        error = ck_clear_name(job, parent, name);
        if (error == 0)
            error = (int)CK_SYS3(__NR_symlinkat, entry->link, parent, name);
    }
    if (error == 0)
        error = ck_own_at(job, parent, name);
    return error < 0 ? error : ck_stamp_at(parent, name, entry->mtime, entry->mtime_ns);
}

static int make_node(struct ck_unpacking *job, int parent, const char *name, uint32_t type) {
    const struct ck_tar_entry *entry = &job->tar.entry;
    uint32_t device = (entry->minor & 0xff) | entry->major << 8 | (entry->minor & ~0xffu) << 12; // makedev(3)
    uint32_t mode = type | (entry->mode & 01777); // set-id bits mean nothing here
    if (type == S_IFIFO)
        device = 0;
    int error = (int)CK_SYS4(__NR_mknodat, parent, name, mode, device);
    if (error == -EEXIST) {
        error = ck_clear_name(job, parent, name);
        if (error == 0)
            error = (int)CK_SYS4(__NR_mknodat, parent, name, mode, device);
    }
    if (error == 0)
        error = ck_own_at(job, parent, name);
    return error < 0 ? error : ck_stamp_at(parent, name, entry->mtime, entry->mtime_ns);
}

static int make_device(struct ck_unpacking *job, int parent, const char *name, uint32_t type) {
    const struct ck_tar_entry *entry = &job->tar.entry;
    if (job->layer && entry->major == 0 && entry->minor == 0) // overlayfs would take it for a whiteout
        return ck_tar_refuse(&job->tar, CK_TAR_WHITEOUT);
    if (!(job->request->flags & CK_FILE_NO_DEVICES))
        return make_node(job, parent, name, type);
    job->request->devices++;
    return 0;
}

// ---- hard links -------------------------------------------------------------------------------

static int refuse_link(struct ck_unpacking *job) {
    return ck_tar_refuse(&job->tar, CK_TAR_LINK);
}

static int link_over(struct ck_unpacking *job, int from, const char *target, const struct stat *about,
                     int parent, const char *name) {
    struct stat present;
    int error = ck_stat_at(parent, name, &present);
    if (error < 0)
        return error;
    if (present.st_dev == about->st_dev && present.st_ino == about->st_ino) // itself, or linked before
        return 0;
    error = ck_clear_name(job, parent, name);
    if (error < 0)
        return error;
    error = (int)CK_SYS5(__NR_linkat, from, target, parent, name, 0);
    return error == -ENOENT ? refuse_link(job) : error; // it was in what made way
}

static int link_to(struct ck_unpacking *job, int from, const char *target, int parent, const char *name) {
    struct stat about;
    int error = ck_stat_at(from, target, &about);
    if (error == -ENOENT && job->request->devices > 0) // a device's other name
        return 0;
    if (error == -ENOENT || (error == 0 && (S_ISDIR(about.st_mode) || ck_is_whiteout(job, &about))))
        return refuse_link(job);
    if (error == 0)
        error = (int)CK_SYS5(__NR_linkat, from, target, parent, name, 0);
    return error == -EEXIST ? link_over(job, from, target, &about, parent, name) : error;
}

static int make_hardlink(struct ck_unpacking *job, int parent, const char *name) {
    const char *target;
    bool opened;
    int from = ck_enter_target(job, job->tar.entry.link, &opened, &target);
    if (from < 0) {
        bool nothing = from == -ENOENT || from == -ENOTDIR || from == -ELOOP;
        return nothing ? refuse_link(job) : from;
    }
    CK_CLOSE int close_it = opened ? from : -1;
    return link_to(job, from, target, parent, name);
}

// ---- whiteouts: the image specification's, into overlayfs's -------------------------------------

// What is named here is of lower layers; a directory that this layer has hides theirs by being opaque.
static int make_whiteout(struct ck_unpacking *job, int parent, const char *name) {
    struct stat about;
    bool dots = name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
    if (name[0] == 0 || dots)
        return ck_tar_refuse(&job->tar, CK_TAR_WHITEOUT);
    int error = (int)CK_SYS4(__NR_mknodat, parent, name, S_IFCHR, 0);
    if (error != -EEXIST)
        return error;
    error = ck_stat_at(parent, name, &about);
    return error == 0 && S_ISDIR(about.st_mode) ? ck_set_opaque(job, parent, name) : error;
}

static const char *next_component(const char *at) {
    while (*at != 0 && *at != '/')
        at++;
    return *at == '/' ? at + 1 : NULL;
}

// 1 when the name is a marker, which has been acted on, or is to be left out; 0 for an ordinary one.
static int make_marker(struct ck_unpacking *job) {
    const struct ck_tar_entry *entry = &job->tar.entry;
    const char *last = NULL;
    for (const char *at = entry->name; at != NULL; at = next_component(at)) {
        last = at;
        bool is_last = next_component(at) == NULL;
        if (ck_begins(at, WHITEOUT_META) && !(is_last && ck_is(at, WHITEOUT_OPAQUE)))
            return 1; // aufs's own
        if (ck_begins(at, WHITEOUT) && (!is_last || entry->kind == CK_TAR_DIRECTORY))
            return ck_tar_refuse(&job->tar, CK_TAR_WHITEOUT);
    }
    if (!ck_begins(last, WHITEOUT))
        return 0;
    int parent = ck_enter(job, entry->name, true, &last);
    if (parent < 0)
        return parent;
    int error = ck_is(last, WHITEOUT_OPAQUE) ? ck_set_opaque(job, parent, ".")
                                             : make_whiteout(job, parent, last + strlen(WHITEOUT));
    return error < 0 ? error : 1;
}

// ---- the archive --------------------------------------------------------------------------------

static int make_entry(struct ck_unpacking *job) {
    const char *name;
    int parent = ck_enter(job, job->tar.entry.name, true, &name);
    if (parent < 0)
        return parent;
    switch (job->tar.entry.kind) {
    case CK_TAR_FILE:
        return make_file(job, parent, name);
    case CK_TAR_HARDLINK:
        return make_hardlink(job, parent, name);
    case CK_TAR_SYMLINK:
        return make_symlink(job, parent, name);
    case CK_TAR_DIRECTORY:
        return ck_make_directory(job, parent, name);
    case CK_TAR_CHARACTER:
        return make_device(job, parent, name, S_IFCHR);
    case CK_TAR_BLOCKDEV:
        return make_device(job, parent, name, S_IFBLK);
    case CK_TAR_FIFO:
        return make_node(job, parent, name, S_IFIFO);
    }
    return ck_tar_refuse(&job->tar, CK_TAR_TYPE);
}

static int count_bytes(struct ck_unpacking *job) {
    struct ck_unpack *request = job->request;
    if (job->tar.entry.real_size > request->max_bytes - request->bytes)
        return ck_tar_refuse(&job->tar, CK_TAR_BYTES);
    request->bytes += job->tar.entry.real_size;
    return 0;
}

static int unpack_all(struct ck_unpacking *job) {
    int there;
    while ((there = ck_tar_next(&job->tar)) == 1) {
        int error = count_bytes(job);
        if (error == 0 && job->layer)
            error = make_marker(job);
        if (error == 0)
            error = make_entry(job);
        if (error < 0)
            return error;
    }
    if (there < 0)
        return there;
    job->tar.raw[0] = 0; // what fails now is no entry's fault
    return ck_finish_directories(job);
}

// ---- the job --------------------------------------------------------------------------------------

// Whether what is made in an empty directory gets the group and the mode that we ask for.
static bool is_plain(const struct ck_unpack *request) {
    char listing[256]; // two entries are "." and ".."
    struct stat about;
    if (!(request->flags & CK_FILE_LAYER))
        return false;
    CK_CLOSE int fd = ck_sys_openat(request->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0 || CK_SYS2(__NR_fstat, fd, &about) < 0 || about.st_mode & S_ISGID ||
        about.st_gid != (uint32_t)CK_SYS0(__NR_getegid))
        return false;
    long empty = CK_SYS3(__NR_getdents64, fd, listing, sizeof(listing));
    return empty == 48 && CK_SYS4(__NR_fgetxattr, fd, "system.posix_acl_default", NULL, 0) < 0;
}

static void begin(struct ck_unpacking *job, struct ck_unpack *request) {
    request->entries = request->bytes = request->devices = 0;
    request->reason = CK_TAR_OK;
    request->name[0] = 0;
    job->request = request;
    job->uid = (uint32_t)CK_SYS0(__NR_geteuid);
    job->gid = (uint32_t)CK_SYS0(__NR_getegid);
    job->layer = request->flags & CK_FILE_LAYER;
    job->replace = request->flags & (CK_FILE_LAYER | CK_FILE_REPLACE);
    job->plain = is_plain(request);
    job->last = &job->first;
    job->tar.source = request->source;
    job->tar.max_headers = request->max_entries;
}

static void report(const struct ck_unpacking *job, struct ck_unpack *request, int error) {
    request->entries = job->tar.headers;
    if (error == 0)
        return;
    request->reason = job->tar.reason != CK_TAR_OK ? job->tar.reason : CK_TAR_SYSTEM;
    memcpy(request->name, job->tar.raw, sizeof(request->name));
}

int ck_unpack(struct ck_unpack *request) {
    struct ck_unpacking *job;
    long at = CK_SYS6(__NR_mmap, 0, sizeof(*job), READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);
    if (at < 0)
        return (int)at;
    job = (struct ck_unpacking *)at;
    begin(job, request);
    long mask = CK_SYS1(__NR_umask, 0);
    int error = unpack_all(job);
    if (error == 0)
        error = ck_tar_drain(&job->tar);
    CK_SYS1(__NR_umask, mask);
    report(job, request, error);
    ck_leave_place(job);
    ck_free_late(job);
    CK_SYS2(__NR_munmap, job, sizeof(*job));
    return error;
}
