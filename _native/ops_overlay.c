// ops_overlay.c: an overlay as a detached mount, in the three ways kernels know.
//
// Every form opens each layer first and names it by descriptor, so neither the length of a path
// nor a colon or comma in it matters (overlayfs.rst).
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <linux/stat.h>

#include <asm/statfs.h>

#include "cleanup.h"
#include "execute.h"
#include "resolve.h"

#define FD_NAME_MAX 32  // "/proc/self/fd/" and a number
#define MOUNT_DATA 4096 // what mount(2) copies of its options
#define MAX_LAYERS 512  // overlayfs itself stops at 500
#define ST_RDONLY 1     // statfs(2)

struct overlay {
    struct ck_strings lowers;
    const char *upper;
    const char *work;
    struct ck_strings options;
    int ids;         // a user namespace: layers are shown with its ids; -1: as they are
    bool map_lowers; // those of lower directories, too
    int own;         // the directory that upper and work are in
};

static void name_fd(int fd, char name[FD_NAME_MAX]) {
    static const char prefix[] = "/proc/self/fd/";
    char digits[12];
    int count = 0;
    char *at = name;
    for (const char *p = prefix; *p != 0; p++)
        *at++ = *p;
    do {
        digits[count++] = (char)('0' + fd % 10);
        fd /= 10;
    } while (fd > 0);
    while (count > 0)
        *at++ = digits[--count];
    *at = 0;
}

static int open_layer(int directory, const char *path, int flags) {
    return (int)CK_SYS4(__NR_openat, directory, path, flags | O_DIRECTORY | O_CLOEXEC, 0);
}

// ---- id-mapped layers ----------------------------------------------------------------

// A directory as a mount of its own with the ids of a user namespace (mount_setattr(2)). Before Linux 6.15
// overlayfs takes no layers that are mounted nowhere: this one lies on the work directory, which nobody looks
// into by that name, in this private mount namespace until PIVOT drops all that.
static int map_layer(const struct ck_run *run, const struct overlay *overlay, const char *path) {
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)overlay->ids};
    if (!(run->namespaces & CK_NS_MOUNT))
        return -EPERM;
    CK_CLOSE int here = ck_open_at(CK_AT_FDCWD, overlay->work, O_PATH | O_DIRECTORY, 0);
    CK_CLOSE int mount = (int)CK_SYS3(__NR_open_tree, CK_AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (here < 0 || mount < 0)
        return here < 0 ? here : mount;
    int err = (int)CK_SYS5(__NR_mount_setattr, mount, "", AT_EMPTY_PATH, &attr, sizeof(attr));
    if (err == 0)
        err = ck_move_mount(mount, here);
    return err < 0 ? err : ck_steal_fd(&mount);
}

static int open_lower(const struct ck_run *run, const struct overlay *overlay, const char *path, int flags) {
    if (overlay->ids < 0 || !overlay->map_lowers)
        return open_layer(CK_AT_FDCWD, path, flags);
    CK_CLOSE int mount = map_layer(run, overlay, path);
    return mount < 0 || flags == O_PATH ? ck_steal_fd(&mount) : open_layer(mount, ".", flags);
}

// Upper and work have to be in the same mount.
static int open_own(const struct overlay *overlay, const char *path, int flags) {
    return open_layer(overlay->own, path, flags);
}

// ---- fsconfig: one call for each layer ---------------------------------------------

// A readable descriptor for FSCONFIG_SET_FD: older kernels take no O_PATH there.
static int flags_of(uint64_t form) {
    return form == CK_OVERLAY_FD ? O_RDONLY : O_PATH;
}

static int add_layer(int context, const char *key, int layer, uint64_t form) {
    CK_CLOSE int fd = layer;
    if (fd < 0)
        return fd;
    if (form == CK_OVERLAY_FD)
        return ck_fsconfig(context, FSCONFIG_SET_FD, key, NULL, fd);
    char name[FD_NAME_MAX];
    name_fd(fd, name);
    return ck_fsconfig(context, FSCONFIG_SET_STRING, key, name, 0);
}

static int configure(struct ck_run *run, int context, struct overlay *overlay, uint64_t form) {
    int err = 0, flags = flags_of(form);
    for (const char *lower; err == 0 && (lower = ck_next_string(&overlay->lowers)) != NULL;)
        err = add_layer(context, "lowerdir+", open_lower(run, overlay, lower, flags), form);
    if (err == 0 && overlay->upper[0] != 0)
        err = add_layer(context, "upperdir", open_own(overlay, overlay->upper, flags), form);
    if (err == 0 && overlay->work[0] != 0)
        err = add_layer(context, "workdir", open_own(overlay, overlay->work, flags), form);
    return err < 0 ? err : ck_set_options(context, overlay->options);
}

static int make_configured(struct ck_run *run, struct ck_field *field, struct overlay *overlay) {
    CK_CLOSE int context = (int)CK_SYS2(__NR_fsopen, "overlay", FSOPEN_CLOEXEC);
    int err = context < 0 ? context : configure(run, context, overlay, field[4].number);
    return err < 0 ? err : ck_finish_filesystem(run, field[0].number, context, 0);
}

// ---- mount(2): one string, onto the working directory; then a detached clone of that ---

struct layers { // open until the mount is made
    int fd[MAX_LAYERS];
    uint32_t count;
};

static void close_layers(struct layers *layers) {
    while (layers->count > 0)
        ck_close(layers->fd[--layers->count]);
}

struct line {
    char text[MOUNT_DATA];
    size_t length;
};

static int add_text(struct line *line, const char *text) {
    for (; *text != 0; text++) {
        if (line->length + 1 >= sizeof(line->text))
            return -E2BIG;
        line->text[line->length++] = *text;
    }
    line->text[line->length] = 0;
    return 0;
}

static int add_joined(struct line *line, struct layers *layers, const char *before, int fd) {
    if (fd < 0)
        return fd;
    if (layers->count == MAX_LAYERS) {
        ck_close(fd);
        return -E2BIG;
    }
    layers->fd[layers->count++] = fd;
    char name[FD_NAME_MAX];
    name_fd(fd, name);
    int err = add_text(line, before);
    return err < 0 ? err : add_text(line, name);
}

static int join(struct ck_run *run, struct line *line, struct layers *layers, struct overlay *overlay) {
    const char *before = "lowerdir=";
    int err = 0;
    for (const char *lower; err == 0 && (lower = ck_next_string(&overlay->lowers)) != NULL; before = ":")
        err = add_joined(line, layers, before, open_lower(run, overlay, lower, O_PATH));
    if (err == 0 && overlay->upper[0] != 0)
        err = add_joined(line, layers, ",upperdir=", open_own(overlay, overlay->upper, O_PATH));
    if (err == 0 && overlay->work[0] != 0)
        err = add_joined(line, layers, ",workdir=", open_own(overlay, overlay->work, O_PATH));
    for (const char *option; err == 0 && (option = ck_next_string(&overlay->options)) != NULL;) {
        err = add_text(line, ",");
        err = err < 0 ? err : add_text(line, option);
    }
    return err;
}

// The working directory's name in its parent, as "../name": the way to what was just mounted on it.
static int name_here(struct line *line) {
    line->text[0] = line->text[1] = '.';
    long size = CK_SYS2(__NR_getcwd, line->text + 2, sizeof(line->text) - 2);
    return size < 0 ? (int)size : 0;
}

static const char *mounted_here(struct line *line) {
    size_t slash = 2;
    for (size_t i = 2; line->text[i] != 0; i++)
        slash = line->text[i] == '/' ? i : slash;
    line->text[slash - 1] = line->text[slash - 2] = '.';
    return line->text + slash - 2;
}

static int make_joined(struct ck_run *run, struct ck_field *field, struct overlay *overlay) {
    __attribute__((cleanup(close_layers))) struct layers layers = {.count = 0};
    struct line line = {.length = 0};
    CK_CLOSE int scratch = ck_open_scratch(run);
    int err = scratch < 0 ? scratch : join(run, &line, &layers, overlay);
    if (err == 0)
        err = ck_status(CK_SYS5(__NR_mount, "overlay", ".", "overlay", 0, line.text));
    if (err == 0)
        err = name_here(&line);
    if (err < 0)
        return err;
    const char *here = mounted_here(&line);
    CK_CLOSE int mount = (int)CK_SYS3(__NR_open_tree, CK_AT_FDCWD, here, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    return ck_slot_fill(run, field[0].number, &mount); // PIVOT drops the mount that stays here
}

static int make_overlay(struct ck_run *run, struct ck_field *field, struct overlay *overlay) {
    overlay->lowers = field[1].strings;
    overlay->upper = field[2].text.at;
    overlay->work = field[3].text.at;
    overlay->options = field[5].strings;
    switch (field[4].number) {
    case CK_OVERLAY_FD:
    case CK_OVERLAY_APPEND:
        return make_configured(run, field, overlay);
    case CK_OVERLAY_JOINED:
        return make_joined(run, field, overlay);
    default:
        return -EINVAL;
    }
}

int ck_do_NEW_OVERLAY(struct ck_run *run, struct ck_field *field) {
    struct overlay overlay = {.ids = -1, .own = CK_AT_FDCWD};
    return make_overlay(run, field, &overlay);
}

// overlayfs keeps who mounts it and acts as that: somebody who exists among the ids of its layers, but with
// all privileges. Where it cannot write after all, it is read-only and says nothing.
static int make_as_owner(struct ck_run *run, struct ck_field *field, struct overlay *overlay) {
    struct statx own;
    struct statfs made = {0};
    int err = (int)CK_SYS5(__NR_statx, overlay->own, "", AT_EMPTY_PATH, STATX_UID | STATX_GID, &own);
    if (err == 0)
        err = (int)CK_SYS5(__NR_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0);
    if (err < 0)
        return err;
    long gid = CK_SYS1(__NR_setfsgid, own.stx_gid), uid = CK_SYS1(__NR_setfsuid, own.stx_uid);
    err = make_overlay(run, field, overlay);
    CK_SYS1(__NR_setfsuid, uid);
    CK_SYS1(__NR_setfsgid, gid);
    CK_SYS5(__NR_prctl, PR_SET_SECUREBITS, 0, 0, 0, 0);
    if (err == 0)
        err = ck_status(CK_SYS2(__NR_fstatfs, ck_slot_fd(run, field[0].number), &made));
    return err == 0 && made.f_flags & ST_RDONLY ? -EROFS : err;
}

int ck_do_NEW_MAPPED_OVERLAY(struct ck_run *run, struct ck_field *field) {
    struct overlay overlay = {.ids = ck_slot_fd(run, field[6].number),
                              .map_lowers = field[7].number != 0,
                              .work = field[3].text.at};
    CK_CLOSE int own = overlay.ids < 0 ? overlay.ids : map_layer(run, &overlay, ".");
    overlay.own = own;
    return own < 0 ? own : make_as_owner(run, field, &overlay);
}
