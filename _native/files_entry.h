// files_entry.h: one entry after the other out of a tar stream; nothing here touches a file.
//
// The reader hands out names without ".", "..", doubled or leading slashes, numbers in range and kinds
// it knows. Everything else is refused with a reason; so is what readers in the field read differently
// (tests/unit/native/test_tar.py compares them).
#ifndef CK_FILES_ENTRY_H
#define CK_FILES_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "files.h"

#define CK_TAR_BLOCK 512u
#define CK_TAR_BUFFER                                                                                        \
    (256u << 10) // what one read asks for: small enough for the cache between read and write
#define CK_TAR_MAX_EXTENSION (1u << 20) // bytes of one pax header; Go's reader has the same limit
#define CK_TAR_MAX_COMPONENT 255u       // NAME_MAX
#define CK_TAR_NO_ID UINT32_MAX         // chown(2) reads it as "leave it"

enum ck_tar_kind {
    CK_TAR_FILE,
    CK_TAR_HARDLINK,
    CK_TAR_SYMLINK,
    CK_TAR_DIRECTORY,
    CK_TAR_CHARACTER,
    CK_TAR_BLOCKDEV,
    CK_TAR_FIFO
};

struct ck_tar_entry {
    enum ck_tar_kind kind;
    uint32_t mode; // 07777
    uint32_t uid, gid, major, minor;
    uint64_t size;      // of the content that follows
    uint64_t real_size; // of the file, with its holes
    bool sparse;
    int64_t mtime; // seconds
    uint32_t mtime_ns;
    uint32_t name_size;
    char name[CK_FILE_MAX_PATH]; // without its NUL name_size bytes; "" is the root
    char link[CK_FILE_MAX_PATH]; // a symlink's target as it is; a hard link's like a name
};

struct ck_tar_segment { // of a sparse file: where a part of the content goes
    uint64_t offset, size;
};

// Texts and numbers of extension headers, for the entry that comes next.
struct ck_tar_override {
    bool pax, gnu, global, has_path, has_link, has_size, has_uid, has_gid, has_mtime, has_device;
    uint32_t path_size, link_size;
    uint64_t size;
    uint32_t uid, gid;
    int64_t mtime;
    uint32_t mtime_ns;
    char path[CK_FILE_MAX_PATH]; // as the archive spells it
    char link[CK_FILE_MAX_PATH];
};

struct ck_tar {
    int source;
    enum ck_file_reason reason;
    size_t at, end;       // of what is in the buffer
    uint64_t left;        // of the present entry's content
    uint64_t padding;     // behind it
    uint64_t headers;     // entries and global headers
    uint64_t max_headers; // so many are read
    bool started, ended;
    size_t extension_size;
    uint32_t segments;          // of a sparse file, in `extension`
    char raw[CK_FILE_MAX_PATH]; // the present entry's name as the archive spells it
    struct ck_tar_entry entry;
    struct ck_tar_override override;
    char extension[CK_TAR_MAX_EXTENSION]; // the present entry's pax records, or its segments
    char buffer[CK_TAR_BUFFER];
};

struct ck_tar_xattr {
    const char *name; // behind "SCHILY.xattr."
    const void *value;
    size_t size;
};

// 1: an entry is there; 0: the archive ended; -EBADMSG with a reason, or what read(2) said.
int ck_tar_next(struct ck_tar *tar);
// The next piece of the entry's content, in the buffer; its size, 0 at the end, or as above.
long ck_tar_content(struct ck_tar *tar, const char **piece);
// The next extended attribute from *at on, which begins with 0.
bool ck_tar_next_xattr(const struct ck_tar *tar, size_t *at, struct ck_tar_xattr *xattr);
// The segments of a sparse entry, by number.
struct ck_tar_segment ck_tar_segment(const struct ck_tar *tar, uint32_t number);
// Read what is behind the archive, to the end of the stream.
int ck_tar_drain(struct ck_tar *tar);

// ---- between the reader's files ---------------------------------------------------------
int ck_tar_refuse(struct ck_tar *tar, enum ck_file_reason reason); // -EBADMSG
bool ck_tar_number(const char *field, size_t size, bool may_be_empty, int64_t *number);
bool ck_tar_are_numbers(const char *header);                  // all the fields that should be
int ck_tar_take(struct ck_tar *tar, char *to, uint64_t size); // content and padding of an extension
int ck_tar_read_pax(struct ck_tar *tar, uint64_t size, bool global);
int ck_tar_read_gnu_text(struct ck_tar *tar, uint64_t size, bool is_path);
int ck_tar_read_sparse(struct ck_tar *tar, const char *header);
int ck_tar_fill_entry(struct ck_tar *tar, const char *header);

#endif
