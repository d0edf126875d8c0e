"""A launch failed with numbers; this says what they mean as a typed error.

C reports {step, errno, detail}. The plan knows what the step was; what to try depends on
both. Nothing here classifies by text.
"""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager

from container_kit._linux.files import filesystem_of
from container_kit._plan import process_files
from container_kit._plan.cgroup_writes import ControlGroup
from container_kit._plan.describe import describe_step
from container_kit._plan.ops import (
    Attach,
    Capabilities,
    Chdir,
    Exec,
    Gid,
    Groups,
    Hostname,
    MakeDir,
    NewFilesystem,
    NewMappedOverlay,
    NewOverlay,
    OpenTree,
    ProcessFile,
    RaiseLimit,
    Rlimit,
    SessionKeyring,
    Step,
    Uid,
    WriteProc,
)
from container_kit._plan.plans import ExecPlan, LaunchPlan, ProbePlan
from container_kit._runtime.cgroup_failures import cgroup_failure
from container_kit._runtime.messages import Blame, Message
from container_kit.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    ContainerKitError,
    HostError,
    InvalidMountError,
    InvalidSpecError,
    InvalidUserError,
    LaunchError,
    RootDirectoryError,
    UnsupportedHostError,
)

_BLAMED = {
    Blame.REQUEST: "reading the request",
    Blame.USERNS: "joining the user namespace",
    Blame.DIRS: "making the container's directories",
    Blame.RUNTIME: "making the container's runtime files",
    Blame.CGROUP: "making the control group",
    Blame.STDIO: "opening the container's standard streams",
    Blame.CLONE: "cloning the container's first process",
    Blame.LOST: "the container's first process was killed from outside",
}
_NO_WAY = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.EXDEV)
_OVERLAY_REFUSALS = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENODEV, errno.EPERM, errno.EREMOTE)
_FULL = "free some space: the file system that holds the engine's directory is full"
_SHORTAGES = {
    errno.EMFILE: "raise the caller's limit on open files (ulimit -n)",
    errno.ENFILE: "raise the host's limit on open files (sysctl fs.file-max)",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "the engine's directory is on a file system that is read-only now",
    errno.EAGAIN: "raise the limit on processes (ulimit -u, pids.max)",
    errno.ENOMEM: "there is too little memory; end something else first",
}


@contextmanager
def typed_refusals(attempted: str) -> Generator[None, None, None]:
    """Turn what the kernel refuses this process itself into a `HostError`; typed errors pass.

    Args:
        attempted: "cannot …", the beginning of the error's sentence.
    """
    try:
        yield
    except ContainerKitError:
        raise
    except OSError as err:
        raise HostError(attempted=attempted, errno=err.errno, hint=_SHORTAGES.get(err.errno or 0)) from err


def launch_failure(
    plan: LaunchPlan | ExecPlan | ProbePlan, message: Message, root_dir: str, group: ControlGroup | None = None
) -> ContainerKitError:
    """Return the error for a FAILED message.

    Args:
        plan: what was executed.
        message: the report.
        root_dir: the engine's directory, for what depends on its file system.
        group: the cgroup that was to be made.
    """
    if message.step == Blame.CGROUP:
        return cgroup_failure(message, group)
    if message.step >= Blame.REQUEST or message.step >= len(plan.steps):
        return _blamed(message)
    step = plan.steps[message.step]
    special = _special(step, message, root_dir)
    if special is not None:
        return special
    return LaunchError(
        step=message.step + 1,
        total=len(plan.steps),
        op=describe_step(plan, message.step),
        errno=message.error,
        hint=_hint(step, message.error),
    )


def _blamed(message: Message) -> ContainerKitError:
    try:
        what = _BLAMED[Blame(message.step)]
    except ValueError:
        what = "its monitor died"
    hint = None
    if message.error == errno.ENOSPC:
        hint = _FULL
    elif message.step == Blame.CLONE and message.error in (errno.EAGAIN, errno.ENOSPC):
        hint = "raise the limit on processes (ulimit -u, pids.max) or on namespaces (sysctl user.max_*_namespaces)"
    return LaunchError(step=0, total=0, op=what, errno=message.error, hint=hint)


def _special(step: Step, message: Message, root_dir: str) -> ContainerKitError | None:
    match step:
        case Exec():
            return _exec_failure(step, message)
        case NewOverlay() | NewMappedOverlay() if message.error in _OVERLAY_REFUSALS:
            return _overlay_failure(step, message, root_dir)
        case OpenTree() if message.error in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return InvalidMountError(field="mount source", value=str(step.source), reason=_text(message.error))
        case Attach() if message.error in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV):
            return InvalidMountError(
                field="mount target",
                value=str(step.target),
                reason=f"the image has something in its place: {_text(message.error)}",
                hint="/proc, /dev and /sys must be ordinary directories; a file can only be mounted on a file",
            )
        case MakeDir() | Chdir() if message.error in _NO_WAY:
            return _working_dir_failure(str(step.path), message.error)
        case ProcessFile():
            return _process_file_failure(step, message.error)
        case Uid() | Gid() | Groups() if message.error in (errno.EINVAL, errno.EPERM):
            return InvalidUserError(
                field="user",
                value=getattr(step, "uid", getattr(step, "gid", None)),
                reason="the id does not exist in the container's user namespace",
                hint="give this user subordinate ids in /etc/subuid and /etc/subgid and install newuidmap",
            )
        case _:
            return None


def _process_file_failure(step: ProcessFile, number: int) -> ContainerKitError | None:
    asked = step.contents.decode("utf-8", "replace")
    match step.path, number:
        case process_files.OOM_SCORE_ADJ, errno.EACCES | errno.EPERM:
            return UnsupportedHostError(
                feature=f"oom_score_adj={asked}",
                reason="it is below the caller's own, and lowering it takes CAP_SYS_RESOURCE",
                hint="give at least what the caller has itself, see /proc/self/oom_score_adj; or run as root",
            )
        case process_files.APPARMOR_EXEC, _:
            return UnsupportedHostError(
                feature=f"the AppArmor profile {asked.removeprefix('exec ')!r}",
                reason="no such profile is loaded, or the caller's own profile does not let it be entered",
                errno=number,
                hint="load it: apparmor_parser --replace FILE; aa-status lists what is there",
            )
        case process_files.SELINUX_EXEC, _:
            return UnsupportedHostError(
                feature=f"the SELinux context {asked!r}",
                reason="the policy does not know it, or does not let the caller set it",
                errno=number,
                hint="a usual one is 'system_u:system_r:container_t:s0'",
            )
        case _:
            return None


def _exec_failure(step: Exec, message: Message) -> ContainerKitError:
    command = step.argv[0]
    if message.error in (errno.ENOENT, errno.ENOTDIR) and not message.detail:
        return CommandNotFoundError(command=command, searched=tuple(str(path) for path in step.candidates))
    hint = None
    if message.error in (errno.ENOENT, errno.ENOTDIR):
        hint = "the file is there, but its interpreter (#! line) or dynamic loader is not in the container"
    elif message.error == errno.ENOEXEC:
        hint = "it has no #! line, or it is built for another architecture than this host's"
    elif message.error == errno.EACCES:
        hint = "is it a directory, does it have its execute bit, is its mount noexec?"
    elif message.error == errno.E2BIG:
        hint = "arguments and environment together are too long (execve(2))"
    return CommandNotExecutableError(command=command, errno=message.error, hint=hint)


def _working_dir_failure(path: str, number: int) -> InvalidSpecError:
    return InvalidSpecError(
        field="working_dir",
        value=path,
        reason=_text(number),
        hint="the working directory must be a directory that the container's user may enter",
    )


def _mapping_failure(step: NewMappedOverlay, number: int) -> ContainerKitError:
    filesystems = " or ".join(dict.fromkeys(filesystem_of(lower) for lower in step.lowers))
    return UnsupportedHostError(
        feature="ids of a container's own for this image",
        reason=f"a layer is on a file system without id-mapped mounts ({filesystems})",
        errno=number,
        hint="load the image into the engine, or have its directory on ext4, xfs or btrfs",
    )


def _overlay_failure(step: NewOverlay | NewMappedOverlay, message: Message, root_dir: str) -> ContainerKitError:
    if isinstance(step, NewMappedOverlay):
        return _mapping_failure(step, message.error)
    filesystem = filesystem_of(root_dir)
    return RootDirectoryError(
        path=root_dir,
        attempted=f"cannot put an overlay's upper directory below {root_dir}, lower {step.lowers[0]}",
        reason=f"overlayfs refuses it ({filesystem})",
        errno=message.error,
        hint="choose a root directory on ext4, xfs, btrfs or tmpfs: Engine(root=…) or CONTAINER_KIT_ROOT",
    )


def _hint(step: Step, number: int) -> str | None:
    if number in _SHORTAGES:
        return _SHORTAGES[number]
    match step:
        case NewFilesystem(fstype="proc") if number == errno.EPERM:
            return "the host's own /proc is partly hidden (a container around this one?); unmask it there"
        case WriteProc():
            return "only sysctls of the container's own namespaces can be set"
        case Rlimit() | RaiseLimit():
            return "a hard limit above the caller's own needs CAP_SYS_RESOURCE"
        case Capabilities() if number == errno.EPERM:
            return "a container cannot have capabilities that the caller has not itself (inside another container?)"
        case SessionKeyring() if number == errno.EDQUOT:
            return "this user has too many keys: sysctl kernel.keys.maxkeys"
        case Hostname() if number == errno.EPERM:
            return "the host name is the host's own without a UTS namespace"
        case _:
            return None


def _text(number: int) -> str:
    return {
        errno.ENOENT: "it does not exist",
        errno.ENOTDIR: "it, or a part of its path, is not a directory",
        errno.EACCES: "permission denied",
        errno.ELOOP: "it, or a part of its path, is a symlink that leads nowhere or must not be followed",
        errno.EXDEV: "it leads out of the container",
    }.get(number, errno.errorcode.get(number, str(number)))
