// files_tree.h: what the requests of ck-files share: the tree they are about, and the way into it.
//
// Names resolve by openat2(2) in the tree (resolve.h). What is done then is done to a descriptor, or to a
// single name in a directory held by one, so nothing that changes meanwhile can lead out of the tree.
#ifndef CK_FILES_TREE_H
#define CK_FILES_TREE_H

#include "files.h"
#include "removal.h"
#include "resolve.h"

struct ck_tree {
    int root; // O_PATH; the process's root directory as well
    int self; // /proc/self/fd, held from before the change of root: descriptors as names
};

// A request, and what becomes of its answer.
struct ck_call {
    uint32_t flags;
    uint64_t a, b, c, d;
    char *path, *other; // not empty, writable; other is "" for ops without one
    int fd;             // that came along, or -1
    int channel;        // where LIST puts all of its answer but the last piece
    int reply_fd;       // OPEN: to be sent and closed, or -1
    struct ck_file_reply reply;
    char *text; // CK_FILE_MAX_TEXT bytes, of which reply.text_size count
};

// The ops: ck_file_OPEN and so on. 0 or -errno.
#define CK_FILE_PROTOTYPE(name, code) int ck_file_##name(struct ck_tree *tree, struct ck_call *call);
CK_FILE_OPS(CK_FILE_PROTOTYPE)
#undef CK_FILE_PROTOTYPE

// files.c
int ck_answer(struct ck_call *call);

// files_open.c: all descriptors are CLOEXEC and the caller's
int ck_tree_open(const struct ck_tree *tree, const char *path, int flags);
int ck_tree_parent(const struct ck_tree *tree, char *path, const char **name); // -EBUSY: it is the root
int ck_tree_reopen(const struct ck_tree *tree, int fd, int flags);             // an O_PATH one, for use
int ck_tree_chmod(const struct ck_tree *tree, int fd, uint64_t mode);
int ck_stat_fd(int fd, struct statx *about);

#endif
