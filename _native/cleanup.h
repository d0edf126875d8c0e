// cleanup.h: ownership of descriptors made visible (cf. systemd, crun).
#ifndef CK_CLEANUP_H
#define CK_CLEANUP_H

#include "syscalls.h"

static inline void ck_close_at_exit(const int *fd) {
    if (*fd >= 0)
        ck_close(*fd);
}

// An int variable that closes its descriptor when it goes out of scope.
#define CK_CLOSE __attribute__((cleanup(ck_close_at_exit), unused))

// Hand a descriptor over: the variable no longer owns it.
static inline int ck_steal_fd(int *fd) {
    int taken = *fd;
    *fd = -1;
    return taken;
}

#endif
