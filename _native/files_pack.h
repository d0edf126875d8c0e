// files_pack.h: what makes a tar stream out of a tree (PACK in files.h).
//
// The format is ustar with pax extended headers where ustar has no room: long names, large numbers, times
// before 1970 or with a fraction, extended attributes (pax(1); SCHILY.xattr as star and GNU tar write them).
// The same tree gives the same bytes. All memory is one mapping that is reserved, not used.
#ifndef CK_FILES_PACK_H
#define CK_FILES_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "files_tree.h"
#include "monitor_format.h"

#define CK_BLOCK 512u
#define CK_PACK_BUFFER (1u << 20)
#define CK_PACK_PAX (1u << 20)     // all extended headers of one entry
#define CK_PACK_XATTRS 65536u      // the most that listxattr(2) and getxattr(2) give
#define CK_PACK_NAMES (256u << 20) // names of the directories that are open at once, and of hard links

// One archive entry. The name of a directory ends in a slash.
struct ck_entry_header {
    const char *name;
    const char *link; // "" without
    char type; // of ustar: '0' file, '1' hard link, '2' symlink, '3' '4' devices, '5' directory, '6' FIFO
    uint32_t mode, major, minor;
    uint64_t uid, gid, size;
    int64_t seconds;
    uint32_t nanoseconds;
};

// files_pack_header.c: pure. The header blocks of an entry; `pax` holds the records of its extended
// attributes already. False when something does not fit into `pax`.
bool ck_put_record(struct ck_writer *pax, const char *key, const char *more, const char *value, size_t size);
bool ck_put_entry(struct ck_writer *out, struct ck_writer *pax, const struct ck_entry_header *entry);
#define CK_HEADER_MOST (CK_PACK_PAX + 4 * CK_BLOCK) // bytes of it at most

// files_pack_stream.c: the way out, buffered; the first error stays.
struct ck_stream {
    int fd;
    int error;
    size_t used;
    char buffer[CK_PACK_BUFFER + CK_HEADER_MOST]; // flushed beyond the former size
};
void ck_stream_flush(struct ck_stream *out);
void ck_stream_zeros(struct ck_stream *out, uint64_t count);
// So many bytes of a file, zeros where it has become shorter, and up to the next block. 0 or -errno of reading.
int ck_stream_file(struct ck_stream *out, int file, uint64_t size);

// files_pack_names.c: sorted names of a directory, and where files with several names were met first.
struct ck_names { // grows upwards in memory that is given back from the top
    char *memory;
    size_t used, capacity;
};
struct ck_listing {
    const char **name; // sorted by their bytes
    size_t count;
    size_t before; // what was used: to be set back to when done
};
int ck_list_sorted(struct ck_names *names, int dir, struct ck_listing *listing);
const char **ck_sort_names(const char **names, const char **other, size_t count); // in one of the two

struct ck_link {
    uint64_t device, inode;
    const char *name; // NULL: free
};
struct ck_links {
    struct ck_link *slot;
    size_t count, capacity; // a power of two, or 0
    struct ck_names names;
};
// The name under which a file was packed before, or NULL in *first: then `name` is it from now on. 0 or -errno.
int ck_find_link(struct ck_links *links, uint64_t device, uint64_t inode, const char *name,
                 const char **first);
void ck_release_links(struct ck_links *links);

// files_pack_xattr.c: the extended attributes of an open file that belong into an archive, as pax records, in
// the order of their names; and what overlayfs says in them (with CK_FILE_LAYER).
struct ck_xattrs {
    char list[CK_PACK_XATTRS], value[CK_PACK_XATTRS];
    const char *name[2][CK_PACK_XATTRS / 4];
    struct ck_writer pax; // filled
    bool opaque, whiteout;
};
int ck_read_xattrs(struct ck_xattrs *xattrs, int file, uint32_t flags);

#endif
