// files_pack.c: PACK: walk a tree in order and write what is there. See files_pack.h.
//
// Each name is opened as it is (O_PATH, no symlink followed) and looked at; only what is a regular file or
// a directory is opened for reading then. The container may change everything meanwhile: what vanishes is
// left out, and nothing but the tree is ever read.
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/mman.h>

#include <sys/stat.h>

#include "cleanup.h"
#include "execute.h"
#include "files_pack.h"

#define MOST_LEVELS (CK_FILE_MAX_PATH / 2 + 1) // "a/" for each
#define NEVER_READ (-1)

struct level {
    int fd;
    struct ck_listing listing;
    size_t next, path_size;
};

struct pack {
    struct ck_tree *tree;
    struct ck_call *call;
    uint64_t entries, bytes, left_out;
    struct ck_names names;
    struct ck_links links;
    size_t depth, path_size;
    struct level level[MOST_LEVELS];
    char path[CK_FILE_MAX_PATH + 8]; // in the archive; ends in NUL
    char target[CK_FILE_MAX_PATH];
    struct ck_xattrs xattrs;
    char pax[CK_PACK_PAX];
    struct ck_stream out;
};

static bool has(const struct pack *p, uint32_t flag) {
    return p->call->flags & flag;
}

static int append(struct pack *p, const char *text) {
    for (; *text != 0; text++) {
        if (p->path_size + 1 >= CK_FILE_MAX_PATH)
            return -ENAMETOOLONG;
        p->path[p->path_size++] = *text;
    }
    p->path[p->path_size] = 0;
    return 0;
}

static void cut(struct pack *p, size_t size) {
    p->path_size = size;
    p->path[size] = 0;
}

// ---- entries --------------------------------------------------------------------------------------------------

static int write_entry(struct pack *p, const struct ck_entry_header *entry) {
    if (p->out.used >= CK_PACK_BUFFER)
        ck_stream_flush(&p->out);
    struct ck_writer out = {p->out.buffer, p->out.used, sizeof(p->out.buffer)};
    if (!ck_put_entry(&out, &p->xattrs.pax, entry))
        return -E2BIG;
    p->out.used = out.size;
    p->xattrs.pax.size = 0;
    p->entries++;
    return p->out.error;
}

static void set_time(const struct pack *p, const struct statx *about, struct ck_entry_header *entry) {
    entry->seconds = about->stx_mtime.tv_sec;
    entry->nanoseconds = about->stx_mtime.tv_nsec;
    if (p->call->a == CK_FILE_ANY_TIME)
        return;
    int64_t latest = (int64_t)(p->call->a / 1000000000);
    uint32_t rest = (uint32_t)(p->call->a % 1000000000);
    if (entry->seconds > latest || (entry->seconds == latest && entry->nanoseconds > rest)) {
        entry->seconds = latest;
        entry->nanoseconds = rest;
    }
}

static struct ck_entry_header describe(const struct pack *p, const struct statx *about, char type) {
    bool owned = has(p, CK_FILE_OWNER);
    struct ck_entry_header entry = {
        .name = p->path,
        .link = "",
        .type = type,
        .mode = about->stx_mode & 07777,
        .uid = owned ? p->call->c : about->stx_uid,
        .gid = owned ? p->call->d : about->stx_gid,
    };
    set_time(p, about, &entry);
    return entry;
}

// Without mode, owner and time: what was there before is gone, whoever it was.
static int write_whiteout(struct pack *p, size_t at, const char *name) {
    struct ck_entry_header entry = {.name = p->path, .link = "", .type = '0'};
    cut(p, at);
    p->xattrs.pax.size = 0;
    int err = append(p, ".wh.");
    err = err < 0 ? err : append(p, name);
    return err < 0 ? err : write_entry(p, &entry);
}

static int write_file(struct pack *p, const struct statx *about, int file) {
    struct ck_entry_header entry = describe(p, about, '0');
    entry.size = file == NEVER_READ ? 0 : about->stx_size;
    const char *first = NULL;
    int err = 0;
    if (about->stx_nlink > 1 && file != NEVER_READ) {
        uint64_t device = (uint64_t)about->stx_dev_major << 32 | about->stx_dev_minor;
        err = ck_find_link(&p->links, device, about->stx_ino, p->path, &first);
    }
    if (first != NULL) {
        entry.type = '1';
        entry.link = first;
        entry.size = 0;
        p->xattrs.pax.size = 0;
    }
    err = err < 0 ? err : write_entry(p, &entry);
    if (err < 0 || entry.size == 0)
        return err;
    p->bytes += entry.size;
    err = ck_stream_file(&p->out, file, entry.size);
    return err < 0 ? err : p->out.error;
}

static int pack_file(struct pack *p, int found, const struct statx *about, size_t at, const char *name,
                     bool mounted) {
    if (has(p, CK_FILE_HEADERS) || mounted)
        return write_file(p, about, NEVER_READ);
    CK_CLOSE int file = ck_tree_reopen(p->tree, found, O_RDONLY);
    if (file < 0)
        return file;
    int err = ck_read_xattrs(&p->xattrs, file, p->call->flags);
    if (err == 0 && p->xattrs.whiteout && about->stx_size == 0)
        return write_whiteout(p, at, name);
    return err < 0 ? err : write_file(p, about, file);
}

static int pack_symlink(struct pack *p, int found, const struct statx *about) {
    long size = CK_SYS4(__NR_readlinkat, found, "", p->target, sizeof(p->target) - 1);
    if (size < 0)
        return (int)size;
    p->target[size] = 0;
    struct ck_entry_header entry = describe(p, about, '2');
    entry.link = p->target;
    return write_entry(p, &entry);
}

static int pack_node(struct pack *p, const struct statx *about, char type) {
    struct ck_entry_header entry = describe(p, about, type);
    if (type != '6') {
        entry.major = about->stx_rdev_major;
        entry.minor = about->stx_rdev_minor;
    }
    return write_entry(p, &entry);
}

// ---- directories ------------------------------------------------------------------------------------------------

static int enter(struct pack *p, int *dir) {
    struct level *level = &p->level[p->depth];
    if (p->depth == MOST_LEVELS)
        return -ENAMETOOLONG;
    int err = ck_list_sorted(&p->names, *dir, &level->listing);
    if (err < 0)
        return err;
    level->fd = ck_steal_fd(dir);
    level->next = 0;
    level->path_size = p->path_size;
    p->depth++;
    return 0;
}

static void leave(struct pack *p) {
    struct level *level = &p->level[--p->depth];
    ck_close(level->fd);
    p->names.used = level->listing.before;
}

static int pack_directory(struct pack *p, int found, const struct statx *about, bool mounted) {
    CK_CLOSE int dir = (int)CK_SYS4(__NR_openat, found, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int err = dir < 0 ? dir : ck_read_xattrs(&p->xattrs, dir, p->call->flags);
    bool opaque = p->xattrs.opaque;
    struct ck_entry_header entry = describe(p, about, '5');
    err = err < 0 ? err : append(p, "/");
    err = err < 0 ? err : write_entry(p, &entry);
    if (err == 0 && opaque && has(p, CK_FILE_LAYER)) {
        size_t inside = p->path_size;
        err = write_whiteout(p, inside, ".wh..opq");
        cut(p, inside);
    }
    if (err < 0 || has(p, CK_FILE_NO_RECURSE) || mounted)
        return err;
    return enter(p, &dir);
}

// ---- the walk -----------------------------------------------------------------------------------------------------

static int pack_found(struct pack *p, int found, size_t at, const char *name, bool top) {
    struct statx about;
    int err = ck_stat_fd(found, &about);
    bool mounted = !top && has(p, CK_FILE_ONE_MOUNT) && about.stx_attributes & STATX_ATTR_MOUNT_ROOT;
    if (err < 0)
        return err;
    p->xattrs.pax.size = 0;
    switch (about.stx_mode & S_IFMT) {
    case S_IFDIR:
        return pack_directory(p, found, &about, mounted);
    case S_IFREG:
        return pack_file(p, found, &about, at, name, mounted);
    case S_IFLNK:
        return pack_symlink(p, found, &about);
    case S_IFCHR:
        if (has(p, CK_FILE_LAYER) && about.stx_rdev_major == 0 && about.stx_rdev_minor == 0)
            return write_whiteout(p, at, name);
        return mounted ? write_file(p, &about, NEVER_READ) : pack_node(p, &about, '3');
    case S_IFBLK:
        return mounted ? write_file(p, &about, NEVER_READ) : pack_node(p, &about, '4');
    case S_IFIFO:
        return mounted ? write_file(p, &about, NEVER_READ) : pack_node(p, &about, '6');
    default: // a socket means nothing elsewhere
        p->left_out++;
        return 0;
    }
}

static bool is_marker(const char *name) { // would be taken for a whiteout
    return name[0] == '.' && name[1] == 'w' && name[2] == 'h' && name[3] == '.';
}

static int pack_name(struct pack *p, int dir, const char *name) {
    size_t at = p->path_size;
    if (has(p, CK_FILE_LAYER) && is_marker(name)) {
        p->left_out++;
        return 0;
    }
    int err = append(p, name);
    CK_CLOSE int found = (int)CK_SYS4(__NR_openat, dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (err < 0 || found < 0)
        return err < 0 ? err : found == -ENOENT ? 0 : found;
    err = pack_found(p, found, at, name, false);
    return err == -ENOENT ? 0 : err; // removed between two looks
}

static int pack_below(struct pack *p) {
    int err = 0;
    while (err == 0 && p->depth > 0) {
        struct level *level = &p->level[p->depth - 1];
        cut(p, level->path_size);
        if (level->next == level->listing.count)
            leave(p);
        else
            err = pack_name(p, level->fd, level->listing.name[level->next++]);
    }
    while (p->depth > 0)
        leave(p);
    return err;
}

static int pack_top(struct pack *p) {
    size_t size = ck_string_size(p->call->other);
    while (size > 0 && p->call->other[size - 1] == '/')
        p->call->other[--size] = 0;
    CK_CLOSE int found = ck_tree_open(p->tree, p->call->path, O_PATH | O_NOFOLLOW);
    int err = found < 0 ? found : append(p, p->call->other);
    if (err < 0)
        return err;
    if (size > 0)
        return pack_found(p, found, 0, p->call->other, true);
    CK_CLOSE int dir = ck_open_at(found, ".", O_RDONLY | O_DIRECTORY, CK_INSIDE_ORDINARY);
    return dir < 0 ? dir : enter(p, &dir);
}

static int pack_all(struct pack *p) {
    int err = pack_top(p);
    err = err < 0 ? err : pack_below(p);
    if (err == 0)
        ck_stream_zeros(&p->out, 2 * CK_BLOCK);
    if (err == 0)
        ck_stream_flush(&p->out);
    ck_release_links(&p->links);
    return err < 0 ? err : p->out.error;
}

static long map_memory(size_t size) {
    return CK_SYS6(__NR_mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
}

int ck_file_PACK(struct ck_tree *tree, struct ck_call *call) {
    size_t size = ((sizeof(struct pack) + 4095) & ~(size_t)4095) + 2 * (size_t)CK_PACK_NAMES;
    long at = call->fd < 0 ? -EBADF : map_memory(size);
    if (at < 0 && at > -4096)
        return (int)at;
    struct pack *p = (struct pack *)at;
    char *names = (char *)at + size - 2 * (size_t)CK_PACK_NAMES;
    p->tree = tree;
    p->call = call;
    p->out.fd = call->fd;
    p->names = (struct ck_names){names, 0, CK_PACK_NAMES};
    p->links.names = (struct ck_names){names + CK_PACK_NAMES, 0, CK_PACK_NAMES};
    p->xattrs.pax = (struct ck_writer){p->pax, 0, sizeof(p->pax)};
    int err = pack_all(p);
    call->reply.a = p->entries;
    call->reply.b = p->bytes;
    call->reply.c = p->left_out;
    if (err < 0 && p->out.error == 0) {
        struct ck_writer text = {call->text, 0, CK_FILE_MAX_TEXT};
        ck_put_string(&text, p->path);
        call->reply.text_size = (uint32_t)text.size;
    }
    CK_SYS2(__NR_munmap, at, size);
    return err;
}
