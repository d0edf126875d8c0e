// resolve.c: see resolve.h.
#include "resolve.h"

#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "cleanup.h"

#define TRIES 64     // EAGAIN: a rename elsewhere raced with a ".."; the kernel asks to try again
#define MAX_LINKS 40 // as path_resolution(7)
#define REWRITTEN (-ERANGE)

int ck_open_at(int directory, const char *path, int flags, uint64_t resolve) {
    struct open_how how = {.flags = (uint64_t)(uint32_t)flags | O_CLOEXEC, .resolve = resolve};
    long fd = -EAGAIN;
    for (int i = 0; i < TRIES && fd == -EAGAIN; i++)
        fd = CK_SYS4(__NR_openat2, directory, path, &how, sizeof(how));
    return (int)fd;
}

// A path that is being worked on.
struct draft {
    char text[CK_PATH_MAX];
    size_t length;
};

static int append(struct draft *draft, const char *text) {
    for (; *text != 0; text++) {
        if (draft->length + 1 >= sizeof(draft->text))
            return -ENAMETOOLONG;
        draft->text[draft->length++] = *text;
    }
    draft->text[draft->length] = 0;
    return 0;
}

static int begin(struct draft *draft, const char *path) {
    draft->length = 0;
    draft->text[0] = 0;
    int err = append(draft, path);
    while (draft->length > 1 && draft->text[draft->length - 1] == '/')
        draft->text[--draft->length] = 0;
    return err;
}

// The component [from, to) of the draft is a symlink to something missing: put its target there.
static int expand(struct draft *draft, int parent, size_t from, size_t to) {
    char target[CK_PATH_MAX];
    struct draft rest;
    char cut = draft->text[to];
    draft->text[to] = 0;
    long size = CK_SYS4(__NR_readlinkat, parent, draft->text + from, target, sizeof(target) - 1);
    draft->text[to] = cut;
    if (size < 0)
        return size == -EINVAL ? -EEXIST : (int)size;
    target[size] = 0;
    int err = begin(&rest, draft->text + to);
    draft->length = target[0] == '/' ? 0 : from;
    if (err == 0)
        err = append(draft, target);
    if (err == 0)
        err = append(draft, rest.text);
    return err < 0 ? err : REWRITTEN;
}

static int make_at(int parent, const char *name, uint32_t mode) {
    if ((mode & S_IFMT) == S_IFDIR)
        return (int)CK_SYS3(__NR_mkdirat, parent, name, mode & 07777);
    return (int)CK_SYS4(__NR_mknodat, parent, name, S_IFREG | (mode & 07777), 0);
}

// Open one prefix of the draft, which ends at a NUL put there for the moment; make its last
// component [from, …) if need be.
static int step_into(int root, const struct draft *draft, size_t from, int parent, uint32_t mode,
                     uint64_t resolve, bool *made) {
    int fd = ck_open_at(root, draft->text, O_PATH, resolve);
    *made = fd == -ENOENT;
    if (fd != -ENOENT)
        return fd;
    int err = make_at(parent, draft->text + from, mode);
    return err < 0 ? err : ck_open_at(root, draft->text, O_PATH, resolve);
}

// Walk the draft from its start and make what is missing. Prefixes are always opened from the root:
// that is what keeps ".." and absolute symlinks inside.
static int make_missing(int root, struct draft *draft, uint32_t mode, uint64_t resolve, bool *made) {
    CK_CLOSE int held = -1;
    size_t from = 0, to = 0;
    for (;;) {
        for (from = to; draft->text[from] == '/';)
            from++;
        if (draft->text[from] == 0)
            return held < 0 ? -ENOENT : ck_steal_fd(&held);
        for (to = from; draft->text[to] != 0 && draft->text[to] != '/';)
            to++;
        char cut = draft->text[to];
        uint32_t component_mode = cut == 0 ? mode : S_IFDIR | 0755;
        int parent = held < 0 ? root : held;
        draft->text[to] = 0;
        int fd = step_into(root, draft, from, parent, component_mode, resolve, made);
        draft->text[to] = cut;
        if (fd == -EEXIST)
            return expand(draft, parent, from, to);
        if (fd < 0)
            return fd;
        if (held >= 0)
            ck_close(held);
        held = fd;
    }
}

int ck_open_or_make(int root, const char *path, uint32_t mode, uint64_t resolve, bool *made) {
    struct draft draft;
    int err = begin(&draft, path);
    if (err < 0)
        return err;
    for (int links = 0; links <= MAX_LINKS; links++) {
        *made = false;
        int fd = ck_open_at(root, draft.text, O_PATH, resolve);
        if (fd == -ENOENT)
            fd = make_missing(root, &draft, mode, resolve, made);
        if (fd != REWRITTEN)
            return fd;
    }
    return -ELOOP;
}

int ck_open_parent(int root, const char *path, const char **name) {
    struct draft parent;
    int err = begin(&parent, path);
    if (err < 0)
        return err;
    size_t slash = parent.length;
    while (slash > 0 && parent.text[slash - 1] != '/')
        slash--;
    if (slash == parent.length) // "" or "/"
        return -EINVAL;
    *name = path + slash;
    parent.text[slash] = 0;
    return ck_open_at(root, slash == 0 ? "." : parent.text, O_PATH | O_DIRECTORY, CK_INSIDE);
}
