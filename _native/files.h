// files.h: the wire between Python and ck-files, the program that acts on trees of files whose names,
// owners and contents somebody else chose: image layers and the roots of containers.
//
// It starts like a monitor (spawn.h): a request with a plan on descriptor 3, the conversation on 4
// (SOCK_SEQPACKET), a user namespace to join on 5, a container's pidfd on 6. It walks the plan, which
// ends with its root directory being the tree, and then answers one request after another until the
// other end closes. Whatever a path or an archive says, it resolves in that root; no magic links.
// Python's half is container_kit/_files; numbers are append-only, integers host-endian.
#ifndef CK_FILES_H
#define CK_FILES_H

#include <stdint.h>

// op            a             b             c            d            path / other      → reply
#define CK_FILE_OPS(X)                                                                                       \
    X(READY, 0) /* never sent; the first reply, when the plan has been walked */                             \
    X(OPEN, 1)  /* flags of open(2) in a, mode in b → a descriptor; only files and directories */            \
    X(STAT, 2)  /* CK_FILE_NOFOLLOW → struct ck_file_status as text */                                       \
    X(READLINK, 3)                                                                                           \
    X(LIST, 4)    /* → replies with CK_REPLY_MORE, entries as text: type byte (d_type), name, NUL */         \
    X(MKDIR, 5)   /* mode in a; CK_FILE_PARENTS, CK_FILE_EXIST_OK */                                         \
    X(REMOVE, 6)  /* CK_FILE_RECURSIVE; of the root itself: what is in it */                                 \
    X(RENAME, 7)  /* path → other */                                                                         \
    X(SYMLINK, 8) /* other is the target */                                                                  \
    X(LINK, 9)    /* other is the new name */                                                                \
    X(CHMOD, 10)  /* mode in a */                                                                            \
    X(CHOWN, 11)  /* uid in a, gid in b; CK_FILE_NOFOLLOW */                                                 \
    X(UTIME, 12)  /* atime ns in a, mtime ns in b (signed); CK_FILE_NOFOLLOW */                              \
    X(UNPACK, 13) /* a tar stream on the descriptor into directory path; most bytes in a, most entries */    \
                  /* in b, owner in c and d → a entries, b bytes, c devices skipped */                       \
    X(PACK, 14)   /* path as a tar stream to the descriptor, named other in it; latest mtime ns in a (or */  \
                  /* CK_FILE_ANY_TIME), owner in c and d → a entries, b bytes, c left out: sockets, */       \
                  /* in layers names that would be whiteouts. The text of a failure is the entry's name. */

enum ck_file_op {
#define CK_FILE_OP_CODE(name, code) CK_FILE_##name = code,
    CK_FILE_OPS(CK_FILE_OP_CODE)
#undef CK_FILE_OP_CODE
};

enum ck_file_flag {
    CK_FILE_NOFOLLOW = 0x1,     // STAT, CHOWN, UTIME: the symlink itself
    CK_FILE_PARENTS = 0x2,      // MKDIR: missing parents too
    CK_FILE_EXIST_OK = 0x4,     // MKDIR: fine when it is a directory already
    CK_FILE_RECURSIVE = 0x8,    // REMOVE
    CK_FILE_LAYER = 0x10,       // UNPACK: whiteouts become overlayfs's; PACK: overlayfs's become .wh. entries
    CK_FILE_USER_XATTR = 0x20,  // with LAYER: overlay attributes are user.overlay.*, else trusted.overlay.*
    CK_FILE_OWNER = 0x40,       // UNPACK, PACK: everything belongs to c (uid) and d (gid)
    CK_FILE_NO_OWNER = 0x80,    // UNPACK: ids are not applied (a user namespace with a single id)
    CK_FILE_NO_DEVICES = 0x100, // UNPACK: device nodes are skipped and counted
    CK_FILE_REPLACE = 0x200,    // UNPACK: an entry replaces what is there (cp); layers always do
    CK_FILE_HEADERS = 0x400,    // PACK: sizes are 0 and there is no content
    CK_FILE_ONE_MOUNT = 0x800,  // PACK: what is mounted below is left out, its mount point is empty
    CK_FILE_NO_RECURSE = 0x1000, // PACK: only path itself
    CK_FILE_NO_SET_ID = 0x2000,  // UNPACK: set-id bits and file capabilities are left out
    CK_FILE_KEEP_KIND = 0x4000   // UNPACK: a directory replaces nothing else, and nothing else a directory
};

#define CK_FILE_ANY_TIME UINT64_MAX
#define CK_FILE_MAX_PATH 4096u // with its NUL; so has other
#define CK_FILE_MAX_TEXT 32768u

struct ck_file_request { // then path, NUL, other, NUL; one descriptor beside it where the op takes one
    uint32_t op;
    uint32_t flags;
    uint64_t a, b, c, d;
    uint32_t path_size; // with its NUL, at least 1
    uint32_t other_size;
};

enum ck_file_reason { // what an archive was refused for; the reply's text is the entry's name
    CK_TAR_OK = 0,
    CK_TAR_HEADER = 1,    // malformed header: checksum, number, magic
    CK_TAR_EXTENSION = 2, // malformed or unknown pax or GNU extension
    CK_TAR_TRUNCATED = 3,
    CK_TAR_NAME = 4,     // empty, too long, "..", NUL, or the root with another type
    CK_TAR_LINK = 5,     // a hard link to nothing, to a directory or out of the tree
    CK_TAR_BYTES = 6,    // more bytes than allowed
    CK_TAR_ENTRIES = 7,  // more entries than allowed
    CK_TAR_WHITEOUT = 8, // a malformed whiteout
    CK_TAR_TYPE = 9,     // an entry type that is not known, or a device number out of range
    CK_TAR_SYSTEM = 10,  // error says what the kernel said
};

#define CK_REPLY_MORE 0x1u

struct ck_file_reply { // then text; one descriptor beside it for OPEN
    int32_t error;     // errno, 0 for success
    uint32_t reason;   // enum ck_file_reason
    uint32_t flags;
    uint32_t text_size;
    uint32_t step; // READY: the step of the plan that failed, CK_STEP_* included
    uint32_t pad;
    uint64_t a, b, c;
};

struct ck_file_status {
    uint64_t inode, device, size, device_number;
    int64_t mtime_ns, atime_ns, ctime_ns;
    uint32_t mode, uid, gid, links;
};

#endif
