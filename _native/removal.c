// removal.c: see removal.h.
//
// By descriptor, never following a symlink, in bounded memory: trees deeper than CK_DEPTH are
// flattened by renaming what lies below to the top, so neither depth nor path length matters.
#include "removal.h"

#include "cleanup.h"
#include "monitor_format.h"
#include "monitor_syscalls.h"

#define CK_DEPTH 16u
#define CK_LISTING 4096u // bytes of directory entries in hand at each depth

struct removal {
    int top;        // where deep directories are moved to
    uint32_t moved; // names them
    bool progress;
};

static int sweep(struct removal *job, int dir, unsigned depth);

bool ck_is_dot(const char *name) {
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

// A name that no other moved directory has; a clash with the container's own fails and is retried.
static int move_up(struct removal *job, int dir, const char *name) {
    char text[32];
    for (unsigned attempt = 0; attempt < 1000; attempt++) {
        struct ck_writer to = {text, 0, sizeof(text)};
        ck_put_string(&to, ".ck-removed-");
        ck_put_number(&to, job->moved++);
        ck_put_end(&to);
        long error = CK_SYS5(__NR_renameat2, dir, name, job->top, text, 1 /* RENAME_NOREPLACE */);
        if (error != -EEXIST)
            return (int)error;
    }
    return -EEXIST;
}

static int remove_directory(struct removal *job, int dir, const char *name, unsigned depth) {
    int error = ck_sys_unlinkat(dir, name, AT_REMOVEDIR);
    if (error != -ENOTEMPTY)
        return error;
    if (depth == CK_DEPTH)
        return move_up(job, dir, name);
    CK_CLOSE int fd = ck_sys_openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    int inside = sweep(job, fd, depth);
    error = ck_sys_unlinkat(dir, name, AT_REMOVEDIR);
    return error && inside ? inside : error;
}

static int remove_entry(struct removal *job, int dir, const struct ck_entry *entry, unsigned depth) {
    if (ck_is_dot(entry->name))
        return 0;
    int error = -EISDIR;
    if (entry->type != CK_TYPE_DIRECTORY)
        error = ck_sys_unlinkat(dir, entry->name, 0);
    if (error == -EISDIR)
        error = remove_directory(job, dir, entry->name, depth);
    job->progress |= !error;
    return error == -ENOENT ? 0 : error;
}

// One look at every entry; the first error is remembered, the rest is removed all the same.
static int sweep(struct removal *job, int dir, unsigned depth) {
    __attribute__((aligned(8))) char listing[CK_LISTING];
    int first = 0;
    for (;;) {
        long size = CK_SYS3(__NR_getdents64, dir, listing, sizeof(listing));
        if (size <= 0)
            return first ? first : (int)size;
        for (long at = 0; at < size;) {
            const struct ck_entry *entry = (const struct ck_entry *)(listing + at);
            int error = remove_entry(job, dir, entry, depth + 1);
            if (!first)
                first = error;
            at += entry->size;
        }
    }
}

// Sweep until nothing is left or nothing moves: deep trees come up in pieces, and a
// directory that changes while it is read may hide entries from one sweep.
static int empty_all(struct removal *job) {
    int error;
    do {
        job->progress = false;
        error = sweep(job, job->top, 0);
    } while (job->progress && (error || job->moved) && !CK_SYS3(__NR_lseek, job->top, 0, 0));
    return error;
}

int ck_empty_directory(int dir) {
    struct removal job = {.top = dir};
    return empty_all(&job);
}

int ck_empty_tree(int parent, const char *name) {
    CK_CLOSE int top = ck_sys_openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    return top < 0 ? top : ck_empty_directory(top);
}

int ck_remove_tree(int parent, const char *name) {
    int error = ck_sys_unlinkat(parent, name, 0);
    if (error == -EISDIR)
        error = ck_sys_unlinkat(parent, name, AT_REMOVEDIR);
    if (error != -ENOTEMPTY)
        return error == -ENOENT ? 0 : error;
    CK_CLOSE int top = ck_sys_openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (top < 0)
        return top;
    int inside = ck_empty_directory(top);
    error = ck_sys_unlinkat(parent, name, AT_REMOVEDIR);
    return error && inside ? inside : error;
}
