"""What this host can do, found out by doing it.

A probe is a plan of gather steps run by the same executor that runs containers, in
namespaces of its own that vanish with it. So what a probe says is what a launch will meet.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager

from container_kit._linux import idmap, kernel
from container_kit._linux.files import filesystem_of, remove_scratch
from container_kit._linux.security_modules import Labeler, is_present
from container_kit._plan.device_filter import device_filter_of
from container_kit._plan.encode import encode_request
from container_kit._plan.flags import MountAttr, Namespace
from container_kit._plan.ops import LoopbackUp, MakeUserNamespace, NewFilesystem, NewMappedOverlay, NewOverlay, OpenTree
from container_kit._plan.plans import ProbePlan
from container_kit._plan.settings import MonitorFlag, MonitorSettings
from container_kit._runtime import device_filters
from container_kit._runtime.cgroup_capabilities import find_cgroup_capabilities
from container_kit._runtime.messages import Message, MessageType
from container_kit._runtime.own_ids import find_support
from container_kit._runtime.security_labels import boot_remedy
from container_kit._runtime.site import Site
from container_kit._runtime.spawn import spawn_monitor
from container_kit._spec.capability import Capability
from container_kit._spec.facts import HostFacts, IdMap, OverlayForm
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit.errors import RootDirectoryError, UnsupportedHostError

_SECONDS = 10.0


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
        thermal_throttle=tuple(_thermal_throttle()),
        capabilities=_own_capabilities(),
    )


def _own_capabilities() -> int:
    fields = dict(line.split(b":", 1) for line in _read("/proc/self/status").splitlines() if b":" in line)
    return int(fields[b"CapBnd"], 16) & int(fields[b"CapPrm"], 16)


def _thermal_throttle(cpus: str = "/sys/devices/system/cpu") -> Iterator[ContainerPath]:
    # A CPU has it or has it not together with all others: mostly one look is enough.
    if not os.path.isdir(f"{cpus}/cpu0/thermal_throttle"):
        return
    for name in sorted(os.listdir(cpus)):
        path = f"{cpus}/{name}/thermal_throttle"
        if name.removeprefix("cpu").isdigit() and os.path.isdir(path):
            yield ContainerPath(path)


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


def find_id_mapped_overlay_error(site: Site) -> int:
    """Return why layers cannot be shown with other ids here, as an errno; 0: they can."""
    identity_of_another = b"0 524288 65536\n"
    with _scratch(site.home.root) as directory:
        for name in ("lower", "upper", "work"):
            os.mkdir(f"{directory}/{name}", 0o700)
        namespace = MakeUserNamespace(slot=1, uid_map=identity_of_another, gid_map=identity_of_another)
        overlay = NewMappedOverlay(
            slot=0,
            lowers=(HostPath(f"{directory}/lower"),),
            upper="upper",
            work="work",
            form=site.facts.overlay_form,
            namespace=1,
        )
        plan = ProbePlan(namespaces=Namespace.MOUNT, gather=(namespace, overlay))
        answer = run_probe(plan, directory, None)
    return 0 if answer.type == MessageType.EXITED else answer.error or errno.ENOSYS


def find_capabilities(site: Site) -> tuple[Capability, ...]:
    """Try everything a container may need; each comes with a reason and a remedy."""
    return (
        _kernel(),
        _user_namespaces(),
        _subordinate_ids(),
        _overlay(site),
        find_support(site),
        _probe(site, "network namespace", Namespace.NET, LoopbackUp()),
        _probe(site, "own /proc", Namespace.PID | Namespace.MOUNT, _filesystem("proc")),
        _probe(site, "own /sys", Namespace.NET | Namespace.MOUNT, _filesystem("sysfs")),
        _probe(site, "message queues", Namespace.IPC | Namespace.MOUNT, _filesystem("mqueue")),
        _probe(site, "bind mounts", Namespace.MOUNT, OpenTree(slot=0, source=HostPath("/usr"))),
        _seccomp(),
        _device_filters(site),
        *_labelers(),
        *find_cgroup_capabilities(site),
    )


def _filesystem(fstype: str) -> NewFilesystem:
    return NewFilesystem(
        slot=0, fstype=fstype, attributes=MountAttr.NOSUID | MountAttr.NODEV | MountAttr.NOEXEC, options=()
    )


def _device_filters(site: Site) -> Capability:
    name = "device filters"
    if site.facts.rootless:
        reason = "a user may not load them: a container can open the nodes that it is shown, and no others"
        return Capability(name=name, available=False, reason=reason, remedy="run as root for access such as ':r'")
    try:
        os.close(site.device_filters.open(device_filter_of(())))
    except OSError as err:
        return Capability(name=name, available=False, reason=os.strerror(err.errno or 0), remedy=device_filters.REMEDY)
    return Capability(name=name, available=True, reason="loaded one")


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
    actions = kernel.seccomp_actions()
    if "errno" in actions:
        return Capability(name="seccomp", available=True, reason="filters with " + ", ".join(actions))
    return Capability(
        name="seccomp",
        available=False,
        reason="the kernel has no seccomp filters",
        remedy="use a kernel with CONFIG_SECCOMP_FILTER",
    )


def _labelers() -> Iterator[Capability]:
    for labeler in Labeler:
        if is_present(labeler):
            yield Capability(name=labeler.module, available=True, reason="containers can have a label of their own")
        else:
            reason, remedy = "the running kernel does not use it", boot_remedy(labeler)
            yield Capability(name=labeler.module, available=False, reason=reason, remedy=remedy)


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
