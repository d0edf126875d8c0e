// files_ops.c: the requests about single names. See files.h.
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "execute.h"
#include "files_tar.h"
#include "files_tree.h"
#include "monitor_format.h"

#define NS 1000000000

static int find(const struct ck_tree *tree, const struct ck_call *call) {
    return ck_tree_open(tree, call->path, O_PATH | (call->flags & CK_FILE_NOFOLLOW ? O_NOFOLLOW : 0));
}

static void put_text(struct ck_call *call, const void *bytes, size_t size) {
    struct ck_writer to = {call->text, 0, CK_FILE_MAX_TEXT};
    ck_put_bytes(&to, bytes, size);
    call->reply.text_size = (uint32_t)to.size;
}

// ---- looking ----------------------------------------------------------------------------------------------

// Some file systems keep times that nanoseconds have no room for: the last one there is.
static int64_t time_of(const struct statx_timestamp *time) {
    int64_t ns;
    if (__builtin_mul_overflow(time->tv_sec, (int64_t)NS, &ns) ||
        __builtin_add_overflow(ns, time->tv_nsec, &ns))
        return time->tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

static uint64_t device_of(uint32_t major, uint32_t minor) { // as makedev(3)
    return (minor & 0xff) | (uint64_t)(major & 0xfff) << 8 | (uint64_t)(minor & ~0xffu) << 12 |
           (uint64_t)(major & ~0xfffu) << 32;
}

int ck_file_STAT(struct ck_tree *tree, struct ck_call *call) {
    struct statx about;
    CK_CLOSE int found = find(tree, call);
    int err = found < 0 ? found : ck_stat_fd(found, &about);
    if (err < 0)
        return err;
    struct ck_file_status status = {
        .inode = about.stx_ino,
        .device = device_of(about.stx_dev_major, about.stx_dev_minor),
        .size = about.stx_size,
        .device_number = device_of(about.stx_rdev_major, about.stx_rdev_minor),
        .mtime_ns = time_of(&about.stx_mtime),
        .atime_ns = time_of(&about.stx_atime),
        .ctime_ns = time_of(&about.stx_ctime),
        .mode = about.stx_mode,
        .uid = about.stx_uid,
        .gid = about.stx_gid,
        .links = about.stx_nlink,
    };
    put_text(call, &status, sizeof(status));
    return 0;
}

int ck_file_READLINK(struct ck_tree *tree, struct ck_call *call) {
    CK_CLOSE int found = ck_tree_open(tree, call->path, O_PATH | O_NOFOLLOW);
    if (found < 0)
        return found;
    long size = CK_SYS4(__NR_readlinkat, found, "", call->text, CK_FILE_MAX_TEXT);
    if (size < 0)
        return size == -ENOENT ? -EINVAL : (int)size; // ENOENT: it is something else
    call->reply.text_size = (uint32_t)size;
    return 0;
}

static int add_entry(struct ck_call *call, const struct ck_entry *entry) {
    size_t size = ck_string_size(entry->name) + 1;
    if (call->reply.text_size + 1 + size > CK_FILE_MAX_TEXT) {
        call->reply.flags = CK_REPLY_MORE;
        int err = ck_answer(call);
        call->reply.flags = 0;
        call->reply.text_size = 0;
        if (err < 0)
            return err;
    }
    struct ck_writer to = {call->text, call->reply.text_size, CK_FILE_MAX_TEXT};
    ck_put_bytes(&to, (const char *)&entry->type, 1);
    ck_put_bytes(&to, entry->name, size);
    call->reply.text_size = (uint32_t)to.size;
    return 0;
}

int ck_file_LIST(struct ck_tree *tree, struct ck_call *call) {
    __attribute__((aligned(8))) char listing[16384];
    CK_CLOSE int dir = ck_tree_open(tree, call->path, O_RDONLY | O_DIRECTORY);
    if (dir < 0)
        return dir;
    long size;
    while ((size = CK_SYS3(__NR_getdents64, dir, listing, sizeof(listing))) > 0) {
        for (long at = 0; at < size;) {
            const struct ck_entry *entry = (const struct ck_entry *)(listing + at);
            int err = ck_is_dot(entry->name) ? 0 : add_entry(call, entry);
            if (err < 0)
                return err;
            at += entry->size;
        }
    }
    return (int)size;
}

// ---- names ------------------------------------------------------------------------------------------------

static int check_directory(int fd) {
    CK_CLOSE int proof = fd < 0 ? fd : ck_open_at(fd, ".", O_PATH | O_DIRECTORY, CK_INSIDE_ORDINARY);
    return ck_status(proof);
}

// mkdir(2) leaves out the set-id bits.
static int finish_mode(const struct ck_tree *tree, int parent, const char *name, uint64_t mode) {
    if (!(mode & 06000))
        return 0;
    CK_CLOSE int made = ck_open_at(parent, name, O_PATH | O_DIRECTORY, CK_INSIDE_ORDINARY);
    return made < 0 ? made : ck_tree_chmod(tree, made, mode);
}

static int make_with_parents(const struct ck_tree *tree, const struct ck_call *call) {
    bool made;
    CK_CLOSE int dir = ck_open_or_make(tree->root, call->path, S_IFDIR | (call->a & 07777), CK_INSIDE, &made);
    if (dir >= 0 && made)
        return call->a & 06000 ? ck_tree_chmod(tree, dir, call->a) : 0;
    if (dir >= 0 && !(call->flags & CK_FILE_EXIST_OK))
        return -EEXIST;
    return check_directory(dir);
}

int ck_file_MKDIR(struct ck_tree *tree, struct ck_call *call) {
    if (call->flags & CK_FILE_PARENTS)
        return make_with_parents(tree, call);
    const char *name = NULL;
    CK_CLOSE int parent = ck_tree_parent(tree, call->path, &name);
    int err = parent == -EBUSY || parent == -EINVAL ? -EEXIST : parent;
    if (parent >= 0)
        err = (int)CK_SYS3(__NR_mkdirat, parent, name, call->a & 07777);
    if (err == 0)
        return finish_mode(tree, parent, name, call->a);
    if (err != -EEXIST || !(call->flags & CK_FILE_EXIST_OK))
        return err;
    CK_CLOSE int there = ck_tree_open(tree, call->path[0] == 0 ? "/" : call->path, O_PATH);
    return there < 0 ? -EEXIST : check_directory(there) < 0 ? -EEXIST : 0;
}

static int empty_root(const struct ck_tree *tree) {
    CK_CLOSE int root = ck_tree_open(tree, "/", O_RDONLY | O_DIRECTORY);
    return root < 0 ? root : ck_empty_directory(root);
}

int ck_file_REMOVE(struct ck_tree *tree, struct ck_call *call) {
    const char *name = NULL;
    bool recursive = call->flags & CK_FILE_RECURSIVE;
    CK_CLOSE int parent = ck_tree_parent(tree, call->path, &name);
    if (parent < 0)
        return parent == -EBUSY && recursive ? empty_root(tree) : parent;
    int err = (int)CK_SYS3(__NR_unlinkat, parent, name, 0);
    if (err == -EISDIR)
        err = (int)CK_SYS3(__NR_unlinkat, parent, name, AT_REMOVEDIR);
    return err == -ENOTEMPTY && recursive ? ck_remove_tree(parent, name) : err;
}

int ck_file_RENAME(struct ck_tree *tree, struct ck_call *call) {
    const char *from = NULL, *to = NULL;
    CK_CLOSE int parent = ck_tree_parent(tree, call->path, &from);
    CK_CLOSE int target = parent < 0 ? parent : ck_tree_parent(tree, call->other, &to);
    return target < 0 ? target : (int)CK_SYS5(__NR_renameat2, parent, from, target, to, 0);
}

int ck_file_SYMLINK(struct ck_tree *tree, struct ck_call *call) {
    const char *name = NULL;
    CK_CLOSE int parent = ck_tree_parent(tree, call->path, &name);
    if (parent < 0)
        return parent == -EBUSY ? -EEXIST : parent;
    return (int)CK_SYS3(__NR_symlinkat, call->other, parent, name);
}

int ck_file_LINK(struct ck_tree *tree, struct ck_call *call) {
    const char *from = NULL, *to = NULL;
    CK_CLOSE int parent = ck_tree_parent(tree, call->path, &from);
    CK_CLOSE int target = parent < 0 ? parent : ck_tree_parent(tree, call->other, &to);
    return target < 0 ? target : (int)CK_SYS5(__NR_linkat, parent, from, target, to, 0);
}

// ---- attributes ------------------------------------------------------------------------------------------

int ck_file_CHMOD(struct ck_tree *tree, struct ck_call *call) {
    CK_CLOSE int found = find(tree, call);
    return found < 0 ? found : ck_tree_chmod(tree, found, call->a);
}

int ck_file_CHOWN(struct ck_tree *tree, struct ck_call *call) {
    CK_CLOSE int found = find(tree, call);
    return found < 0 ? found : (int)CK_SYS5(__NR_fchownat, found, "", call->a, call->b, AT_EMPTY_PATH);
}

static struct ck_timespec timespec_of(uint64_t ns) {
    int64_t seconds = (int64_t)ns / NS, rest = (int64_t)ns % NS;
    return rest < 0 ? (struct ck_timespec){seconds - 1, rest + NS} : (struct ck_timespec){seconds, rest};
}

int ck_file_UTIME(struct ck_tree *tree, struct ck_call *call) {
    struct ck_timespec times[] = {timespec_of(call->a), timespec_of(call->b)};
    CK_CLOSE int found = find(tree, call);
    return found < 0 ? found : (int)CK_SYS4(__NR_utimensat, found, "", times, AT_EMPTY_PATH);
}

// ---- archives ---------------------------------------------------------------------------------------------

int ck_file_UNPACK(struct ck_tree *tree, struct ck_call *call) {
    CK_CLOSE int directory = ck_tree_open(tree, call->path, O_PATH | O_DIRECTORY);
    if (directory < 0)
        return directory;
    struct ck_unpack unpack = {
        .source = call->fd,
        .root = tree->root,
        .directory = directory,
        .path = call->path,
        .flags = call->flags,
        .max_bytes = call->a,
        .max_entries = call->b,
        .uid = call->c,
        .gid = call->d,
    };
    int err = call->fd < 0 ? -EBADF : ck_unpack(&unpack);
    CK_SYS1(__NR_umask, 0);
    call->reply.a = unpack.entries;
    call->reply.b = unpack.bytes;
    call->reply.c = unpack.devices;
    call->reply.reason = unpack.reason;
    if (err < 0)
        put_text(call, unpack.name, ck_string_size(unpack.name));
    return err;
}
