// spawn.h: processes that are started beside a running Python: our programs, and the holder of a
// user namespace. Any thread may call; nothing of the caller is forked or changed.
#ifndef CK_SPAWN_H
#define CK_SPAWN_H

#include <stdint.h>

#include "ckit.h"

// A program that was started. The pidfd is CLOEXEC; it and the process are the caller's.
struct ck_spawned {
    int pid;
    int pidfd;
    void *memory; // what it lives in until its exec; NULL afterwards
};

// Start one of our programs: fds[i] becomes descriptor 3 + i, -1 is left out, stdio is /dev/null.
// It has its name and no arguments, an empty environment, a session of its own, default dispositions and every
// signal blocked. Comes back when it has been executed. 0 or -errno.
int ck_spawn(int program, const char *name, const int fds[CK_FD_COUNT], struct ck_spawned *spawned);

// The same without waiting for the exec, which may still fail: then the process ends, and ck_spawn_end says why.
int ck_spawn_begin(int program, const char *name, const int fds[CK_FD_COUNT], struct ck_spawned *spawned);

// Give the memory back: once something was heard of the program, or after its process ended. 0 or -errno of the exec.
int ck_spawn_end(struct ck_spawned *spawned);

// A process that does nothing but keep a new user namespace open.
struct ck_userns_holder {
    int pid;
    int pidfd;
    int release; // write end of a pipe: the holder ends when the last copy of it is closed
    void *stack;
};

// Make a user namespace without maps. The caller writes /proc/<pid>/{uid_map,gid_map,setgroups},
// opens /proc/<pid>/ns/user, and releases the holder. 0 or -errno.
int ck_hold_userns(struct ck_userns_holder *holder);
void ck_release_userns(struct ck_userns_holder *holder);

#endif
