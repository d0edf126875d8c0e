// files_unpack.h: between the files of the unpacker.
#ifndef CK_FILES_UNPACK_H
#define CK_FILES_UNPACK_H

#include <string.h>
#include <sys/stat.h>

#include "files_entry.h"
#include "files_tar.h"

#define CK_LEVELS 32u // directories held open on the way to the present entry; far fewer than descriptors

// A directory on that way: the first `size` bytes of place.path lead to it.
struct ck_level {
    int fd; // O_PATH
    uint32_t size;
};

struct ck_place {
    struct ck_level levels[CK_LEVELS];
    uint32_t count;
    bool stale; // what was removed may have been on the way
    char path[CK_FILE_MAX_PATH];
};

// What a directory gets when nothing changes in it any more.
struct ck_late {
    struct ck_late *next;
    int64_t mtime;
    uint32_t mtime_ns;
    uint16_t mode;
    bool change_mode, change_owner;
    uint32_t uid, gid;
    uint16_t name_size, acl_size;
    char name[]; // with its NUL, then the default ACL
};

struct chunk;

struct ck_unpacking {
    struct ck_unpack *request;
    uint32_t uid, gid; // of what we make
    bool layer, replace;
    bool plain;             // nothing is inherited: what we make is ours and has the mode we ask for
    bool check_directories; // one was removed: a name in `late` may mean something else now
    struct ck_place place;
    struct ck_late *first, **last;
    char *free; // where the next struct ck_late goes
    size_t free_size;
    struct chunk *chunks; // of memory
    size_t memory;        // in them
    struct ck_tar tar;
};

static inline bool ck_begins(const char *text, const char *word) {
    while (*word != 0) {
        if (*text++ != *word++)
            return false;
    }
    return true;
}
static inline bool ck_is(const char *text, const char *word) {
    return ck_begins(text, word) && text[strlen(word)] == 0;
}

// ---- files_unpack_place.c: where an entry goes ----------------------------------------------
// The directory that a normal name is in; the job's, until the next call. *last is the name's last
// component, "." for the top itself. Missing directories are made, or else it is -ENOENT.
int ck_enter(struct ck_unpacking *job, const char *name, bool make, const char **last);
// The same for the target of a hard link; a descriptor of the caller's if *opened.
int ck_enter_target(struct ck_unpacking *job, const char *name, bool *opened, const char **last);
// Make way at a name that is taken; -EEXIST when entries may not replace anything.
int ck_clear_name(struct ck_unpacking *job, int parent, const char *name);
void ck_leave_place(struct ck_unpacking *job);
int ck_stat_at(int parent, const char *name, struct stat *about); // the name itself, no symlink
bool ck_is_whiteout(const struct ck_unpacking *job, const struct stat *about);

// ---- files_unpack_attributes.c ----------------------------------------------------------------
// Whom the present entry goes to, and whether that must be said. `fresh`: we have just made it.
uint32_t ck_mode_of(const struct ck_unpacking *job); // of the present entry
bool ck_choose_owner(const struct ck_unpacking *job, bool fresh, uint32_t *uid, uint32_t *gid);
int ck_own_at(const struct ck_unpacking *job, int parent, const char *name); // fresh
int ck_stamp_at(int parent, const char *name, int64_t seconds, uint32_t nanoseconds);
int ck_finish_file(const struct ck_unpacking *job, int fd);
int ck_apply_xattrs(const struct ck_unpacking *job, int fd);
int ck_set_opaque(const struct ck_unpacking *job, int parent, const char *name);

// ---- files_unpack_content.c -------------------------------------------------------------------
int ck_write_content(struct ck_unpacking *job, int fd);

// ---- files_unpack_directories.c ---------------------------------------------------------------
int ck_make_directory(struct ck_unpacking *job, int parent, const char *name);
// A directory on the way to an entry; `path` of this size leads to it.
int ck_make_implied(struct ck_unpacking *job, int parent, const char *name, const char *path, uint32_t size);
int ck_finish_directories(struct ck_unpacking *job);
void ck_free_late(struct ck_unpacking *job);

#endif
