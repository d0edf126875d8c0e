"""Change a container's limits and restart policy: at once where it runs, and for every run to come.

The monitor writes the files, since it makes a new cgroup for each run; the database keeps what
was asked for. Both happen in one transaction: a limit that the kernel refuses is not recorded, and
of two updates at the same time the second one builds on the first.
"""

from __future__ import annotations

import os
import signal
import time

import attrs

from container_kit._linux import cgroup_tree, processes
from container_kit._linux.memfd import sealed_memfd
from container_kit._linux.processes import ProcessId
from container_kit._plan.cgroup_writes import (
    CgroupUpdate,
    Writes,
    compile_cgroup_update,
    controllers_of,
)
from container_kit._plan.settings import Restart
from container_kit._runtime import cgroup_places
from container_kit._runtime.cgroup_failures import refused_write
from container_kit._runtime.control import Connection, MonitorGoneError, is_error
from container_kit._runtime.failures import typed_refusals
from container_kit._runtime.messages import Message, MessageType
from container_kit._runtime.site import Site
from container_kit._runtime.status import find
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.healthcheck import RestartPolicy
from container_kit._spec.lifecycle import Action, check_transition
from container_kit._spec.resources import Resources
from container_kit._state import journal, records
from container_kit._state.container_record import ContainerRecord
from container_kit.errors import CgroupError, InvalidSpecError, InvalidTransitionError, UnsupportedHostError

_SECONDS = 8.0  # a smaller limit makes the kernel look for memory to take away; others wait 10 s for the database


@typed_refusals("cannot update the container")
def update(site: Site, container_id: str, *, resources: Resources | None, restart: RestartPolicy | None) -> None:
    """Change what is given, leave the rest.

    Raises:
        InvalidSpecError: the new values make no sense, together with the old ones or at all.
        UnsupportedHostError: a controller is missing, or the container's cgroup cannot have it.
        CgroupError: the kernel refused a value; everything is as it was.
    """
    if resources is None and restart is None:
        raise InvalidSpecError(
            field="update", reason="changes nothing", hint="update(resources=…) or update(restart=…)"
        )
    find(site, container_id)  # settles what a dead run has left: an error below must not take that back
    with site.database.transaction():  # nobody starts it meanwhile
        seen = find(site, container_id)
        record = seen.record
        check_transition(Action.UPDATE, seen.status, record.name)
        if seen.is_unseen:
            hint = "wait until it runs"
            raise InvalidTransitionError(action="update", status="being started", container=record.name, hint=hint)
        config = _changed(record.config, resources, restart)
        if seen.state is not None and seen.state.phase != "exited":  # when a run is over, another one may come
            _tell_monitor(site, seen.state.monitor, record, config)
        else:
            cgroup_places.check_limits(site, config)
        records.set_config(site.database, record.id, config)
        journal.append(site.database, record.id, record.name, "update")


def _changed(config: ContainerConfig, resources: Resources | None, restart: RestartPolicy | None) -> ContainerConfig:
    if resources is not None:
        config = attrs.evolve(config, resources=config.resources.overlaid(resources))
    if restart is not None:
        config = attrs.evolve(config, restart=restart)
    return config


def _tell_monitor(site: Site, monitor: ProcessId, record: ContainerRecord, config: ContainerConfig) -> None:
    before, after = record.config.resources, config.resources
    if after.oom_score_adj != before.oom_score_adj:
        reason = "is given to a container when it starts and cannot be changed while it runs"
        raise InvalidSpecError(field="oom_score_adj", reason=reason, hint="stop() it first")
    processes.signal_process(monitor, signal.SIGCONT)  # somebody may have stopped it
    try:
        with Connection.open(site.home.container_runtime_dir(record.id)) as connection:
            if after != before:
                _change_limits(site, record, config, connection)
            if config.restart != record.config.restart:
                _ask(connection, _policy_message(config.restart))
    except MonitorGoneError:
        pass  # its run has just ended: the next one begins with the new values


def _change_limits(site: Site, record: ContainerRecord, config: ContainerConfig, connection: Connection) -> None:
    before, after = record.config.resources, config.resources
    devices = {**cgroup_places.find_devices(site, before), **cgroup_places.find_devices(site, after)}
    changes = compile_cgroup_update(before, after, devices)
    _enable(site, record, config)
    cgroup_places.check_cpuset(os.path.dirname(record.cgroup), after)
    answer = _send_limits(connection, changes)
    if is_error(answer):
        raise _refused(answer, changes.now)


def _send_limits(connection: Connection, changes: CgroupUpdate) -> Message:
    memfd = sealed_memfd("ck-limits", changes.encode())
    try:
        return _ask(connection, Message(MessageType.LIMITS), memfd)
    finally:
        os.close(memfd)


def _ask(connection: Connection, message: Message, *fds: int) -> Message:
    answer = connection.ask(message, time.monotonic() + _SECONDS, fds)
    if answer is None:
        hint = "the kernel may be freeing memory: try again"
        raise CgroupError(attempted="cannot change the limits: the container's monitor does not answer", hint=hint)
    return answer


def _enable(site: Site, record: ContainerRecord, config: ContainerConfig) -> None:
    """Give a running container's cgroup the controllers that its first limits of a kind need."""
    needed = controllers_of(config.resources) - controllers_of(record.config.resources)
    group = site.cgroup_of(record)
    if not needed or (group and needed <= cgroup_tree.offered_controllers(group)):
        return
    cgroup_places.check_limits(site, config)
    tree, parent = cgroup_tree.find_tree(), os.path.dirname(group or "")
    missing = cgroup_places.find_missing_below(parent, needed) if group else ()
    if missing or tree is None or not group:
        raise UnsupportedHostError(
            feature="the first such limit of a running container",
            reason="; ".join(one.reason for one in missing) or "it has no control group",
            hint="stop() it: it will be placed where its limits can be kept when it starts again",
        )
    cgroup_tree.enable_controllers(tree, parent, needed)


def _policy_message(policy: RestartPolicy) -> Message:
    return Message(MessageType.RESTART_POLICY, value=Restart[policy.kind.name], a=policy.maximum)


def _refused(answer: Message, writes: Writes) -> Exception:
    if not answer.detail:
        hint = "its monitor may be of an older version: stop() it and start() it again"
        return CgroupError(attempted="cannot change the limits of the container", errno=answer.error, hint=hint)
    return refused_write(answer, writes)
