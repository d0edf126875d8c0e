"""What this host can do, found out by doing it.

A probe is a plan of gather steps run by the same executor that runs containers, in
namespaces of its own that vanish with it. So what a probe says is what a launch will meet.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import attrs

from container_kit._linux import idmap, kernel
from container_kit._linux.files import filesystem_of, remove_scratch
from container_kit._plan.encode import encode_request
from container_kit._plan.flags import MountAttr, Namespace
from container_kit._plan.ops import LoopbackUp, NewFilesystem, NewOverlay, OpenTree
from container_kit._plan.plans import ProbePlan
from container_kit._plan.settings import MonitorFlag, MonitorSettings
from container_kit._runtime.messages import Message, MessageType
from container_kit._runtime.site import Site
from container_kit._runtime.spawn import spawn_monitor
from container_kit._spec.facts import HostFacts, IdMap, OverlayForm
from container_kit._spec.paths import HostPath
from container_kit.errors import RootDirectoryError, UnsupportedHostError

_SECONDS = 10.0


@attrs.frozen(kw_only=True)
class Capability:
    """One thing a host may or may not do.

    Attributes:
        name: what it is.
        available: whether it works here.
        reason: how it is done here, or why it does not work.
        remedy: what to do to get it; empty when it is there.
    """

    name: str
    available: bool
    reason: str = ""
    remedy: str = ""

    def __bool__(self) -> bool:
        return self.available


def find_host_facts(root: HostPath, overlay_form: OverlayForm | None = None) -> HostFacts:
    """Return what launch plans depend on.

    Args:
        root: the engine's directory.
        overlay_form: what an earlier probe found; None: probe.

    Raises:
        UnsupportedHostError: not Linux, too old, or no user namespaces for an unprivileged user.
        RootDirectoryError: overlayfs does not accept the engine's directory.
    """
    kernel.require_linux()
    rootless = os.geteuid() != 0
    id_map = idmap.find_id_map() if rootless else IdMap.identity()
    if overlay_form is None:
        namespace = idmap.open_user_namespace(id_map) if rootless else None
        try:
            overlay_form = find_overlay_form(root, namespace)
        finally:
            if namespace is not None:
                os.close(namespace)
    return HostFacts(
        kernel=kernel.kernel_version(),
        machine=platform.machine(),
        rootless=rootless,
        id_map=id_map,
        overlay_form=overlay_form,
        resolv_conf=_read("/etc/resolv.conf"),
    )


def find_overlay_form(root: HostPath, user_namespace: int | None) -> OverlayForm:
    """Return the best way to name lower directories that an overlay below `root` takes.

    Raises:
        RootDirectoryError: no way works on this file system.
    """
    answer: Message | None = None
    with _scratch(root) as directory:
        for form in OverlayForm:
            for name in ("", "lower", "upper", "work"):
                os.mkdir(f"{directory}/{form}/{name}")
                os.chmod(f"{directory}/{form}/{name}", 0o700)
            step = NewOverlay(
                slot=0,
                lowers=(HostPath(f"{directory}/{form}/lower"),),
                upper=f"{form}/upper",
                work=f"{form}/work",
                form=form,
                options=() if user_namespace is None else ("userxattr",),
            )
            answer = run_probe(ProbePlan(namespaces=Namespace.MOUNT, gather=(step,)), directory, user_namespace)
            if answer.type == MessageType.EXITED:
                return form
    assert answer is not None
    raise RootDirectoryError(
        path=root,
        attempted="cannot make an overlay below",
        reason=f"overlayfs refuses this file system ({filesystem_of(root)})",
        errno=answer.error or None,
        hint="choose a root directory on ext4, xfs, btrfs or tmpfs: Engine(root=…) or CONTAINER_KIT_ROOT",
    )


def run_probe(plan: ProbePlan, directory: str, user_namespace: int | None) -> Message:
    """Run a plan to its end in new namespaces; return the EXITED or FAILED message."""
    settings = MonitorSettings(
        flags=MonitorFlag.PROBE,
        owner_pid=os.getpid(),
        namespaces=plan.namespaces,
        container_dir=HostPath(directory),
        runtime_dir=HostPath(directory),
    )
    supervision = spawn_monitor(encode_request(settings, plan), user_namespace=user_namespace)
    supervision.go()
    while not supervision.is_over:
        supervision.take(None)
    answer = supervision.exited or supervision.failed or Message(MessageType.FAILED, error=3)
    supervision.let_go()
    return answer


def find_capabilities(site: Site) -> tuple[Capability, ...]:
    """Try everything a container may need; each comes with a reason and a remedy."""
    return (
        _kernel(),
        _user_namespaces(),
        _subordinate_ids(),
        _overlay(site),
        _probe(site, "network namespace", Namespace.NET, LoopbackUp()),
        _probe(site, "own /proc", Namespace.PID | Namespace.MOUNT, _filesystem("proc")),
        _probe(site, "own /sys", Namespace.NET | Namespace.MOUNT, _filesystem("sysfs")),
        _probe(site, "message queues", Namespace.IPC | Namespace.MOUNT, _filesystem("mqueue")),
        _probe(site, "bind mounts", Namespace.MOUNT, OpenTree(slot=0, source=HostPath("/usr"))),
        _seccomp(),
        _cgroup(site),
        *_controllers(site),
    )


def _filesystem(fstype: str) -> NewFilesystem:
    return NewFilesystem(
        slot=0, fstype=fstype, attributes=MountAttr.NOSUID | MountAttr.NODEV | MountAttr.NOEXEC, options=()
    )


def _kernel() -> Capability:
    version = ".".join(map(str, kernel.kernel_version()))
    return Capability(name="kernel", available=True, reason=f"Linux {version} on {platform.machine()}")


def _user_namespaces() -> Capability:
    name = "user namespaces"
    single = IdMap(uids=idmap.single_range(os.geteuid()), gids=idmap.single_range(os.getegid()))
    try:
        os.close(idmap.open_user_namespace(single))
    except UnsupportedHostError as err:
        return Capability(name=name, available=False, reason=err.reason, remedy=err.hint or "")
    return Capability(name=name, available=True, reason="made one")


def _subordinate_ids() -> Capability:
    name = "subordinate ids"
    if os.geteuid() == 0:
        return Capability(name=name, available=True, reason="root has every id")
    ranges = idmap.find_id_map().uids
    if len(ranges) > 1:
        return Capability(name=name, available=True, reason=f"{ranges[1].size} ids from {ranges[1].outside} on")
    helper = shutil.which("newuidmap")
    reason = "newuidmap is not installed" if helper is None else "no line for this user in /etc/subuid and /etc/subgid"
    remedy = "install uidmap (Debian) or shadow-utils" if helper is None else "usermod --add-subuids 100000-165535 …"
    return Capability(name=name, available=False, reason=f"{reason}: containers have a single id", remedy=remedy)


def _overlay(site: Site) -> Capability:
    reason = f"on {filesystem_of(site.home.root)}, layers named by {site.facts.overlay_form.name.lower()}"
    return Capability(name="overlayfs", available=True, reason=reason)


def _probe(site: Site, name: str, namespaces: Namespace, step: NewFilesystem | LoopbackUp | OpenTree) -> Capability:
    with _scratch(site.home.root) as directory:
        answer = run_probe(ProbePlan(namespaces=namespaces, gather=(step,)), directory, site.user_namespace())
    if answer.type == MessageType.EXITED:
        return Capability(name=name, available=True, reason="made one")
    return Capability(
        name=name,
        available=False,
        reason=os.strerror(answer.error),
        remedy="inside another container: run that one with its /proc and /sys unmasked",
    )


def _seccomp() -> Capability:
    actions = _read("/proc/sys/kernel/seccomp/actions_avail").decode().split()
    if "errno" in actions:
        return Capability(name="seccomp", available=True, reason="filters with " + ", ".join(actions))
    return Capability(
        name="seccomp",
        available=False,
        reason="the kernel has no seccomp filters",
        remedy="use a kernel with CONFIG_SECCOMP_FILTER",
    )


def _cgroup(site: Site) -> Capability:
    name = "control groups (pause, kill of process trees)"
    if site.cgroup_parent is not None:
        return Capability(name=name, available=True, reason=f"below {site.cgroup_parent}")
    return Capability(
        name=name,
        available=False,
        reason=site.no_cgroup_reason,
        remedy="run as root, or in a delegated cgroup: systemd-run --user --scope -p Delegate=yes …",
    )


def _controllers(site: Site) -> Iterator[Capability]:
    parent = site.cgroup_parent
    available = _read(f"{parent}/cgroup.controllers").decode().split() if parent else []
    on_v1 = _v1_controllers()
    for controller in ("memory", "cpu", "pids", "io"):
        name = f"{controller} limits"
        if controller in available:
            yield Capability(name=name, available=True, reason="the controller is there")
            continue
        if parent is None:
            reason, remedy = site.no_cgroup_reason, "see control groups"
        elif controller in on_v1:
            reason = "the controller is bound to cgroup version 1 (a hybrid host)"
            remedy = "boot with systemd.unified_cgroup_hierarchy=1 or cgroup_no_v1=all"
        else:
            reason, remedy = (
                "the controller is not delegated to this cgroup",
                "Delegate=yes for the unit that runs this",
            )
        yield Capability(name=name, available=False, reason=reason, remedy=remedy)


def _v1_controllers() -> set[str]:
    names: set[str] = set()
    for line in _read("/proc/self/cgroup").decode(errors="replace").splitlines():
        number, controllers, _ = line.split(":", 2)
        if number != "0":
            names.update("io" if word == "blkio" else word for word in controllers.split(","))
    return names


@contextmanager
def _scratch(root: str) -> Generator[str]:
    # Named after its maker, so that a reconcile can tell whether it is still needed.
    try:
        directory = tempfile.mkdtemp(prefix=f".probe-{os.getpid()}-", dir=root)
        os.chmod(directory, 0o700)  # whatever the umask was
    except OSError as err:
        raise RootDirectoryError(path=root, reason="it cannot be written", errno=err.errno) from err
    try:
        yield directory
    finally:
        remove_scratch(directory)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b""
