// ops_overlay.c: an overlay as a detached mount, in the three ways kernels know.
//
// Every form opens each layer first and names it by descriptor, so neither the length of a path
// nor a colon or comma in it matters (overlayfs.rst).
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/mount.h>

#include "cleanup.h"
#include "execute.h"
#include "resolve.h"

#define FD_NAME_MAX 32  // "/proc/self/fd/" and a number
#define MOUNT_DATA 4096 // what mount(2) copies of its options
#define MAX_LAYERS 512  // overlayfs itself stops at 500

struct overlay {
    struct ck_strings lowers;
    const char *upper;
    const char *work;
    struct ck_strings options;
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

static int open_layer(const char *path, int flags) {
    return (int)CK_SYS4(__NR_openat, CK_AT_FDCWD, path, flags | O_DIRECTORY | O_CLOEXEC, 0);
}

// ---- fsconfig: one call for each layer ---------------------------------------------

static int add_layer(int context, const char *key, const char *path, uint64_t form) {
    if (form == CK_OVERLAY_FD) { // a readable descriptor: older kernels take no O_PATH here
        CK_CLOSE int fd = open_layer(path, O_RDONLY);
        return fd < 0 ? fd : ck_fsconfig(context, FSCONFIG_SET_FD, key, NULL, fd);
    }
    CK_CLOSE int fd = open_layer(path, O_PATH);
    if (fd < 0)
        return fd;
    char name[FD_NAME_MAX];
    name_fd(fd, name);
    return ck_fsconfig(context, FSCONFIG_SET_STRING, key, name, 0);
}

static int configure(int context, struct overlay *overlay, uint64_t form) {
    int err = 0;
    for (const char *lower; err == 0 && (lower = ck_next_string(&overlay->lowers)) != NULL;)
        err = add_layer(context, "lowerdir+", lower, form);
    if (err == 0 && overlay->upper[0] != 0)
        err = add_layer(context, "upperdir", overlay->upper, form);
    if (err == 0 && overlay->work[0] != 0)
        err = add_layer(context, "workdir", overlay->work, form);
    return err < 0 ? err : ck_set_options(context, overlay->options);
}

static int make_configured(struct ck_run *run, struct ck_field *field, struct overlay *overlay) {
    CK_CLOSE int context = (int)CK_SYS2(__NR_fsopen, "overlay", FSOPEN_CLOEXEC);
    int err = context < 0 ? context : configure(context, overlay, field[4].number);
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

static int add_joined(struct line *line, struct layers *layers, const char *before, const char *path) {
    if (layers->count == MAX_LAYERS)
        return -E2BIG;
    int fd = open_layer(path, O_PATH);
    if (fd < 0)
        return fd;
    layers->fd[layers->count++] = fd;
    char name[FD_NAME_MAX];
    name_fd(fd, name);
    int err = add_text(line, before);
    return err < 0 ? err : add_text(line, name);
}

static int join(struct line *line, struct layers *layers, struct overlay *overlay) {
    const char *before = "lowerdir=";
    int err = 0;
    for (const char *lower; err == 0 && (lower = ck_next_string(&overlay->lowers)) != NULL; before = ":")
        err = add_joined(line, layers, before, lower);
    if (err == 0 && overlay->upper[0] != 0)
        err = add_joined(line, layers, ",upperdir=", overlay->upper);
    if (err == 0 && overlay->work[0] != 0)
        err = add_joined(line, layers, ",workdir=", overlay->work);
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
    int err = scratch < 0 ? scratch : join(&line, &layers, overlay);
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

int ck_do_NEW_OVERLAY(struct ck_run *run, struct ck_field *field) {
    struct overlay overlay = {
        .lowers = field[1].strings,
        .upper = field[2].text.at,
        .work = field[3].text.at,
        .options = field[5].strings,
    };
    switch (field[4].number) {
    case CK_OVERLAY_FD:
    case CK_OVERLAY_APPEND:
        return make_configured(run, field, &overlay);
    case CK_OVERLAY_JOINED:
        return make_joined(run, field, &overlay);
    default:
        return -EINVAL;
    }
}
