// ops_gather.c: file systems and trees as detached mounts, held in slots.
//
// Host paths are named only here and in ops_overlay.c, while the process still has the host's root.
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/stat.h>

#include <asm/statfs.h>

#include "cleanup.h"
#include "execute.h"
#include "resolve.h"

#define NAME_MAX 255

int ck_slot_fd(const struct ck_run *run, uint64_t slot) {
    int fd = run->slot[slot].fd;
    return fd < 0 ? -EBADF : fd;
}

int ck_slot_fill(struct ck_run *run, uint64_t slot, int *fd) {
    if (*fd < 0)
        return *fd;
    if (run->slot[slot].fd >= 0)
        return -EBUSY;
    run->slot[slot] = (struct ck_slot){.fd = ck_steal_fd(fd), .attached = false};
    return 0;
}

int ck_clone_mount(int fd, bool recursive) {
    unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    return (int)CK_SYS3(__NR_open_tree, fd, "", flags);
}

int ck_move_mount(int mount, int target) {
    return (int)CK_SYS5(__NR_move_mount, mount, "", target, "",
                        MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

// ---- mount attributes ----------------------------------------------------------

static const struct {
    uint32_t ours;
    uint32_t kernel;
} attribute_table[] = {
    {CK_ATTR_READ_ONLY, MOUNT_ATTR_RDONLY}, {CK_ATTR_NOSUID, MOUNT_ATTR_NOSUID},
    {CK_ATTR_NODEV, MOUNT_ATTR_NODEV},      {CK_ATTR_NOEXEC, MOUNT_ATTR_NOEXEC},
    {CK_ATTR_NOATIME, MOUNT_ATTR_NOATIME},  {CK_ATTR_STRICTATIME, MOUNT_ATTR_STRICTATIME},
};

#define PROPAGATION (CK_ATTR_PRIVATE | CK_ATTR_SLAVE)

static int translate(uint64_t ours, struct mount_attr *attr) {
    *attr = (struct mount_attr){0};
    for (size_t i = 0; i < sizeof(attribute_table) / sizeof(attribute_table[0]); i++) {
        if (ours & attribute_table[i].ours) {
            attr->attr_set |= attribute_table[i].kernel;
            ours &= ~(uint64_t)attribute_table[i].ours;
        }
    }
    if (attr->attr_set & MOUNT_ATTR__ATIME)
        attr->attr_clr = MOUNT_ATTR__ATIME;
    if ((ours & PROPAGATION) == CK_ATTR_PRIVATE)
        attr->propagation = MS_PRIVATE;
    else if ((ours & PROPAGATION) == CK_ATTR_SLAVE)
        attr->propagation = MS_SLAVE;
    else if (ours & PROPAGATION)
        return -EINVAL;
    return ours & ~(uint64_t)PROPAGATION ? -EINVAL : 0;
}

int ck_set_attributes(int mount, uint64_t attributes, bool recursive) {
    struct mount_attr attr;
    int err = translate(attributes, &attr);
    if (err < 0)
        return err;
    unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    return (int)CK_SYS5(__NR_mount_setattr, mount, "", flags, &attr, sizeof(attr));
}

int ck_make_slave(void) {
    struct mount_attr attr = {.propagation = MS_SLAVE};
    return (int)CK_SYS5(__NR_mount_setattr, CK_AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr));
}

// ---- new file systems ------------------------------------------------------------

int ck_fsconfig(int context, unsigned command, const char *key, const void *value, int aux) {
    return (int)CK_SYS5(__NR_fsconfig, context, command, key, value, aux);
}

// "key" is a flag, "key=value" a string.
static int set_option(int context, const char *option) {
    char key[NAME_MAX + 1];
    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = option[i];
        if (option[i] == 0)
            return ck_fsconfig(context, FSCONFIG_SET_FLAG, key, NULL, 0);
        if (option[i] == '=') {
            key[i] = 0;
            return ck_fsconfig(context, FSCONFIG_SET_STRING, key, option + i + 1, 0);
        }
    }
    return -ENAMETOOLONG;
}

int ck_set_options(int context, struct ck_strings options) {
    int err = 0;
    for (const char *option; err == 0 && (option = ck_next_string(&options)) != NULL;)
        err = set_option(context, option);
    return err;
}

// Create what the context describes and hold its mount in a slot.
int ck_finish_filesystem(struct ck_run *run, uint64_t slot, int context, uint64_t attributes) {
    struct mount_attr attr;
    int err = translate(attributes & ~(uint64_t)PROPAGATION, &attr);
    if (err == 0)
        err = ck_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    if (err < 0)
        return err;
    CK_CLOSE int mount = (int)CK_SYS3(__NR_fsmount, context, FSMOUNT_CLOEXEC, attr.attr_set);
    if (mount >= 0 && attributes & PROPAGATION)
        err = ck_set_attributes(mount, attributes & PROPAGATION, false);
    return err < 0 ? err : ck_slot_fill(run, slot, &mount);
}

int ck_do_NEW_FILESYSTEM(struct ck_run *run, struct ck_field *field) {
    CK_CLOSE int context = (int)CK_SYS2(__NR_fsopen, field[1].text.at, FSOPEN_CLOEXEC);
    if (context < 0)
        return context;
    int err = ck_set_options(context, field[3].strings);
    return err < 0 ? err : ck_finish_filesystem(run, field[0].number, context, field[2].number);
}

// The working directory as a place for mounts on their way: never the host's mount table.
int ck_open_scratch(const struct ck_run *run) {
    return run->namespaces & CK_NS_MOUNT ? ck_open_at(CK_AT_FDCWD, ".", O_PATH | O_DIRECTORY, 0) : -EPERM;
}

// ---- trees ---------------------------------------------------------------------------

int ck_do_OPEN_TREE(struct ck_run *run, struct ck_field *field) {
    unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (field[2].number ? AT_RECURSIVE : 0);
    CK_CLOSE int mount = (int)CK_SYS3(__NR_open_tree, CK_AT_FDCWD, field[1].text.at, flags);
    return ck_slot_fill(run, field[0].number, &mount);
}

// Before Linux 6.15 nothing can be cloned out of a detached mount (EINVAL). There the slot's mount is left
// on the working directory, in this private mount namespace, until PIVOT drops all that; the subtree is
// cloned out of it, and the slot goes on with a detached clone of the whole.
int ck_do_OPEN_SUBTREE(struct ck_run *run, struct ck_field *field) {
    struct ck_slot *of = &run->slot[field[1].number];
    int source = ck_slot_fd(run, field[1].number);
    CK_CLOSE int entry = source < 0 ? source : ck_open_at(source, field[2].text.at, O_PATH, CK_INSIDE);
    if (entry < 0)
        return entry;
    CK_CLOSE int direct = ck_clone_mount(entry, false);
    if (direct != -EINVAL)
        return ck_slot_fill(run, field[0].number, &direct);
    CK_CLOSE int here = ck_open_scratch(run);
    int err = here < 0 ? here : ck_move_mount(source, here);
    if (err < 0)
        return err;
    CK_CLOSE int subtree = ck_clone_mount(entry, false);
    CK_CLOSE int whole = ck_clone_mount(source, true);
    if (whole < 0)
        return whole;
    ck_close(of->fd);
    of->fd = ck_steal_fd(&whole);
    return ck_slot_fill(run, field[0].number, &subtree);
}

int ck_do_SET_MOUNT_ATTR(struct ck_run *run, struct ck_field *field) {
    int fd = ck_slot_fd(run, field[0].number);
    return fd < 0 ? fd : ck_set_attributes(fd, field[1].number, field[2].number != 0);
}

// ---- entries of a detached file system --------------------------------------------------

// Return the directory that an entry named by the first two fields belongs to: the slot's own, or one opened for it.
static int find_place(const struct ck_run *run, const struct ck_field *field, int *opened,
                      const char **name) {
    int fd = ck_slot_fd(run, field[0].number);
    bool nested = false;
    *name = field[1].text.at;
    for (uint32_t i = 0; i < field[1].text.size; i++)
        nested = nested || field[1].text.at[i] == '/';
    if (fd < 0 || (!nested && **name != 0))
        return fd;
    return *opened = ck_open_parent(fd, field[1].text.at, name);
}

int ck_do_SLOT_DIR(struct ck_run *run, struct ck_field *field) {
    const char *name = NULL;
    CK_CLOSE int opened = -1;
    int place = find_place(run, field, &opened, &name);
    if (place < 0)
        return place;
    return (int)CK_SYS3(__NR_mkdirat, place, name, field[2].number);
}

static int write_whole(int fd, struct ck_text contents) {
    for (uint32_t done = 0; done < contents.size;) {
        long n = ck_write(fd, contents.at + done, contents.size - done);
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        done += (uint32_t)n;
    }
    return 0;
}

static int make_file(int place, const char *name, uint64_t mode) {
    return (int)CK_SYS4(__NR_openat, place, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
}

// Always a new file, never one that happens to be there: it may be a device or somebody's hard link.
int ck_do_SLOT_FILE(struct ck_run *run, struct ck_field *field) {
    const char *name = NULL;
    CK_CLOSE int opened = -1;
    int place = find_place(run, field, &opened, &name);
    if (place < 0)
        return place;
    CK_CLOSE int file = make_file(place, name, field[2].number & 07777);
    if (file == -EEXIST) {
        long removed = CK_SYS3(__NR_unlinkat, place, name, 0);
        file = removed < 0 ? (int)removed : make_file(place, name, field[2].number & 07777);
    }
    return file < 0 ? file : write_whole(file, field[3].text);
}

// The dev_t of mknod(2): 12 bits of major, 20 of minor.
static long device_number(uint64_t major, uint64_t minor) {
    return (long)((minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xfff00) << 12);
}

int ck_do_SLOT_NODE(struct ck_run *run, struct ck_field *field) {
    const char *name = NULL;
    uint64_t kind = field[2].number & S_IFBLK ? field[2].number & S_IFMT : S_IFCHR;
    uint64_t mode = kind | (field[2].number & 07777), major = field[3].number, minor = field[4].number;
    CK_CLOSE int opened = -1;
    int place = find_place(run, field, &opened, &name);
    if (place < 0)
        return place;
    if (major > 0xfff || minor > 0xfffff || (kind != S_IFCHR && kind != S_IFBLK))
        return -EINVAL;
    return (int)CK_SYS4(__NR_mknodat, place, name, mode, device_number(major, minor));
}

int ck_do_SLOT_SYMLINK(struct ck_run *run, struct ck_field *field) {
    const char *name = NULL;
    CK_CLOSE int opened = -1;
    int place = find_place(run, field, &opened, &name);
    return place < 0 ? place : (int)CK_SYS3(__NR_symlinkat, field[2].text.at, place, name);
}

// Nothing of the container can stand in for the file: not a symlink, not a mount, not another
// file system.
int ck_do_WRITE_PROC(struct ck_run *run, struct ck_field *field) {
    int proc = ck_slot_fd(run, field[0].number);
    uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    CK_CLOSE int file = proc < 0 ? proc : ck_open_at(proc, field[1].text.at, O_WRONLY, resolve);
    if (file < 0)
        return file;
    struct statfs of;
    int err = ck_status(CK_SYS2(__NR_fstatfs, file, &of));
    if (err < 0 || of.f_type != PROC_SUPER_MAGIC)
        return err < 0 ? err : -EBADF;
    long n = ck_write(file, field[2].text.at, field[2].text.size);
    return n == (long)field[2].text.size ? 0 : n < 0 ? (int)n : -EIO;
}
