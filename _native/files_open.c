// files_open.c: from names to descriptors: see files_tree.h.
#include <asm/statfs.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/magic.h>

#include "cleanup.h"
#include "execute.h"
#include "files_tree.h"
#include "monitor_format.h"

#define STATUS_WANTED (STATX_BASIC_STATS)
#define OPEN_ALLOWED                                                                                         \
    (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_NOFOLLOW | O_DIRECTORY | O_NOATIME | O_PATH |     \
     O_NONBLOCK | O_CLOEXEC | O_LARGEFILE | O_NOCTTY)
#define TRIES 16

int ck_tree_open(const struct ck_tree *tree, const char *path, int flags) {
    return ck_open_at(tree->root, path, flags, CK_INSIDE);
}

int ck_tree_parent(const struct ck_tree *tree, char *path, const char **name) {
    size_t size = ck_string_size(path);
    while (size > 0 && path[size - 1] == '/')
        path[--size] = 0;
    if (size == 0)
        return -EBUSY;
    int parent = ck_open_parent(tree->root, path, name);
    if (parent < 0 || !ck_is_dot(*name))
        return parent;
    ck_close(parent); // what "." and ".." mean is not a name in their parent
    return -EINVAL;
}

struct fd_name {
    char text[12];
};

static struct fd_name name_of(int fd) {
    struct fd_name name;
    struct ck_writer to = {name.text, 0, sizeof(name.text)};
    ck_put_number(&to, (uint64_t)fd);
    ck_put_end(&to);
    return name;
}

int ck_tree_reopen(const struct ck_tree *tree, int fd, int flags) {
    struct fd_name name = name_of(fd);
    return (int)CK_SYS4(__NR_openat, tree->self, name.text, flags | O_CLOEXEC | O_NOCTTY, 0);
}

int ck_tree_chmod(const struct ck_tree *tree, int fd, uint64_t mode) {
    struct fd_name name = name_of(fd);
    return (int)CK_SYS3(__NR_fchmodat, tree->self, name.text, mode & 07777);
}

int ck_stat_fd(int fd, struct statx *about) {
    return (int)CK_SYS5(__NR_statx, fd, "", AT_EMPTY_PATH, STATUS_WANTED, about);
}

// ---- OPEN ----------------------------------------------------------------------------------------------

static int check_kind(int fd) {
    struct statx about;
    int err = ck_stat_fd(fd, &about);
    uint32_t kind = about.stx_mode & S_IFMT;
    return err < 0 ? err : kind == S_IFREG || kind == S_IFDIR ? 0 : -ENXIO;
}

// Files that are switches of the kernel: to write to one is an act, done with the rights of whoever writes,
// and a symlink of the container's leads to it as well as to any other.
static bool is_switches(uint64_t type) {
    static const uint32_t types[] = {PROC_SUPER_MAGIC, SYSFS_MAGIC,   CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
                                     DEBUGFS_MAGIC,    TRACEFS_MAGIC, SECURITYFS_MAGIC,   SELINUX_MAGIC,
                                     SMACK_MAGIC,      BPF_FS_MAGIC,  EFIVARFS_MAGIC,     BINFMTFS_MAGIC};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (type == types[i])
            return true;
    }
    return false;
}

static int check_writable(int fd, int flags) {
    struct statfs of;
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_TRUNC))
        return 0;
    int err = ck_status(CK_SYS2(__NR_fstatfs, fd, &of));
    return err == 0 && is_switches((uint64_t)of.f_type) ? -EROFS : err;
}

// What is there is found first and opened then: opening a device or a FIFO is an act of its own.
static int open_existing(const struct ck_tree *tree, const char *path, int flags) {
    CK_CLOSE int found = ck_tree_open(tree, path, O_PATH | (flags & (O_NOFOLLOW | O_DIRECTORY)));
    if (found < 0)
        return found;
    int err = check_kind(found);
    if (err < 0)
        return flags & O_NOFOLLOW ? -ELOOP : err;
    if (flags & O_PATH)
        return ck_steal_fd(&found);
    if ((err = check_writable(found, flags)) < 0)
        return err;
    return ck_tree_reopen(tree, found, flags & ~(O_CREAT | O_NOFOLLOW));
}

// Where something else comes up meanwhile (or a symlink leads to it), nothing waits and nothing is written.
static int create(const struct ck_tree *tree, const char *path, int flags, uint64_t mode) {
    struct open_how how = {
        .flags = (uint64_t)(uint32_t)(flags & ~O_TRUNC) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
        .mode = mode & 07777,
        .resolve = CK_INSIDE,
    };
    long fd = -EAGAIN;
    for (int i = 0; i < TRIES && fd == -EAGAIN; i++)
        fd = CK_SYS4(__NR_openat2, tree->root, path, &how, sizeof(how));
    CK_CLOSE int made = (int)fd;
    int err = made < 0 ? made : check_kind(made);
    if (err == 0)
        err = check_writable(made, flags);
    if (err == 0 && !(flags & O_NONBLOCK))
        err = (int)CK_SYS3(__NR_fcntl, made, 4 /* F_SETFL */, flags & (O_APPEND | O_NOATIME));
    return err < 0 ? err : ck_steal_fd(&made);
}

static int open_or_create(const struct ck_tree *tree, const char *path, int flags, uint64_t mode) {
    if (flags & O_CREAT && flags & O_EXCL)
        return create(tree, path, flags, mode);
    int fd = open_existing(tree, path, flags);
    return fd == -ENOENT && flags & O_CREAT ? create(tree, path, flags, mode) : fd;
}

int ck_file_OPEN(struct ck_tree *tree, struct ck_call *call) {
    if (call->a & ~(uint64_t)OPEN_ALLOWED)
        return -EINVAL;
    int fd = open_or_create(tree, call->path, (int)call->a, call->b);
    if (fd < 0)
        return fd;
    call->reply_fd = fd;
    return 0;
}
