// execute.h: what the ops share: the run they belong to and the way to find things in a root.
//
// Everything here runs in a process that may share the monitor's memory (CLONE_VM): raw system
// calls, memory prepared before the clone, nothing static that changes.
#ifndef CK_EXECUTE_H
#define CK_EXECUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "ckit.h"
#include "decode.h"

// A mount held by a descriptor. It is detached until it is attached: by ATTACH, which uses the
// slot up, or by MASK, which goes on with clones of it.
struct ck_slot {
    int fd; // -1: empty
    bool attached;
};

// One walk over a plan. Lives in the memory of ck_launch_prepare, below the child's stacks.
struct ck_run {
    struct ck_plan plan;
    struct ck_cursor rest; // the steps after the present one
    uint32_t step;         // index of the present one
    struct ck_outcome *outcome;
    int report;
    int target;
    int stdio[3];
    int root; // O_PATH descriptor of /, opened when needed; -1
    uint32_t namespaces;
    int cgroup; // to enter first, or -1
    bool own_memory;
    const char **pointers; // room for argv and envp
    void *stack;           // the lower end of this process's, or NULL
    struct ck_slot slot[CK_MAX_SLOTS];
};

#define CK_MNT_DETACH 2 // umount2(2); the kernel's headers for programs leave it out
#define CK_STACK_SIZE ((size_t)64 << 10)

// The ops: ck_do_ATTACH and so on, one for each line of CK_OPS. 0 or -errno.
#define CK_OP_PROTOTYPE(name, code, format) int ck_do_##name(struct ck_run *run, struct ck_field *field);
CK_OPS(CK_OP_PROTOTYPE)
#undef CK_OP_PROTOTYPE

// execute.c: a run of this plan that nothing else is known of; the plan must have been checked.
void ck_run_begin(struct ck_run *run, const struct ck_plan *plan, struct ck_outcome *outcome);

// Walk the rest of the plan: to its end (0), or to the step that fails (-errno; run->step says which).
int ck_walk_here(struct ck_run *run);

// The same, told by the outcome; ends the process.
__attribute__((noreturn)) void ck_walk(struct ck_run *run);

// Errors of system calls that return something else on success.
static inline int ck_status(long result) {
    return result < 0 ? (int)result : 0;
}

// ops_gather.c
int ck_slot_fd(const struct ck_run *run, uint64_t slot);
int ck_slot_fill(struct ck_run *run, uint64_t slot, int *fd); // takes the descriptor over; *fd may be -errno
int ck_fsconfig(int context, unsigned command, const char *key, const void *value, int aux);
int ck_set_options(int context, struct ck_strings options);
int ck_finish_filesystem(struct ck_run *run, uint64_t slot, int context, uint64_t attributes);
int ck_make_slave(void);
int ck_open_scratch(const struct ck_run *run); // the working directory, in a mount namespace of our own
int ck_clone_mount(int fd, bool recursive);
int ck_move_mount(int mount, int target);
int ck_set_attributes(int mount, uint64_t attributes, bool recursive);

// ops_attach.c: the process's root directory, and opening beneath it
int ck_root(struct ck_run *run);
void ck_forget_root(struct ck_run *run);
int ck_open_inside(struct ck_run *run, const char *path, int flags, uint64_t resolve);

// 0, or -ENODEV for anything but a null device.
int ck_check_null_device(int fd);

// ops_process.c
int ck_start_session(void); // 0 when leader of one already
uint64_t ck_namespace_flags(uint64_t ours);

// reaper.c: what FORK_INIT leaves behind.
__attribute__((noreturn)) void ck_reap(int main_child, bool subreaper, bool dumpable, int proc);
int ck_open_own_proc(struct ck_run *run); // -1 when there is none to rely on

#endif
