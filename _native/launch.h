// launch.h: run a plan in a new process. The door between the monitor and the executor.
//
// The monitor prepares a launch (all memory the child will need), clones, and goes on; the
// child walks the steps and ends in execve or in an exit with its outcome written.
#ifndef CK_LAUNCH_H
#define CK_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ckit.h"

struct ck_plan {
    const unsigned char *steps; // checked by ck_check_plan
    uint32_t size;
    uint32_t count;
};

struct ck_launch {
    // given by the caller before ck_launch_clone
    struct ck_plan plan;
    int report;          // the child's end of a SOCK_SEQPACKET pair, CLOEXEC: EOF on the other end means
                         // that the exec happened or the child is dead; TERMINAL sends its master here
    int stdio[3];        // become 0, 1, 2 before the first step; -1 where TERMINAL will provide
    int target;          // pidfd for JOIN_NAMESPACES, else -1
    int cgroup;          // O_DIRECTORY descriptor of the cgroup to start in, else -1
    uint32_t namespaces; // CK_NS_*: new namespaces for the child (0 for exec plans)
    bool own_memory;     // no CLONE_VM: the plan has FORK_INIT or PROCESS_FILE
    bool enter_cgroup;   // the child joins the cgroup itself, as its first act (CK_SET_ENTER_CGROUP)
    // set by ck_launch_prepare
    struct ck_outcome *outcome; // MAP_SHARED, valid until ck_launch_release
    void *memory;
    size_t memory_size;
};

// Validate a whole plan against CK_OPS: codes, sizes, field bounds, NULs, slot numbers. 0 or -errno.
// A plan that passes cannot make the executor read out of bounds.
int ck_check_plan(const struct ck_plan *plan);

// Map the memory the child needs (stacks, outcome, argv/envp arrays, slot table). 0 or -errno.
int ck_launch_prepare(struct ck_launch *launch);

// clone3 the child. Returns its pid in the caller's namespace, or -errno. *pidfd gets a CLOEXEC pidfd.
// The child has default signal dispositions and, at exec, an empty signal mask.
// With ENTER_PID_NAMESPACE or ENTER_USER_NAMESPACE the process that goes on is another one: its pid is
// outcome->pid once the report socket says EOF or the cloned one was reaped; it is a child of the caller
// too (CLONE_PARENT).
long ck_launch_clone(struct ck_launch *launch, int *pidfd);

// Let READY pass (sets outcome->ready and wakes the child).
void ck_launch_ready(struct ck_launch *launch);

// Unmap. Only after EOF on the report socket or after the child was reaped.
void ck_launch_release(struct ck_launch *launch);

// The exit status of a child whose launch failed.
#define CK_EXIT_LAUNCH_FAILED 125

#endif
