"""What a container is, as a value: the plan of its launch, and of further processes in it.

Theory of operation: almost all of a launch depends on the config, the image and the host,
and not on which container it is. That part is compiled once and kept (`_constant_part`);
so are the bytes of its steps. What is left for each launch are the files and steps that
hold the host name, and the environment.

Nothing here touches the system: a plan can be made, printed and compared anywhere.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import attrs

from container_kit._plan import etc_files
from container_kit._plan.attach import attach_steps
from container_kit._plan.confine import confine_steps
from container_kit._plan.gather import SIGKILL, gather_filesystems, overlay_dirs
from container_kit._plan.ops import (
    AttachHow,
    AttachStep,
    ConfineStep,
    GatherStep,
    Hostname,
    InitFlag,
    JoinNamespaces,
    MountAttr,
    Namespace,
    NewFilesystem,
    OpenSubtree,
    ParentDeathSignal,
    Ready,
    SetMountAttr,
    SlotDir,
    SlotFile,
)
from container_kit._plan.plans import ExecPlan as ExecPlan
from container_kit._plan.plans import LaunchPlan as LaunchPlan
from container_kit._plan.plans import ProbePlan as ProbePlan
from container_kit._plan.process import argv_of, environment_of, exec_step, working_dir_of
from container_kit._plan.process_files import process_files
from container_kit._plan.slots import Gathering
from container_kit._plan.stages import facts_inside, in_two_stages
from container_kit._spec.container_config import ContainerConfig, ProcessConfig
from container_kit._spec.facts import HostFacts, IdMap
from container_kit._spec.identity import Identity
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.paths import ContainerPath
from container_kit._spec.root_filesystem import RootFilesystem

_KEPT: Final = 128  # compiled constant parts

_OWN_NAMESPACES = Namespace.MOUNT | Namespace.PID | Namespace.IPC | Namespace.UTS | Namespace.CGROUP


def compile_launch_plan(
    *,
    config: ContainerConfig,
    image: ImageConfig,
    root: RootFilesystem,
    identity: Identity,
    facts: HostFacts,
    hostname: str,
    volatile: bool,
) -> LaunchPlan:
    """Return the plan that starts a container. One with ids of its own lacks these until `with_ids`.

    Args:
        config: what was asked for.
        image: the image's own defaults.
        root: the layers.
        identity: who the process is, already looked up in the image.
        facts: what the host can do.
        hostname: the container's host name.
        volatile: whether what the container writes may be lost in a crash of the host.

    Raises:
        InvalidSpecError: the pieces contradict each other.
        UnsupportedHostError: this host cannot do what was asked for.
    """
    constant = _constant_part(config, image, root, identity, facts, volatile)
    environment = environment_of(config, image, hostname=hostname, home=identity.home, terminal=config.tty)
    return LaunchPlan(
        namespaces=constant.namespaces,
        gather=(*constant.gather, *_named_files(constant, config, hostname), *constant.gather_last),
        attach=constant.attach,
        confine=(Hostname(hostname=hostname, domainname=config.domainname), *constant.confine),
        exec=exec_step(constant.argv, environment),
        dirs=constant.dirs,
        ids=constant.ids,
    )


@lru_cache(maxsize=_KEPT)
def compile_exec_plan(
    *,
    process: ProcessConfig,
    config: ContainerConfig,
    image: ImageConfig,
    identity: Identity,
    facts: HostFacts,
    supervise: bool,
) -> ExecPlan:
    """Return the plan of a further process in a running container.

    Args:
        process: what was asked for.
        config: the container's own config.
        image: its image's defaults.
        identity: who the process is.
        facts: what the host can do; as the container meets it, where that has ids of its own.
        supervise: leave a process behind that can end everything the new one starts; needed without a control group.
    """
    environment = environment_of(
        config, image, hostname=config.hostname or "", home=identity.home, terminal=process.tty, process=process
    )
    own_user = Namespace.USER if config.security.has_own_ids else Namespace(0)
    return ExecPlan(
        gather=(
            *process_files(config),
            JoinNamespaces(namespaces=_namespaces(config) | own_user),
            ParentDeathSignal(signal=SIGKILL),
        ),
        confine=confine_steps(
            identity=identity,
            security=config.security,
            ulimits=config.ulimits,
            working_dir=working_dir_of(config, image, process),
            init=InitFlag.SUBREAPER if supervise else None,
            terminal=process.tty_size if process.tty else None,
            facts=facts,
            joins=True,
        ),
        exec=exec_step(process.command, environment),
    )


@attrs.frozen(kw_only=True)
class _ConstantPart:
    """What all launches of one configuration share."""

    namespaces: Namespace
    gather: tuple[GatherStep, ...]
    etc: int
    own_files: frozenset[ContainerPath]
    gather_last: tuple[GatherStep, ...]
    attach: tuple[AttachStep, ...]
    confine: tuple[ConfineStep, ...]
    argv: tuple[str, ...]
    dirs: tuple[str, ...]
    ids: IdMap | None


@lru_cache(maxsize=_KEPT)
def _constant_part(
    config: ContainerConfig,
    image: ImageConfig,
    root: RootFilesystem,
    identity: Identity,
    facts: HostFacts,
    volatile: bool,  # noqa: FBT001  # the cache's key
) -> _ConstantPart:
    working_dir = working_dir_of(config, image)
    facts, has_own_ids = facts_inside(facts, config.security, identity), config.security.has_own_ids
    gathering, null = gather_filesystems(config=config, root=root, facts=facts, volatile=volatile)
    etc, empty = _scratch(gathering)
    etc_shown = frozenset(etc_files.ALL - gathering.places.keys())
    if etc_files.RESOLV_CONF in etc_shown:
        gathering.add(SlotFile(slot=etc, path="resolv.conf", mode=0o644, contents=facts.resolv_conf))
    gather, last = tuple(gathering.steps), len(gathering.steps)
    _show_files(gathering, etc, etc_shown, read_only=config.read_only)
    gather, namespaces = (*process_files(config), *gather), _namespaces(config)
    if has_own_ids:
        gather = in_two_stages(
            gather,
            namespaces=namespaces,
            places=gathering.places,
            working_dir=working_dir,
            ulimits=config.ulimits,
            rootless=facts.rootless,
        )
        namespaces = Namespace.MOUNT
    return _ConstantPart(
        namespaces=namespaces,
        gather=gather,
        etc=etc,
        own_files=etc_shown,
        gather_last=tuple(gathering.steps[last:]),
        attach=attach_steps(
            places=gathering.places,
            null=null,
            empty=empty,
            security=config.security,
            thermal_throttle=facts.thermal_throttle,
            working_dir=working_dir,
            read_only=config.read_only,
        ),
        confine=(
            *confine_steps(
                identity=identity,
                security=config.security,
                ulimits=config.ulimits,
                working_dir=working_dir,
                init=_init_flags(facts) if config.init else None,
                terminal=config.tty_size if config.tty else None,
                facts=facts,
            ),
            Ready(),
        ),
        argv=argv_of(config, image),
        dirs=overlay_dirs(root),
        ids=facts.id_map if has_own_ids else None,
    )


def _scratch(gathering: Gathering) -> tuple[int, int]:
    """Gather a small tmpfs for the files in /etc and the empty directory that hides others."""
    etc, empty = gathering.slot(), gathering.slot()
    attributes = MountAttr.NOSUID | MountAttr.NODEV | MountAttr.NOEXEC
    gathering.add(
        NewFilesystem(slot=etc, fstype="tmpfs", attributes=attributes, options=("mode=755", "size=1m")),
        SlotDir(slot=etc, path="masked", mode=0o555),
        OpenSubtree(slot=empty, of=etc, path="masked"),
        SetMountAttr(slot=empty, attributes=MountAttr.READ_ONLY),
    )
    return etc, empty


def _show_files(gathering: Gathering, etc: int, own_files: frozenset[ContainerPath], *, read_only: bool) -> None:
    """Gather each file in the small tmpfs as a mount of its own; with a read-only root they are, too, as in Docker."""
    for target in sorted(own_files):
        slot = gathering.slot()
        gathering.add(OpenSubtree(slot=slot, of=etc, path=target.removeprefix("/etc/")))
        if read_only:
            gathering.add(SetMountAttr(slot=slot, attributes=MountAttr.READ_ONLY))
        gathering.place(slot, target, AttachHow.MAKE_FILE)


def _named_files(constant: _ConstantPart, config: ContainerConfig, hostname: str) -> tuple[SlotFile, ...]:
    """Return the files that hold the host name, but those that the caller mounted."""
    contents = {
        etc_files.HOSTNAME: etc_files.hostname_file(hostname),
        etc_files.HOSTS: etc_files.hosts_file(
            hostname=hostname, domainname=config.domainname, extra=config.extra_hosts
        ),
    }
    return tuple(
        SlotFile(slot=constant.etc, path=target.removeprefix("/etc/"), mode=0o644, contents=text)
        for target, text in contents.items()
        if target in constant.own_files
    )


def _init_flags(facts: HostFacts) -> InitFlag:
    # Entering namespaces takes the right to look into the process they are named by. Root always has it; a user
    # has it over dumpable processes only, and what a monitor leaves behind is none by itself (ptrace(2)).
    return InitFlag.DUMPABLE if facts.rootless else InitFlag.NONE


def _namespaces(config: ContainerConfig) -> Namespace:
    return _OWN_NAMESPACES if config.network == "host" else _OWN_NAMESPACES | Namespace.NET
