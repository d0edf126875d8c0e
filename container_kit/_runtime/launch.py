"""From a container's specification to a running process. The table of contents of a start.

::

    prepare   values → plan → request bytes                 (pure, mostly cached)
    spawn     a monitor that has the request and waits
    record    the caller writes its intent to the database   (in parallel with the monitor coming up)
    go        the monitor launches; STARTED or FAILED comes back

Used by `run` (pipes of the caller's) and `start` (the monitor logs) alike.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import attrs

from container_kit._linux import device_nodes
from container_kit._plan.cgroup_writes import ControlGroup, flat
from container_kit._plan.encode import encode_request
from container_kit._plan.launch import compile_exec_plan, compile_launch_plan
from container_kit._plan.plans import ExecPlan, LaunchPlan
from container_kit._plan.process import stop_signal_of
from container_kit._plan.settings import MonitorFlag, MonitorSettings, Restart
from container_kit._plan.stages import facts_inside
from container_kit._runtime import accounts, cgroup_places, own_ids, requirements, security_labels
from container_kit._runtime.device_filters import open_filter
from container_kit._runtime.failures import launch_failure
from container_kit._runtime.messages import Blame, ExitFlag, MessageType
from container_kit._runtime.site import Site
from container_kit._runtime.spawn import spawn_monitor
from container_kit._runtime.supervision import Supervision
from container_kit._spec.container_config import ContainerConfig, ProcessConfig
from container_kit._spec.healthcheck import Healthcheck
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.paths import HostPath
from container_kit._spec.root_filesystem import RootFilesystem
from container_kit.errors import LaunchError


@attrs.frozen(kw_only=True)
class Specification:
    """All that a launch depends on, as recorded."""

    id: str
    config: ContainerConfig
    image: ImageConfig
    root: RootFilesystem
    cgroup: str = ""  # of a running container; empty for none

    @property
    def hostname(self) -> str:
        """The configured host name, else the short id, as Docker does."""
        return self.config.hostname or self.id[:12]

    @property
    def is_ephemeral(self) -> bool:
        """True when nothing the container writes has to survive it."""
        return self.config.remove is True or (self.config.remove is None and not self.config.detach)

    @property
    def healthcheck(self) -> Healthcheck | None:
        """The health check in force, if any."""
        check = self.config.healthcheck if self.config.healthcheck is not None else self.image.healthcheck
        return None if check is None or check.disabled else check


def with_devices(site: Site, spec: Specification) -> Specification:
    """Return a specification with its devices as they are now: their numbers may change between boots.

    Raises:
        InvalidSpecError: one of them is not there any more.
    """
    config = spec.config
    if not config.devices and not config.security.is_privileged:
        return spec
    devices = device_nodes.find_nodes(config.devices)
    if config.security.is_privileged:
        taken = {device.target for device in devices}
        others = device_nodes.find_all_nodes(_who_opens(site, config))
        devices += tuple(device for device in others if device.target not in taken)
    return attrs.evolve(spec, config=attrs.evolve(config, devices=devices))


def _who_opens(site: Site, config: ContainerConfig) -> Literal["root", "caller", "everyone"]:
    if config.security.has_own_ids:
        return "everyone"
    return "caller" if site.facts.rootless else "root"


def compile_plan(site: Site, spec: Specification) -> LaunchPlan:
    """Return the plan of a container's launch.

    Raises:
        UnsupportedHostError: the host cannot do what is asked for.
        InvalidSpecError: the container and its image do not go together.
    """
    requirements.check(site, spec.config)
    user = spec.config.user if spec.config.user is not None else spec.image.user
    identity = accounts.find_identity(site, spec.id, spec.root, user, spec.config.groups)
    return compile_launch_plan(
        config=spec.config,
        image=spec.image,
        root=spec.root,
        identity=identity,
        facts=site.facts,
        hostname=spec.hostname,
        volatile=spec.is_ephemeral,
    )


def spawn(site: Site, spec: Specification, plan: LaunchPlan, stdio: Sequence[int] | None = None) -> Supervision:
    """Start the container's monitor; nothing has been made yet and nothing will be before `go`."""
    group = cgroup_places.choose_group(site, spec.id, spec.config)
    health = _health_plan(site, spec, group)
    namespace, devices = site.user_namespace(), None
    supervision: Supervision | None = None
    try:
        with own_ids.claimed(site, spec.id, plan) as (final, ids):
            request = encode_request(_settings(site, spec, final, group, direct=stdio is not None), final, health)
            if namespace is None:
                devices = open_filter(site.device_filters, spec.config, in_cgroup=group is not None)
            site.mark("plan")
            supervision = spawn_monitor(request, user_namespace=namespace, stdio=stdio, devices=devices, ids=ids)
    except BaseException:
        if supervision is not None:
            supervision.let_go()  # an interrupt
        raise
    finally:
        if devices is not None:
            os.close(devices)
    supervision.group = group
    site.mark("monitor")
    return supervision


def await_started(site: Site, plan: LaunchPlan, supervision: Supervision) -> int:
    """Wait until the command runs and return the pid of the container's init.

    Raises:
        ContainerKitError: what kept it from running; the monitor has undone everything and is reaped.
    """
    message = supervision.await_started()
    if message.type == MessageType.STARTED:
        check_labels(plan, supervision)
        return message.value
    supervision.let_go()
    raise launch_failure(plan, message, site.home.root, supervision.group)


def check_labels(plan: LaunchPlan, supervision: Supervision) -> None:
    """Raise unless a container that has just started has the label that was asked for; then it is ended.

    Raises:
        LaunchError: it has another one.
    """
    if not security_labels.are_asked_for(plan):
        return
    message = supervision.await_started()
    try:
        if message.type == MessageType.STARTED:
            security_labels.check_started(plan, message.value)
    except LaunchError:
        supervision.end()
        raise


def may_try_again(site: Site, supervision: Supervision) -> bool:
    """Say whether a launch failed in a way that another way into the cgroup may mend, and choose that way from now on.

    Linux 6.18 kills what is cloned into a cgroup when the cloner's own cgroup was ever killed as a
    whole and lived on; see docs/decisions/0010.
    """
    failed = supervision.failed
    if failed is None or failed.step != Blame.LOST or failed.flags & ExitFlag.STOPPED:
        return False
    if site.enters_cgroups or supervision.group is None:
        return False
    site.enters_cgroups = True
    return True


def _settings(
    site: Site, spec: Specification, plan: LaunchPlan, group: ControlGroup | None, *, direct: bool
) -> MonitorSettings:
    config, check = spec.config, spec.healthcheck
    settings = MonitorSettings(
        flags=_flags(spec, plan, direct=direct)
        | (MonitorFlag.ENTER_CGROUP if site.enters_cgroups else MonitorFlag.NONE),
        owner_pid=os.getpid(),
        namespaces=plan.namespaces,
        container_dir=HostPath(site.home.container_dir(spec.id)),
        runtime_dir=HostPath(site.home.container_runtime_dir(spec.id)),
        dirs=plan.dirs,
        cgroup_parent=group.parent if group else "",
        cgroup_name=group.name if group else "",
        cgroup_writes=flat(group.writes) if group else (),
        stop_signal=stop_signal_of(config, spec.image),
        stop_timeout_ms=round(config.stop_timeout * 1000),
        restart=Restart[config.restart.kind.name],
        restart_max=config.restart.maximum,
        log_max_bytes=config.log.max_bytes,
        log_max_files=config.log.max_files,
        time_limit_ms=min(round((config.time_limit or 0) * 1000), 2**63),
    )
    return settings if check is None else _with_health_timing(settings, check)


def _flags(spec: Specification, plan: LaunchPlan, *, direct: bool) -> MonitorFlag:
    config = spec.config
    flags = MonitorFlag.DIRECT if direct else MonitorFlag.LOG
    if not config.detach:
        flags |= MonitorFlag.OWNED
    if config.remove:
        flags |= MonitorFlag.REMOVE | (MonitorFlag.NONE if direct else MonitorFlag.KEEP_STATE)
    elif spec.is_ephemeral:
        flags |= MonitorFlag.REMOVE_OWNED
    if spec.is_ephemeral:
        flags |= MonitorFlag.DIRTY_WORK
    if plan.terminal:
        flags |= MonitorFlag.TERMINAL
    if config.stdin:
        flags |= MonitorFlag.STDIN
    if plan.own_memory:
        flags |= MonitorFlag.OWN_MEMORY
    if plan.ids is not None:
        flags |= MonitorFlag.STAGES
    return flags


def _health_plan(site: Site, spec: Specification, group: ControlGroup | None) -> ExecPlan | None:
    check = spec.healthcheck
    if check is None:
        return None
    user = spec.config.user if spec.config.user is not None else spec.image.user
    identity = accounts.find_identity(site, spec.id, spec.root, user, spec.config.groups)
    return compile_exec_plan(
        process=ProcessConfig(command=check.test),
        config=spec.config,
        image=spec.image,
        identity=identity,
        facts=facts_inside(site.facts, spec.config.security, identity),
        supervise=group is None,
    )


def _with_health_timing(settings: MonitorSettings, check: Healthcheck) -> MonitorSettings:
    return attrs.evolve(
        settings,
        health_interval_ms=round(check.interval * 1000),
        health_timeout_ms=round(check.timeout * 1000),
        health_retries=check.retries,
        health_start_period_ms=round(check.start_period * 1000),
        health_start_interval_ms=round(check.start_interval * 1000),
    )
