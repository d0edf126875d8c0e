"""What a launch plan consists of, and why: the parts that golden files show but do not explain."""

from __future__ import annotations

from typing import TypeVar

import attrs
import pytest

from container_kit._plan.encode import encode_steps
from container_kit._plan.flags import AttachHow, InitFlag, MountAttr, Namespace
from container_kit._plan.launch import LaunchPlan
from container_kit._plan.ops import (
    Attach,
    Exec,
    ForkInit,
    Hostname,
    JoinNamespaces,
    LoopbackUp,
    MakeDir,
    Mask,
    NewFilesystem,
    NewOverlay,
    OpenSubtree,
    OpenTree,
    ParentDeathSignal,
    Pivot,
    ReadOnly,
    ReadOnlyRoot,
    Ready,
    SetMountAttr,
    SlotFile,
    SlotNode,
    StartSession,
    Step,
    Terminal,
    WriteProc,
)
from container_kit._plan.plans import ExecPlan
from container_kit._spec.container_config import ContainerConfig, ProcessConfig
from container_kit._spec.mounts import Mount
from container_kit._spec.paths import ContainerPath
from container_kit._spec.security import Security
from tests.unit.plan.cases import HOST_LAYERS, MOUNTS, ROOT, ROOTLESS, SINGLE_ID, execute, launch

StepType = TypeVar("StepType", bound=Step)


def steps_of(plan: LaunchPlan | ExecPlan, kind: type[StepType]) -> list[StepType]:
    """Return the steps of one kind."""
    return [step for step in plan.steps if isinstance(step, kind)]


def attributes_at(plan: LaunchPlan, target: str) -> MountAttr:
    """Return all attributes of the mount that ends up at a target."""
    slot = next((step.slot for step in steps_of(plan, Attach) if step.target == target), 0 if target == "/" else None)
    attributes = MountAttr.NONE
    for step in plan.gather:
        if isinstance(step, NewFilesystem | SetMountAttr) and step.slot == slot:
            attributes |= step.attributes
    return attributes


def file_in(plan: LaunchPlan, name: str) -> bytes:
    """Return the contents of a file that the plan makes."""
    return next(step.contents for step in steps_of(plan, SlotFile) if step.path == name)


# ── phases ───────────────────────────────────────────────────────────────────


def test_phases_follow_each_other_around_one_pivot() -> None:
    """Gather, pivot, attach, confine, exec."""
    plan = launch()

    assert plan.steps == (*plan.gather, Pivot(slot=0), *plan.attach, *plan.confine, plan.exec)


def test_numbers_in_text_begin_at_one() -> None:
    """The wire counts from 0, people from 1."""
    lines = str(launch()).splitlines()

    assert lines[0].split(maxsplit=1)[0] == "1"
    assert lines[-1].split(maxsplit=1)[0] == str(len(lines)) == str(len(launch().steps))


def test_ready_is_the_last_step_before_exec() -> None:
    """Nothing may go wrong between the monitor's record and the program."""
    assert isinstance(launch().steps[-2], Ready)
    assert steps_of(execute(), Ready) == []


# ── what changes from launch to launch ───────────────────────────────────────


def test_host_name_is_in_all_places() -> None:
    """The UTS name, both files and the environment."""
    plan = launch(ContainerConfig(domainname="example.org", extra_hosts=(("db", "192.0.2.7"),)), hostname="web-1")

    assert Hostname(hostname="web-1", domainname="example.org") in plan.confine
    assert file_in(plan, "hostname") == b"web-1\n"
    assert b"192.0.2.7\tdb\n" in file_in(plan, "hosts")
    assert b"web-1.example.org web-1\n" in file_in(plan, "hosts")
    assert "HOSTNAME=web-1" in steps_of(plan, Exec)[0].env


def test_launches_of_one_configuration_share_their_steps_and_bytes() -> None:
    """Only what holds the host name is made anew: this is what makes a launch cheap."""
    one, other = launch(hostname="one"), launch(hostname="two")

    fresh = [step for step in one.steps if not any(step is shared for shared in other.steps)]

    assert sorted(type(step).__name__ for step in fresh) == ["Exec", "Hostname", "Pivot", "SlotFile", "SlotFile"]
    assert encode_steps(one.steps) == encode_steps(launch(hostname="one").steps)
    assert encode_steps(one.steps) != encode_steps(other.steps)


# ── file systems ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("target", "attributes"),
    [
        ("/", MountAttr.NODEV),
        ("/proc", MountAttr.NOSUID | MountAttr.NOEXEC | MountAttr.NODEV),
        ("/dev", MountAttr.NOSUID | MountAttr.STRICTATIME),
        ("/dev/pts", MountAttr.NOSUID | MountAttr.NOEXEC),
        ("/dev/shm", MountAttr.NOSUID | MountAttr.NOEXEC | MountAttr.NODEV),
        ("/dev/mqueue", MountAttr.NOSUID | MountAttr.NOEXEC | MountAttr.NODEV),
        ("/sys", MountAttr.NOSUID | MountAttr.NOEXEC | MountAttr.NODEV | MountAttr.READ_ONLY),
        ("/sys/fs/cgroup", MountAttr.NOSUID | MountAttr.NOEXEC | MountAttr.NODEV | MountAttr.READ_ONLY),
        ("/etc/hosts", MountAttr.NONE),
    ],
)
def test_default_mounts_have_dockers_flags(target: str, attributes: MountAttr) -> None:
    """And nodev on everything but /dev and /dev/pts, because there is no device control group."""
    assert attributes == attributes_at(launch(), target)


@pytest.mark.parametrize("target", ["/proc", "/dev", "/sys"])
def test_system_file_systems_are_attached_at_ordinary_directories_only(target: str) -> None:
    """An image with a symlink in their place would send later steps astray (CVE-2019-19921)."""
    attach = next(step for step in steps_of(launch(), Attach) if step.target == target)

    assert attach.how == AttachHow.ORDINARY | AttachHow.MAKE_DIR


def test_parents_are_attached_before_children() -> None:
    """Otherwise the parent would hide the child."""
    seen: list[str] = ["/"]
    for step in steps_of(launch(ContainerConfig(mounts=MOUNTS)), Attach):
        assert not any(earlier.startswith(f"{step.target}/") for earlier in seen)
        seen.append(step.target)


def test_mounts_of_the_caller_take_the_place_of_ours() -> None:
    """/dev/shm and /etc/hosts are theirs when they say so, and nothing is made in vain."""
    plan = launch(ContainerConfig(mounts=MOUNTS))

    targets = [step.target for step in steps_of(plan, Attach)]

    assert len(targets) == len(set(targets))
    assert not any(step.path == "hosts" for step in steps_of(plan, SlotFile))
    shm = [step.options for step in steps_of(plan, NewFilesystem) if "mode=700" in step.options]
    assert shm == [("mode=700", "size=1048576")]


def test_binds_are_what_was_asked_for() -> None:
    """Read-only, propagation, recursion, file or directory; never a device."""
    plan = launch(ContainerConfig(mounts=MOUNTS))
    how = {step.target: step.how for step in steps_of(plan, Attach)}
    trees = {step.source: step.recursive for step in steps_of(plan, OpenTree)}

    assert attributes_at(plan, "/data") == MountAttr.READ_ONLY | MountAttr.NODEV | MountAttr.PRIVATE
    assert attributes_at(plan, "/shared") == MountAttr.NOEXEC | MountAttr.NODEV | MountAttr.SLAVE
    assert (how[ContainerPath("/data")], how[ContainerPath("/data/settings")]) == (
        AttachHow.MAKE_DIR,
        AttachHow.MAKE_FILE,
    )
    assert trees == {"/srv/data": True, "/srv/settings": True, "/srv/shared": False, "/srv/hosts": True}


def test_read_only_root_is_made_so_after_everything_was_put_in_it() -> None:
    """Mount points and the working directory are made in the writable layer first."""
    plan = launch(ContainerConfig(read_only=True, working_dir=ContainerPath("/work")), root=HOST_LAYERS)

    assert plan.attach[-2:] == (MakeDir(path=ContainerPath("/work")), ReadOnlyRoot())
    assert MountAttr.READ_ONLY not in attributes_at(plan, "/")
    assert MountAttr.READ_ONLY in attributes_at(plan, "/usr")


def test_every_overlay_has_directories_of_its_own() -> None:
    """Upper and work directories must not be shared."""
    plan = launch(root=HOST_LAYERS)

    assert plan.dirs == ("upper", "work", "upper.1", "work.1", "upper.2", "work.2")
    assert [(step.upper, step.work) for step in steps_of(plan, NewOverlay)] == [
        ("upper", "work"), ("upper.1", "work.1"), ("upper.2", "work.2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("volatile", "rootless", "options"),
    [(False, False, ()), (True, False, ("volatile",)), (False, True, ("userxattr",)),
     (True, True, ("volatile", "userxattr"))],
)  # fmt: skip
def test_overlay_options_follow_from_durability_and_privileges(
    volatile: bool, rootless: bool, options: tuple[str, ...]
) -> None:
    """Volatile when the data may be lost, userxattr in a user namespace."""
    plan = launch(volatile=volatile, facts=ROOTLESS if rootless else ROOT)

    assert options == steps_of(plan, NewOverlay)[0].options


# ── devices ──────────────────────────────────────────────────────────────────


def test_devices_are_made_where_that_is_possible_and_safe() -> None:
    """Root without CAP_MKNOD: six nodes in a tmpfs of ours, no host path involved."""
    plan = launch()

    nodes = {step.path: (step.major, step.minor, step.mode) for step in steps_of(plan, SlotNode)}
    assert nodes == {
        "null": (1, 3, 0o666), "zero": (1, 5, 0o666), "full": (1, 7, 0o666),
        "random": (1, 8, 0o666), "urandom": (1, 9, 0o666), "tty": (5, 0, 0o666),
    }  # fmt: skip
    assert steps_of(plan, OpenTree) == []


@pytest.mark.parametrize("case", ["rootless", "mknod", "all"])
def test_devices_are_bound_where_the_container_could_make_others(case: str) -> None:
    """A container that may call mknod(2) gets a /dev without devices of its own making; binds are read-only."""
    security = {"rootless": Security(), "mknod": Security(cap_add=("MKNOD",)), "all": Security(cap_add=("ALL",))}[case]
    plan = launch(ContainerConfig(security=security), facts=ROOTLESS if case == "rootless" else ROOT)

    assert steps_of(plan, SlotNode) == []
    assert MountAttr.NODEV in attributes_at(plan, "/dev")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        assert attributes_at(plan, f"/dev/{name}") == MountAttr.READ_ONLY | MountAttr.NOSUID | MountAttr.NOEXEC


@pytest.mark.parametrize(("facts", "has_group"), [(ROOT, True), (ROOTLESS, True), (SINGLE_ID, False)])
def test_terminals_belong_to_the_tty_group_where_it_exists(facts: object, has_group: bool) -> None:
    """Devpts refuses a gid that the user namespace does not have."""
    assert isinstance(facts, type(ROOT))
    devpts = next(step for step in steps_of(launch(facts=facts), NewFilesystem) if step.fstype == "devpts")

    assert has_group == ("gid=5" in devpts.options)


# ── masks and sysctls ────────────────────────────────────────────────────────


def test_hidden_and_read_only_paths_are_those_of_the_config() -> None:
    """In the order given; hidden files look empty."""
    security = Security(masked_paths=(ContainerPath("/a"),), read_only_paths=(ContainerPath("/b"),))
    plan = launch(ContainerConfig(security=security))

    masks = steps_of(plan, Mask)
    assert [step.path for step in masks] == ["/a"]
    assert [step.path for step in steps_of(plan, ReadOnly)] == ["/b"]
    empty = masks[0].empty
    assert SetMountAttr(slot=empty, attributes=MountAttr.READ_ONLY) in plan.gather
    null = next(step for step in plan.gather if isinstance(step, OpenSubtree) and step.slot == masks[0].null)
    assert null.path == "null"


def test_sysctls_are_written_to_a_proc_that_the_container_has_never_seen() -> None:
    """Before the pivot, through the slot; the caller's value replaces ours."""
    config = ContainerConfig(sysctls=(("net.core.somaxconn", "512"), ("net.ipv4.ip_unprivileged_port_start", "1024")))
    plan = launch(config)

    written = {step.path: step.contents for step in plan.gather if isinstance(step, WriteProc)}

    assert written == {
        "sys/net/ipv4/ip_unprivileged_port_start": b"1024",
        "sys/net/ipv4/ping_group_range": b"0 2147483647",
        "sys/net/core/somaxconn": b"512",
    }


@pytest.mark.parametrize(
    ("facts", "last"), [(ROOTLESS, b"0 65536"), (SINGLE_ID, b"0 0")], ids=["subordinate ids", "single id"]
)
def test_ping_range_ends_where_the_ids_do(facts: object, last: bytes) -> None:
    """The kernel refuses a gid that the user namespace does not have."""
    assert isinstance(facts, type(ROOT))

    written = [step.contents for step in steps_of(launch(facts=facts), WriteProc)]

    assert last in written


# ── network ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("facts", [ROOT, ROOTLESS], ids=["root", "rootless"])
def test_network_of_its_own_has_a_loopback(facts: object) -> None:
    """A new network namespace begins with lo down."""
    assert isinstance(facts, type(ROOT))
    plan = launch(facts=facts)

    assert Namespace.NET in plan.namespaces
    assert len(steps_of(plan, LoopbackUp)) == 1


def test_host_network_is_left_alone() -> None:
    """No new namespace, no link changed, no sysctl written; its /sys is bound where it cannot be mounted."""
    plan = launch(ContainerConfig(network="host"), facts=ROOTLESS)

    assert Namespace.NET not in plan.namespaces
    assert steps_of(plan, LoopbackUp) == []
    assert steps_of(plan, WriteProc) == []
    assert [step.source for step in steps_of(plan, OpenTree) if not step.source.startswith("/dev/")] == ["/sys"]
    assert MountAttr.READ_ONLY in attributes_at(plan, "/sys")


# ── init, terminal, exec ─────────────────────────────────────────────────────


@pytest.mark.parametrize("init", [False, True])
@pytest.mark.parametrize("tty", [False, True])
def test_plan_says_what_the_monitor_must_know(init: bool, tty: bool) -> None:
    """Own memory for an init that stays, a terminal instead of pipes."""
    plan = launch(ContainerConfig(init=init, tty=tty, tty_size=(50, 100)))
    process = execute(ProcessConfig(command=("x",), tty=tty, tty_size=(50, 100)), supervise=init)

    for one in (plan, process):
        assert (one.own_memory, one.terminal) == (init, tty)
        assert steps_of(one, Terminal) == [Terminal(rows=50, columns=100)] * tty
    assert steps_of(plan, ForkInit) == [ForkInit(flags=InitFlag.NONE)] * init
    assert steps_of(process, ForkInit) == [ForkInit(flags=InitFlag.SUBREAPER)] * init


def test_child_of_an_init_has_its_own_session_and_dies_with_it() -> None:
    """Signals for its group must not reach the init, and a terminal belongs to it."""
    confine = launch(ContainerConfig(init=True, tty=True)).confine
    after = confine[[type(step) for step in confine].index(ForkInit) + 1 :]

    assert [type(step) for step in after] == [ParentDeathSignal, StartSession, Terminal, Ready]


def test_exec_joins_the_namespaces_that_the_container_has() -> None:
    """Its own ones, never the user namespace: the monitor is in that already."""
    private = steps_of(execute(), JoinNamespaces)[0].namespaces
    shared = steps_of(execute(config=ContainerConfig(network="host")), JoinNamespaces)[0].namespaces

    assert private == launch().namespaces
    assert shared == private & ~Namespace.NET
    assert Namespace.USER not in private


def test_exec_is_in_the_containers_directory_unless_it_says_otherwise() -> None:
    """As `docker exec --workdir`."""
    config = ContainerConfig(working_dir=ContainerPath("/work"))
    elsewhere = ProcessConfig(command=("ps",), working_dir=ContainerPath("/else"))

    assert "change to directory /work" in str(execute(config=config))
    assert "change to directory /else" in str(execute(elsewhere, config=config))


def test_plans_are_values() -> None:
    """Equal when made from equal parts, different when a part differs."""
    config = ContainerConfig(command=("x",), mounts=(Mount.tmpfs("/t"),))

    assert launch(config) == launch(attrs.evolve(config))
    assert launch(config) != launch(attrs.evolve(config, read_only=True))
    assert execute(supervise=True) != execute(supervise=False)
