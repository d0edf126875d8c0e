// resolve.h: paths in a tree that somebody else controls.
//
// A container decides what its symlinks say. So no path into its tree is handed to a system
// call that would follow them from our root: openat2(2) resolves inside a given directory, and
// what is done then is done to the descriptor.
#ifndef CK_RESOLVE_H
#define CK_RESOLVE_H

#include <linux/openat2.h>
#include <linux/stat.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef S_IFMT // beside a libc's headers the kernel's leave these out
#define S_IFMT 0170000
#define S_IFCHR 0020000
#define S_IFDIR 0040000
#define S_IFREG 0100000
#endif

#define CK_PATH_MAX 4096

// Absolute paths and symlinks start at the directory; /proc's magic links lead nowhere.
#define CK_INSIDE (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
#define CK_INSIDE_ORDINARY (CK_INSIDE | RESOLVE_NO_SYMLINKS)

// openat2 with O_CLOEXEC. A descriptor or -errno.
int ck_open_at(int directory, const char *path, int flags, uint64_t resolve);

// Open (O_PATH) what is at a path, making what is missing: directories on the way, and at the end
// a directory or an empty file as mode says (S_IFDIR, S_IFREG). *made tells whether the last was made.
int ck_open_or_make(int root, const char *path, uint32_t mode, uint64_t resolve, bool *made);

// Open (O_PATH) the directory that holds the last component of a path; *name is that component.
int ck_open_parent(int root, const char *path, const char **name);

#endif
