"""The seccomp profiles, as data: which system calls a container may make.

`DOCKER_PROFILE` decides as Docker's default profile does under runc (moby/profiles,
seccomp/default.json, June 2026), for x86-64 and arm64 with the 32-bit programs they run;
only names that one of these has are listed. Never allowed, whatever the capabilities:
keyrings, io_uring, userfaultfd, kexec, swap, pivot_root, page migration, and what Linux
no longer has.

`DEFAULT_PROFILE` is the same but for what `STRICTER_THAN_DOCKER` lists, `STRICT_PROFILE`
is the default without what `LEFT_OUT` lists, and looks closer at some arguments. It is
for code that nobody vouches for: the interpreters, compilers and servers that such code
uses run (CPython, Node, Java, Go, gcc, git, SQLite), tracers and message queues do not.
Both are for Linux 5.10 and later; a call that the kernel lacks is ENOSYS in any case.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from container_kit._plan.seccomp import ALL_SIBLINGS, KILL_THREAD, Rule, SeccompProfile, refuse
from container_kit._plan.seccomp_program import Comparison, Condition

_ALWAYS = """
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown clock_adjtime
    clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod
    fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat
    fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake futimesat get_robust_list
    get_thread_area getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername
    getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname
    getsockopt gettid gettimeofday getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1
    inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set
    kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen
    listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat madvise map_shadow_stack
    membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mprotect
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd
    msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2
    prlimit64 process_mrelease pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom
    recvmmsg recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir
    rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_robust_list
    set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid
    setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr setxattrat shmat shmctl shmdt shmget
    shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs statmount statx symlink symlinkat sync
    sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
    timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat
    uretprobe utime utimensat utimes vfork vmsplice wait4 waitid write writev
"""

# What only 32-bit programs have.
_ALWAYS_32_BIT = """
    _llseek _newselect chown32 clock_adjtime64 clock_getres_time64 clock_gettime64 clock_nanosleep_time64
    fadvise64_64 fchown32 fcntl64 fstat64 fstatat64 fstatfs64 ftruncate64 futex_time64 getegid32 geteuid32 getgid32
    getgroups32 getresgid32 getresuid32 getuid32 io_pgetevents_time64 ipc lchown32 lstat64 mmap2
    mq_timedreceive_time64 mq_timedsend_time64 ppoll_time64 pselect6_time64 recv recvmmsg_time64
    rt_sigtimedwait_time64 sched_rr_get_interval_time64 semtimedop_time64 send sendfile64 setfsgid32 setfsuid32
    setgid32 setgroups32 setregid32 setresgid32 setresuid32 setreuid32 setuid32 sigprocmask sigreturn socketcall
    stat64 statfs64 timer_gettime64 timer_settime64 timerfd_gettime64 timerfd_settime64 truncate64 ugetrlimit
    utimensat_time64 waitpid
"""

_WITH_CAPABILITY = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
        quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday clock_settime clock_settime64 stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}

_ON_MACHINE = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls",
}

# Kernel crypto and host sockets are large and rarely needed kernel interfaces (CVE-2026-31431).
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK, _AF_ALG, _AF_VSOCK = 1, 2, 10, 16, 38, 40

# PER_LINUX, PER_LINUX32, the same with UNAME26, and "only ask" (personality(2)).
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_ASK = 0xFFFFFFFF

# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (clone(2)).
_CLONE_NEW = 0x7E020000

# Protocols of AF_INET and AF_INET6 (ip(7)): any, TCP, UDP, and the echo of ping. Others load kernel modules.
_IPPROTO_ICMP, _IPPROTO_TCP, _IPPROTO_UDP, _IPPROTO_ICMPV6 = 1, 6, 17, 58
_NETLINK_ROUTE = 0  # asked by getifaddrs(3) and getaddrinfo(3)

# Input as if typed at a terminal, and its selection buffer (ioctl_tty(2)).
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

STRICTER_THAN_DOCKER: Final[Mapping[str, str]] = {
    "x32": "all calls are refused: hardly a system has programs of it, and its calls are little tested",
    "i386": "all calls are refused: socketcall hides the family of a socket from the filter",
    "arm": "all calls are refused: few images need it",
    "socket": "the family is compared as the int that the kernel takes: socket(2**32 + AF_ALG) passes Docker's filter",
}

LEFT_OUT: Final[Mapping[str, str]] = {
    "other processes are not looked into": "ptrace process_vm_readv process_vm_writev process_mrelease",
    "messages of System V and POSIX are how memory of the kernel is shaped for attacks; pipes and sockets serve": """
        msgctl msgget msgrcv msgsnd mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink
    """,
    "asynchronous i/o has had many faults; those who use it fall back": """
        io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit
    """,
    "pages of a process in a pipe, memory that not even the kernel sees": "memfd_secret remap_file_pages vmsplice",
    "segments of 16-bit and 32-bit programs": "get_thread_area modify_ldt set_thread_area",
    "mounts and files by number are the host's affair": "listmount name_to_handle_at statmount",
    "what others read is seen in the page cache; watching whole file systems takes privileges": """
        cachestat fanotify_mark
    """,
    "it would write out all file systems of the host": "sync",
    "the clock is the host's": "adjtimex clock_adjtime",
    "obsolete": "epoll_ctl_old epoll_wait_old",
}


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _int(argument: int, compare: Comparison, value: int) -> Condition:
    """Return a test of what the kernel takes as an int: its upper half does not count."""
    return Condition(argument, compare, value, bits=32)


def _unless(name: str, argument: int, values: Iterable[int]) -> Rule:
    return Rule(names=(name,), when=tuple(_int(argument, Comparison.NE, value) for value in values))


def _if_one_of(name: str, values: Iterable[int]) -> tuple[Rule, ...]:
    return tuple(Rule(names=(name,), when=(Condition(0, Comparison.EQ, value),)) for value in values)


def _docker_socket() -> tuple[Rule, ...]:
    """As Docker has it: all 64 bits of the family are compared."""
    tests = ((Comparison.LT, _AF_ALG), (Comparison.EQ, _AF_ALG + 1), (Comparison.GT, _AF_VSOCK))
    return tuple(Rule(names=("socket",), when=(Condition(0, compare, value),)) for compare, value in tests)


def _strict_socket() -> tuple[Rule, ...]:
    """Files, networks, and questions about interfaces; a family that is not there is what a program expects."""
    pairs = {
        _AF_INET: (0, _IPPROTO_TCP, _IPPROTO_UDP, _IPPROTO_ICMP),
        _AF_INET6: (0, _IPPROTO_TCP, _IPPROTO_UDP, _IPPROTO_ICMPV6),
        _AF_NETLINK: (_NETLINK_ROUTE,),
    }
    is_other = tuple(_int(0, Comparison.NE, family) for family in (_AF_UNIX, *pairs))
    return (
        Rule(names=("socket",), when=is_other, action=refuse(errno.EAFNOSUPPORT)),
        Rule(names=("socket", "socketpair"), when=(_int(0, Comparison.EQ, _AF_UNIX),)),
        *(
            Rule(names=("socket",), when=(_int(0, Comparison.EQ, family), _int(2, Comparison.EQ, protocol)))
            for family, protocols in pairs.items()
            for protocol in protocols
        ),
    )


_CLONE: Final = (
    Rule(
        names=("clone",),
        when=(Condition(0, Comparison.MASKED_EQ, 0, mask=_CLONE_NEW),),
        without_capabilities=("CAP_SYS_ADMIN",),
    ),
    # clone3 keeps its flags in memory, where a filter cannot look; ENOSYS makes libc use clone.
    Rule(names=("clone3",), action=refuse(errno.ENOSYS), without_capabilities=("CAP_SYS_ADMIN",)),
)

_EVERYWHERE: Final = (
    Rule(names=_words(_ALWAYS)),
    # Before 4.8 a tracer could change a call after the filter had judged it.
    Rule(names=("ptrace", "process_vm_readv", "process_vm_writev"), since=(4, 8)),
    *_if_one_of("personality", _PERSONALITIES),
    *_CLONE,
    *(Rule(names=_words(names), capabilities=(capability,)) for capability, names in _WITH_CAPABILITY.items()),
    *(Rule(names=_words(names), machines=(machine,)) for machine, names in _ON_MACHINE.items()),
)

DEFAULT_PROFILE: Final = SeccompProfile(rules=(*_EVERYWHERE, _unless("socket", 0, (_AF_ALG, _AF_VSOCK))))

DOCKER_PROFILE: Final = SeccompProfile(
    rules=(*_EVERYWHERE, Rule(names=_words(_ALWAYS_32_BIT)), *_docker_socket()),
    siblings=ALL_SIBLINGS,
    foreign=KILL_THREAD,
)


def _strict() -> SeccompProfile:
    left_out = {name for names in LEFT_OUT.values() for name in names.split()}
    replaced = {"clone", "clone3", "ioctl", "personality", "socket", "socketpair"}
    kept = (
        attrs.evolve(rule, names=tuple(name for name in rule.names if name not in left_out | replaced))
        for rule in DEFAULT_PROFILE.rules
        if not rule.capabilities
    )
    return SeccompProfile(
        rules=(
            *(rule for rule in kept if rule.names),
            *(attrs.evolve(rule, without_capabilities=()) for rule in _CLONE),
            *_if_one_of("personality", (0, _ASK)),
            *_strict_socket(),
            _unless("ioctl", 1, (_TIOCSTI, _TIOCLINUX)),
        )
    )


STRICT_PROFILE: Final = _strict()
