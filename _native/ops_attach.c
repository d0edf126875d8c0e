// ops_attach.c: the change of root, and what is put together inside the new one.
//
// From PIVOT on the tree belongs to the container. Targets are resolved with openat2(2) inside it
// and mounts go from descriptor to descriptor (move_mount(2)); see resolve.h.
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/mount.h>
#include <linux/stat.h>

#include "cleanup.h"
#include "execute.h"
#include "resolve.h"

int ck_root(struct ck_run *run) {
    if (run->root < 0)
        run->root = (int)CK_SYS4(__NR_openat, CK_AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    return run->root;
}

void ck_forget_root(struct ck_run *run) {
    if (run->root >= 0)
        ck_close(run->root);
    run->root = -1;
}

int ck_open_inside(struct ck_run *run, const char *path, int flags, uint64_t resolve) {
    int root = ck_root(run);
    return root < 0 ? root : ck_open_at(root, path, flags, resolve);
}

static int stat_fd(int fd, struct statx *stat) {
    return (int)CK_SYS5(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, stat);
}

static bool is_directory(const struct statx *stat) {
    return (stat->stx_mode & S_IFMT) == S_IFDIR;
}

static void empty_slot(struct ck_slot *slot) {
    ck_close(slot->fd);
    *slot = (struct ck_slot){.fd = -1};
}

// The new root is mounted on the working directory and swapped with the old one, which then lies
// on top of it and is taken away: pivot_root(".", "."), see pivot_root(2).
int ck_do_PIVOT(struct ck_run *run, struct ck_field *field) {
    struct ck_slot *slot = &run->slot[field[0].number];
    int mount = ck_slot_fd(run, field[0].number);
    CK_CLOSE int here = mount < 0 ? mount : ck_open_at(CK_AT_FDCWD, ".", O_PATH | O_DIRECTORY, 0);
    int err = here < 0 ? here : ck_move_mount(mount, here);
    if (err == 0)
        err = ck_status(CK_SYS1(__NR_fchdir, mount));
    if (err == 0)
        err = ck_status(CK_SYS2(__NR_pivot_root, ".", "."));
    if (err == 0)
        err = ck_status(CK_SYS2(__NR_umount2, ".", CK_MNT_DETACH));
    if (err == 0)
        err = ck_status(CK_SYS1(__NR_chdir, "/"));
    if (err < 0)
        return err;
    ck_forget_root(run);
    empty_slot(slot);
    return 0;
}

static int open_target(struct ck_run *run, const char *path, uint64_t how) {
    uint64_t resolve = how & CK_ATTACH_ORDINARY ? CK_INSIDE_ORDINARY : CK_INSIDE;
    int root = ck_root(run);
    bool made;
    if (root < 0)
        return root;
    if (how & CK_ATTACH_MAKE_DIR)
        return ck_open_or_make(root, path, S_IFDIR | 0755, resolve, &made);
    if (how & CK_ATTACH_MAKE_FILE)
        return ck_open_or_make(root, path, S_IFREG | 0644, resolve, &made);
    return ck_open_at(root, path, O_PATH, resolve);
}

// move_mount(2) says EINVAL to a directory on a file or a file on a directory, as to much else.
static int explain(int error, int mount, int target) {
    struct statx from, to;
    if (error != -EINVAL || stat_fd(mount, &from) < 0 || stat_fd(target, &to) < 0)
        return error;
    return is_directory(&from) == is_directory(&to) ? error : -ENOTDIR;
}

int ck_do_ATTACH(struct ck_run *run, struct ck_field *field) {
    struct ck_slot *slot = &run->slot[field[0].number];
    if (slot->fd < 0 || slot->attached)
        return -EBADF;
    CK_CLOSE int target = open_target(run, field[1].text.at, field[2].number);
    int err = target < 0 ? target : ck_move_mount(slot->fd, target);
    if (err < 0)
        return target < 0 ? err : explain(err, slot->fd, target);
    empty_slot(slot);
    return 0;
}

// Give a directory that was just made its owner, and the mode bits that mkdir(2) leaves out.
static int finish_dir(int path_fd, uint64_t mode, uint64_t uid, uint64_t gid) {
    CK_CLOSE int dir = ck_open_at(path_fd, ".", O_RDONLY | O_DIRECTORY, CK_INSIDE_ORDINARY);
    int err = dir < 0 ? dir : ck_status(CK_SYS3(__NR_fchown, dir, uid, gid));
    return err < 0 ? err : ck_status(CK_SYS2(__NR_fchmod, dir, mode & 07777));
}

int ck_do_MAKE_DIR(struct ck_run *run, struct ck_field *field) {
    int root = ck_root(run);
    bool made = false;
    CK_CLOSE int dir = root;
    if (root >= 0)
        dir = ck_open_or_make(root, field[0].text.at, S_IFDIR | (field[1].number & 07777), CK_INSIDE, &made);
    if (dir < 0)
        return dir;
    if (made)
        return finish_dir(dir, field[1].number, field[2].number, field[3].number);
    CK_CLOSE int proof = ck_open_at(dir, ".", O_PATH | O_DIRECTORY, CK_INSIDE_ORDINARY);
    return ck_status(proof);
}

// ---- hiding and write-protecting -------------------------------------------------------------

int ck_check_null_device(int fd) {
    struct statx stat;
    int err = stat_fd(fd, &stat);
    if (err < 0)
        return err;
    bool is_null =
        (stat.stx_mode & S_IFMT) == S_IFCHR && stat.stx_rdev_major == 1 && stat.stx_rdev_minor == 3;
    return is_null ? 0 : -ENODEV;
}

// Absent, or below something that is no directory: nothing to hide or protect.
static bool is_absent(int error) {
    return error == -ENOENT || error == -ENOTDIR;
}

// The first cover is the slot's own mount; the following ones are clones of it. (A detached mount
// cannot be cloned before Linux 6.15; an attached one always could.)
static int cover(struct ck_slot *slot, int target) {
    if (slot->attached) {
        CK_CLOSE int clone = ck_clone_mount(slot->fd, false);
        return clone < 0 ? clone : ck_move_mount(clone, target);
    }
    int err = ck_move_mount(slot->fd, target);
    slot->attached = err == 0;
    return err;
}

int ck_do_MASK(struct ck_run *run, struct ck_field *field) {
    struct ck_slot *null = &run->slot[field[0].number], *empty = &run->slot[field[1].number];
    struct statx stat;
    if (null->fd < 0 || empty->fd < 0)
        return -EBADF;
    int err = ck_check_null_device(null->fd); // what hides must not be the container's idea of it
    if (err < 0)
        return err;
    CK_CLOSE int target = ck_open_inside(run, field[2].text.at, O_PATH, CK_INSIDE);
    if (target < 0)
        return is_absent(target) ? 0 : target;
    err = stat_fd(target, &stat);
    if (err < 0)
        return err;
    return cover(is_directory(&stat) ? empty : null, target);
}

int ck_do_READ_ONLY(struct ck_run *run, struct ck_field *field) {
    bool recursive = field[1].number != 0;
    CK_CLOSE int target = ck_open_inside(run, field[0].text.at, O_PATH, CK_INSIDE);
    if (target < 0)
        return is_absent(target) ? 0 : target;
    CK_CLOSE int clone = ck_clone_mount(target, recursive);
    int err = clone < 0 ? clone : ck_set_attributes(clone, CK_ATTR_READ_ONLY, recursive);
    return err < 0 ? err : ck_move_mount(clone, target);
}

int ck_do_READ_ONLY_ROOT(struct ck_run *run, struct ck_field *field) {
    (void)field;
    int root = ck_root(run);
    return root < 0 ? root : ck_set_attributes(root, CK_ATTR_READ_ONLY, false);
}
