// ckit.h: the wire between Python, the monitor and the container's init.
//
// Everything here is append-only: Python's half is container_kit/_plan (ops.py,
// settings.py) and container_kit/_runtime/messages.py; tests/unit/native compares both.
// Integers are host-endian; the two ends are always on the same machine.
#ifndef CKIT_H
#define CKIT_H

#include <stdint.h>

// ---- the request: one sealed memfd -----------------------------------------
// struct ck_request, its section table, then the sections themselves.

#define CK_MAGIC 0x31544b43u // "CKT1"
#define CK_VERSION 1u

enum ck_section_kind {
    CK_SECTION_SETTINGS = 1, // one record of fields, see CK_SETTINGS_FORMAT
    CK_SECTION_PLAN = 2,     // the steps of a launch or exec plan
    CK_SECTION_HEALTH = 3,   // an exec plan, run again and again by the monitor
};

struct ck_section {
    uint32_t kind;
    uint32_t offset; // from the start of the request, 8-aligned
    uint32_t size;   // bytes
    uint32_t count;  // PLAN, HEALTH: number of steps
};

#define CK_MAX_SECTIONS 4u

struct ck_request {
    uint32_t magic;
    uint32_t version;
    uint32_t size; // of the whole request in bytes
    uint32_t section_count;
    struct ck_section section[CK_MAX_SECTIONS]; // always four; unused ones are zero
};

// ---- a step ------------------------------------------------------------------
// struct ck_step, then its fields in the order of its format, padded to 4 bytes:
//   s  slot     u32, < CK_MAX_SLOTS
//   u  u32
//   U  u64      (4-aligned)
//   p  path     u32 length, the bytes, one NUL at least, zero padding to 4
//   b  bytes    as p (the NUL is not part of it)
//   S  strings  u32 count, then that many p
// A step's number, as reported, is its index in the plan from 0.

#define CK_MAX_SLOTS 128u
#define CK_MAX_STEPS 4096u

struct ck_step {
    uint32_t code; // enum ck_op
    uint32_t size; // of this header and the fields, a multiple of 4
};

//      name                code  format
#define CK_OPS(X)                                                                                            \
    /* gather: new namespaces, old root, working directory = the container's directory */                    \
    X(NEW_FILESYSTEM, 1, "spuS")          /* slot, fstype, mount attributes, options "k" | "k=v" */          \
    X(NEW_OVERLAY, 2, "sSppuS")           /* slot, lower dirs (topmost first), upper, work, form, options */ \
    X(OPEN_TREE, 3, "spu")                /* slot, host path, recursive */                                   \
    X(OPEN_SUBTREE, 4, "ssp")             /* slot, of this slot, the entry at this path */                   \
    X(SET_MOUNT_ATTR, 5, "suu")           /* slot, mount attributes to set, recursive */                     \
    X(SLOT_DIR, 6, "spu")                 /* slot, relative path, mode */                                    \
    X(SLOT_FILE, 7, "spub")               /* slot, relative path, mode, contents */                          \
    X(SLOT_NODE, 8, "spuuu")              /* slot, relative path, mode with type, major, minor */            \
    X(SLOT_SYMLINK, 9, "spp")             /* slot, relative path, target */                                  \
    X(WRITE_PROC, 10, "spb")              /* slot of a proc mount, path below it, contents */                \
    X(LOOPBACK_UP, 11, "")                /* bring lo up in the new network namespace */                     \
    X(JOIN_NAMESPACES, 12, "u")           /* namespaces of the target pidfd */                               \
    X(PARENT_DEATH_SIGNAL, 13, "u")       /* signal */                                                       \
    X(START_SESSION, 14, "")              /* setsid */                                                       \
    X(PROCESS_FILE, 15, "pb")             /* path below the host's /proc/self, contents; own memory */       \
    X(MAKE_USER_NAMESPACE, 16, "sbb")     /* slot, uid map, gid map */                                       \
    X(RAISE_LIMIT, 17, "uU")              /* resource, hard limit it has at least */                         \
    X(NEW_MAPPED_OVERLAY, 18, "sSppuSsu") /* as NEW_OVERLAY, slot of a user namespace, lowers as well */     \
    X(ENTER_USER_NAMESPACE, 19, "su")     /* slot; the process that goes on has these new namespaces */      \
    X(SLOT_TARGET, 26, "spu")             /* slot, path inside, whether a directory: made if missing */      \
    /* the change of root */                                                                                 \
    X(PIVOT, 20, "s") /* slot becomes /; the old root is detached */                                         \
    /* attach: inside the new root */                                                                        \
    X(ATTACH, 21, "spu")      /* slot, target, CK_ATTACH flags */                                            \
    X(MAKE_DIR, 22, "puuu")   /* path (with parents), mode, uid, gid */                                      \
    X(MASK, 23, "ssp")        /* slot of /dev/null, slot of an empty directory, path; absent is fine */      \
    X(READ_ONLY, 24, "pu")    /* path, recursive; absent is fine */                                          \
    X(READ_ONLY_ROOT, 25, "") /* the root mount itself */                                                    \
    /* confine: who the process is and what it may do */                                                     \
    X(HOSTNAME, 40, "pp")    /* host name, domain name ("" leaves it) */                                     \
    X(RLIMIT, 41, "uUU")     /* resource, soft, hard */                                                      \
    X(BOUNDING_SET, 42, "U") /* capabilities that stay */                                                    \
    X(GROUPS, 43, "b")       /* supplementary gids as u32 array */                                           \
    X(GID, 44, "u")                                                                                          \
    X(UID, 45, "u")                                                                                          \
    X(CAPABILITIES, 46, "UU") /* effective and permitted; ambient and inheritable */                         \
    X(NO_NEW_PRIVS, 47, "")                                                                                  \
    X(SECCOMP, 48, "b")    /* struct sock_filter array */                                                    \
    X(TERMINAL, 49, "puu") /* path of devpts, rows, columns: becomes stdio and the controlling tty */        \
    X(CHDIR, 50, "p")                                                                                        \
    X(UMASK, 51, "u")                                                                                        \
    X(FORK_INIT, 52, "u")          /* stay behind as a reaper (CK_INIT flags); the child goes on */          \
    X(READY, 53, "")               /* wait for the monitor's word that all is recorded */                    \
    X(ENTER_PID_NAMESPACE, 54, "") /* joined before; go on in a child inside, with memory of its own */      \
    X(SESSION_KEYRING, 56, "")     /* a new one: the caller's keys are out of reach */                       \
    X(FLAGGED_SECCOMP, 57, "bu")   /* struct sock_filter array, CK_FILTER flags */                           \
    X(NULL_STDIO, 58, "")          /* the host's null device as stdio becomes the container's */             \
    X(EXEC, 60, "SSS")             /* candidate paths, argv, env */

enum ck_op {
#define CK_OP_ENUM(name, code, format) CK_OP_##name = code,
    CK_OPS(CK_OP_ENUM)
#undef CK_OP_ENUM
};
#define CK_OP_LIMIT 64u

// Mount attributes, on the wire; C maps them to MOUNT_ATTR_*.
#define CK_ATTR_READ_ONLY 0x1u
#define CK_ATTR_NOSUID 0x2u
#define CK_ATTR_NODEV 0x4u
#define CK_ATTR_NOEXEC 0x8u
#define CK_ATTR_NOATIME 0x10u
#define CK_ATTR_STRICTATIME 0x20u
#define CK_ATTR_PRIVATE 0x40u // propagation
#define CK_ATTR_SLAVE 0x80u

// NEW_OVERLAY: how the layers are named to the kernel. Every form opens each lower
// directory first, so neither path length nor a colon in a path matters.
#define CK_OVERLAY_FD 1u     // FSCONFIG_SET_FD, Linux 6.13
#define CK_OVERLAY_APPEND 2u // lowerdir+=/proc/self/fd/N, Linux 6.5
#define CK_OVERLAY_JOINED 3u // mount(2) with one lowerdir=a:b string, any

// ATTACH
#define CK_ATTACH_MAKE_DIR 0x1u  // create the target, with parents, if missing
#define CK_ATTACH_MAKE_FILE 0x2u // the same for a file
#define CK_ATTACH_ORDINARY 0x4u  // refuse symlinks anywhere in the target (/proc, /dev, /sys)

// JOIN_NAMESPACES and the settings' namespaces
#define CK_NS_USER 0x1u
#define CK_NS_MOUNT 0x2u
#define CK_NS_PID 0x4u
#define CK_NS_IPC 0x8u
#define CK_NS_UTS 0x10u
#define CK_NS_NET 0x20u
#define CK_NS_CGROUP 0x40u

// FORK_INIT
#define CK_INIT_SUBREAPER 0x1u // not PID 1: adopt orphans, and end them all on SIGUSR1
#define CK_INIT_DUMPABLE 0x2u  // its /proc entry and namespaces are open to the user it belongs to (prctl(2))

// FLAGGED_SECCOMP
#define CK_FILTER_LOG 0x1u        // refused calls are told to the kernel's audit log
#define CK_FILTER_SPEC_ALLOW 0x2u // without the mitigation of speculative store bypass

// RLIMIT resources are Linux's own numbers on x86-64 and arm64 (asm-generic).

// ---- settings of one container's monitor ---------------------------------------
// One record, fields as in a step, in this order.
//   u flags (CK_SET_*)          u owner_pid             u namespaces (CK_NS_*)
//   p container_dir             p runtime_dir           S dirs      (below container_dir, made if missing)
//   u dir_mode                  p cgroup_parent ("": none)          p cgroup_name
//   S cgroup_writes             (file, value, file, value, …; CK_OPTIONAL_FILE before a file that may be absent)
//   u stop_signal               U stop_timeout_ms
//   u restart (CK_RESTART_*)    u restart_max (0: no bound)
//   U log_max_bytes             u log_max_files
//   U health_interval_ms        U health_timeout_ms     u health_retries
//   U health_start_period_ms    U health_start_interval_ms
//   U time_limit_ms             (of each run, from its exec on; 0: none)
#define CK_SETTINGS_FORMAT "uuuppSuppSuUuuUuUUuUUU"

#define CK_SET_OWNED 0x1u        // end the container when the owner process is gone or lets go
#define CK_SET_REMOVE 0x2u       // remove container_dir, runtime_dir and cgroup at the end
#define CK_SET_REMOVE_OWNED 0x4u // the same, but only when the owner is gone or lets go
#define CK_SET_TERMINAL 0x8u     // the plan has a TERMINAL step: a pty is stdio
#define CK_SET_STDIN 0x10u       // keep stdin open for attach (else /dev/null)
#define CK_SET_LOG 0x20u         // stdout and stderr go to container_dir/log through the monitor
#define CK_SET_DIRECT 0x40u      // the inherited CK_FD_STD* are the container's stdio
#define CK_SET_OWN_MEMORY 0x80u  // the plan has FORK_INIT or PROCESS_FILE: clone without CLONE_VM
#define CK_SET_PROBE 0x100u      // run the plan to its end, report, exit; nothing is written to disk
#define CK_SET_DIRTY_WORK 0x200u // overlay work directories may hold a "volatile" mark: clear before each run
#define CK_SET_REMOVE_ONLY 0x400u   // run nothing: remove container_dir and runtime_dir, say EXITED, exit
#define CK_SET_KEEP_STATE 0x800u    // with CK_SET_REMOVE: the state file stays, to say how it ended
#define CK_SET_ENTER_CGROUP 0x1000u // join the cgroup by its cgroup.procs rather than by CLONE_INTO_CGROUP
#define CK_SET_STAGES 0x2000u       // the plan has ENTER_USER_NAMESPACE: what goes on there is init

#define CK_RESTART_NO 0u
#define CK_RESTART_ALWAYS 1u
#define CK_RESTART_ON_FAILURE 2u
#define CK_RESTART_UNLESS_STOPPED 3u

// Descriptors the monitor starts with.
#define CK_FD_REQUEST 3
#define CK_FD_OWNER 4  // SOCK_SEQPACKET to the process that launches
#define CK_FD_USERNS 5 // joined before anything else, when present
#define CK_FD_STDIN 6  // CK_SET_DIRECT
#define CK_FD_STDOUT 7
#define CK_FD_STDERR 8
#define CK_FD_DEVICES 9 // a filter for each of the container's cgroups (BPF_CGROUP_DEVICE), when present
#define CK_FD_IDS 10    // a lock on the container's ids: held, never used, when present
#define CK_FD_COUNT 8u  // 3 … 10

// ---- what a launch came to -------------------------------------------------------
// Written by the process that executes the plan, in memory it shares with the monitor.

enum ck_outcome_state {
    CK_OUTCOME_PENDING = 0,
    CK_OUTCOME_FAILED = 1, // step and error say what
    CK_OUTCOME_DONE = 2,   // a plan without EXEC came to its end
};

struct ck_outcome {
    uint32_t state;
    uint32_t step;
    int32_t error;   // errno, positive
    uint32_t detail; // EXEC: 1 + index of a candidate that exists although the exec said ENOENT
    int32_t pid; // ENTER_PID_NAMESPACE, ENTER_USER_NAMESPACE: the process that went on, seen from the monitor
    uint32_t ready;                          // futex: the monitor sets 1 when READY may pass
    uint64_t began_ns, confined_ns, exec_ns; // monotonic: first instruction, first confine step, EXEC
};

// ---- messages: owner channel and control socket (SOCK_SEQPACKET) --------------------

struct ck_message {
    uint32_t type; // enum ck_message_type
    uint32_t flags;
    int32_t value;
    uint32_t step;
    int32_t error;
    uint32_t detail;
    uint64_t a, b, c;
};

enum ck_message_type {
    // monitor → client
    CK_MSG_STARTED = 1, // value = pid in the host's (the monitor's) pid namespace; a, b, c = ns spent on
                        // new namespaces, on mounts, on confining; detail = µs of the exec
    CK_MSG_FAILED = 2,  // step, error, detail; step = CK_STEP_* when no step is to blame
    CK_MSG_EXITED =
        3, // value = wait(2) status, flags = CK_EXIT_*, a = user µs, b = system µs, c = max RSS KiB;
           // step, error when it is over because a restart could not launch; detail = µs of cleaning up
    CK_MSG_OK = 4,
    CK_MSG_ERROR = 5, // error
    CK_MSG_TTY = 6,   // one descriptor: the pty's master
    // client → monitor; the owner's channel takes all of them, ATTACH before GO as well
    CK_MSG_GO = 16,        // owner channel: the intent is recorded, start
    CK_MSG_DETACH = 17,    // owner channel: the owner lets go without ending the container
    CK_MSG_SIGNAL = 18,    // value = signal: to init, or in an exec session to its process
    CK_MSG_STOP = 19,      // value = signal or 0, a = ms or CK_DEFAULT_TIMEOUT; answered by EXITED
    CK_MSG_WAIT = 20,      // answered by EXITED when the container is over (restarts included)
    CK_MSG_EXEC = 21,      // flags CK_EXEC_*, descriptors: plan memfd[, stdin, stdout, stderr];
                           // ERROR: ESRCH not running, EBUSY paused, EAGAIN too many at once
    CK_MSG_KILL_TREE = 22, // in an exec session: end it and everything it started
    CK_MSG_ATTACH = 23,    // flags CK_ATTACH_IO_*; pipes: stdout[, stderr], which become non-blocking;
                           // answered by OK [+ stdin; a pty's master is non-blocking]
    CK_MSG_CLOSE_STDIN = 24,
    CK_MSG_RESIZE = 25,         // value = rows << 16 | columns
    CK_MSG_RESTART_POLICY = 26, // value = CK_RESTART_*, a = maximum
    CK_MSG_LIMITS = 27, // descriptor: memfd of CK_LIMITS_FORMAT; ERROR: detail = the write that failed,
                        // from 1 (0: none was tried); those before it are undone
};

#define CK_DEFAULT_TIMEOUT UINT64_MAX

#define CK_OPTIONAL_FILE '?'

// What CK_MSG_LIMITS brings, as in a record, each list as cgroup_writes:
//   S to write now              S what undoes each of them       S what later runs begin with
#define CK_LIMITS_FORMAT "SSS"

// CK_MSG_FAILED.step when it was not a step of the plan.
#define CK_STEP_REQUEST 0x80000001u  // the request could not be decoded
#define CK_STEP_USERNS 0x80000002u   // joining the user namespace
#define CK_STEP_DIRS 0x80000003u     // making the container's directories
#define CK_STEP_RUNTIME 0x80000004u  // state file, control socket
#define CK_STEP_CGROUP 0x80000005u   // making or filling the cgroup; detail: the write that failed, from 1
#define CK_DETAIL_DEVICES UINT32_MAX // CK_STEP_CGROUP: it was the device filter
#define CK_STEP_STDIO 0x80000006u    // pipes, log file
#define CK_STEP_CLONE 0x80000007u    // clone3
#define CK_STEP_LOST 0x80000008u     // init ended before the plan did (killed from outside)

#define CK_EXIT_OOM 0x1u         // the cgroup counted an OOM kill
#define CK_EXIT_STOPPED 0x2u     // ended on request (stop, kill, owner gone)
#define CK_EXIT_FORCED 0x4u      // the stop timeout ran out and SIGKILL was sent
#define CK_EXIT_CLEAN 0x8u       // everything of CK_SET_REMOVE is gone
#define CK_EXIT_TIME_LIMIT 0x10u // the run lasted longer than time_limit_ms and was killed

#define CK_EXEC_DETACH 0x1u
#define CK_EXEC_TERMINAL 0x2u   // the plan has TERMINAL: no stdio descriptors, a CK_MSG_TTY comes back
#define CK_EXEC_OWN_MEMORY 0x4u // the plan has FORK_INIT or PROCESS_FILE

#define CK_ATTACH_IO_STDIN 0x1u   // answer with the write end of stdin (or the pty's master)
#define CK_ATTACH_IO_SLOW_OK 0x2u // never hold the container back: drop output instead

#endif
