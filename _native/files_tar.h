// files_tar.h: tar archives that somebody else wrote: read, judged, unpacked.
//
// Formats: ustar, pax (POSIX.1-2017, pax(1)), GNU tar's long names and numbers ("Basic Tar Format" in
// its manual), V7. Where readers in the field disagree about an archive it is refused, never guessed.
// Needs no libc and nothing of the rest of ck-files but resolve.c and removal.c.
#ifndef CK_FILES_TAR_H
#define CK_FILES_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "files.h"

// ---- unpacking (files_unpack.c) --------------------------------------------------------
struct ck_unpack {
    int source;    // a stream, read to its end (blocking: a pipe, a file)
    int root;      // O_PATH|O_DIRECTORY: where names, symlinks and hard links resolve
    int directory; // O_PATH|O_DIRECTORY at or below root: the entries' names are relative to it
    // How directory is reached from root, "" for root itself; symlinks in it are fine. Without it
    // (NULL) what lies above directory is out of reach: directory counts as the root.
    const char *path;
    uint32_t flags; // CK_FILE_*
    uint64_t max_bytes, max_entries;
    uint64_t uid, gid; // with CK_FILE_OWNER
    // Out, also after a failure:
    uint64_t entries;            // headers that were understood, global ones included
    uint64_t bytes;              // of regular files
    uint64_t devices;            // skipped
    uint32_t reason;             // enum ck_file_reason
    char name[CK_FILE_MAX_PATH]; // the entry that was at work when it failed, as the archive spells it
};

// 0; -EBADMSG for an archive that is refused; else what the kernel said (reason CK_TAR_SYSTEM).
// What was unpacked until then stays. The process's umask is changed meanwhile.
int ck_unpack(struct ck_unpack *unpack);

#endif
