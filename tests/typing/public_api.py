"""What type checkers see of the public API. Never run: mypy and pyright read it, and fail when a type changes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO, Literal, assert_never, assert_type

import container_kit as ck
from container_kit import errors, wait

IMAGE = ck.Image.host(include=[Path("/opt/python"), "/opt/node"])
Status = Literal["created", "running", "paused", "restarting", "exited", "dead"]
Health = Literal["none", "starting", "healthy", "unhealthy"]


def run_is_bytes_unless_text_is_asked_for(engine: ck.Engine, whether: dict[str, str]) -> None:
    """`text` decides the type of the output, as in subprocess."""
    assert_type(ck.run(IMAGE), ck.Completed[bytes])
    assert_type(ck.run(IMAGE, ["true"], text=False), ck.Completed[bytes])
    result = ck.run(IMAGE, ["true"], text=True, input=b"x", timeout=1, check=True, engine=engine, env=whether)
    assert_type(result, ck.Completed[str])
    assert_type(result.stdout, str)
    assert_type(result.args, tuple[str, ...])
    assert_type(result.timed_out, bool)
    assert_type(result.usage.user_seconds, float)
    as_subprocess: subprocess.CompletedProcess[str] = result
    as_subprocess.check_returncode()


def options_are_typed() -> None:
    """Every keyword has its type; an unknown one and a wrong value are errors."""
    ck.start(
        IMAGE,
        ck.shell("exit"),
        name="web",
        env={"A": "b"},
        env_file=[Path("a.env")],
        working_dir="/srv",
        user=1000,
        groups=["audio", 29],
        labels=["a=b"],
        mounts=[ck.Mount.bind(Path("/srv"), "/srv", read_only=True), ck.Mount.tmpfs("/tmp", size="64m")],
        tmpfs={"/run": "size=1m"},
        ulimits={"nofile": (1, 2), "core": 0},
        resources=ck.Resources(memory="512m", cpus=1.5, io_write_bps={"/dev/sda": "10m"}, hugetlb={"2MB": 0}),
        devices=["/dev/fuse:rw", "vendor.com/gpu=all", ck.Device(source=Path("/dev/kvm"), access="rw")],
        cgroup_parent="/user.slice/mine",
        time_limit=1.5,
        restart=ck.RestartPolicy.always(),
        healthcheck=ck.Healthcheck(["true"], interval=1),
        network="host",
        security=ck.Security.untrusted(),
        log=ck.LogConfig(max_bytes="1m", max_files=2),
        stop_signal="INT",
        tty_size=(24, 80),
        wait=(wait.port(80) & wait.log("ready") | wait.healthy()).within(30),
    )
    ck.ImageConfig(command=["sh"], entrypoint=("sh",), working_dir=Path("/srv"))
    ck.run(IMAGE, nmae="web")  # type: ignore[call-overload]  # a typing error
    ck.run(IMAGE, network="bridge")  # type: ignore[call-overload]  # not a network mode
    ck.start(IMAGE, read_only="yes")  # type: ignore[arg-type]  # not a flag
    ck.start(IMAGE, wait=30)  # type: ignore[arg-type]  # not a condition


def containers_are_found_and_read(box: ck.Container) -> None:
    """Closed sets are literals, so that comparing with a word that cannot be is found."""
    assert_type(ck.Container.create(IMAGE), ck.Container)
    assert_type(ck.Container.get("web"), ck.Container)
    assert_type(ck.Container.list(all=True, label={"a": None, "b": "c"}), list[ck.Container])
    assert_type(ck.Container.prune(), tuple[str, ...])
    assert_type(box.status, Status)
    assert_type(box.health, Health)
    assert_type(box.pid, int | None)
    assert_type(box.exit_code, int | None)
    assert_type(box.labels, dict[str, str])
    assert_type(box.inspect(), ck.Inspection)
    assert_type(box.inspect().started_at, datetime | None)
    with box as same:
        assert_type(same, ck.Container)


def lives_are_led(box: ck.Container) -> None:
    """Commands return nothing, waiting returns the exit code."""
    methods: list[Callable[[], None]] = [box.start, box.stop, box.kill, box.restart, box.pause, box.unpause, box.remove]
    assert len(methods) == 7
    assert_type(box.wait(timeout=1.5), int)
    assert_type(box.wait(condition=wait.exit(0)), int)
    box.kill("HUP")
    box.remove(force=True, missing_ok=True)
    box.remove(True)  # type: ignore[call-arg]  # no boolean by position


def confinement_is_typed(box: ck.Container) -> None:
    """Profiles are values; what may be waived and how a namespace is made are literals."""
    assert_type(ck.Security.docker(), ck.Security)
    assert_type(ck.Security.privileged(), ck.Security)
    assert_type(ck.Security.untrusted(memory="1g", pids=64, scratch=1 << 20, time_limit=None), ck.Security)
    ck.Security.untrusted(waive=["memory", "pids", "userns"])
    ck.Security.untrusted(waive=["seccomp"])  # type: ignore[list-item]  # cannot be waived
    security = ck.Security(cap_add=["NET_RAW"], userns="auto", seccomp=Path("/etc/profile.json"), apparmor="mine")
    assert_type(security.cap_add, tuple[str, ...])
    ck.Security(userns="private")  # type: ignore[arg-type]  # not a mode
    assert_type(box.inspect().config.resources, ck.Resources)
    assert_type(ck.Resources(cpus="0.5").cpus, float | None)
    ck.Resources(pids="many")  # type: ignore[arg-type]  # not a number


def limits_are_changed(box: ck.Container) -> None:
    """By name only; nothing comes back."""
    change: Callable[..., None] = box.update
    change(resources=ck.Resources(memory=-1), restart=ck.RestartPolicy.always())
    box.update(ck.Resources())  # type: ignore[call-arg]  # by name


def processes_are_typed(box: ck.Container) -> None:
    """exec is run's sibling; spawn and attach return a process."""
    assert_type(box.exec(["true"]), ck.Completed[bytes])
    assert_type(box.exec(["true"], text=True, user="app", working_dir=Path("/srv")), ck.Completed[str])
    box.exec(["true"], hostname="web")  # type: ignore[call-overload]  # that is the container's
    process = box.spawn(["cat"], stdin=ck.PIPE, stderr=ck.STDOUT, tty=False)
    assert_type(process, ck.Process)
    assert_type(box.attach(stdin=True), ck.Process)
    assert_type(process.stdin, IO[bytes] | None)
    assert_type(process.returncode, int | None)
    assert_type(process.wait(), int)
    assert_type(process.communicate(b"x"), tuple[bytes, bytes])
    assert_type(process.interact(), int | None)
    for event in process.events(idle_timeout=1):
        assert_type(read_event(event), bytes | int)


def read_event(event: ck.Stdout | ck.Stderr | ck.Exited) -> bytes | int:
    """A match over events is known to be complete."""
    match event:
        case ck.Stdout(data) | ck.Stderr(data):
            return data
        case ck.Exited(code):
            return code
        case _:
            assert_never(event)


def output_and_usage_are_typed(box: ck.Container) -> None:
    """Values, not dictionaries."""
    assert_type(box.logs(follow=True, tail=10), Iterator[ck.LogLine])
    for line in box.logs():
        assert_type(line.time, datetime)
        assert_type(line.data, bytes)
        assert_type(line.text, str)
    assert_type(box.stats(), ck.Stats)
    assert_type(box.stats().memory_bytes, int)
    assert_type(box.stats_stream(interval=0.5), Iterator[ck.Stats])
    assert_type(box.stats().interfaces, tuple[ck.InterfaceTraffic, ...] | None)
    assert_type(box.stats().devices, tuple[ck.DeviceTraffic, ...] | None)
    assert_type(box.stats().cpu_percent, float | None)
    for pressure in (box.stats().memory_pressure, box.stats().io_pressure):
        assert_type(pressure, ck.Pressure | None)
    assert_type(box.top(), tuple[ck.ProcessInfo, ...])
    assert_type([process.command for process in box.top()], list[str])
    assert_type(box.listening_ports(), frozenset[int])


def images_are_typed(engine: ck.Engine, stream: BinaryIO) -> None:
    """One noun for all of them, values for what is known about one."""
    assert_type(ck.Image.pull("debian:12", platform="linux/arm64", progress=ck.progress(), engine=engine), ck.Image)
    assert_type(ck.Image.get("debian"), ck.Image)
    assert_type(ck.Image.list(), list[ck.Image])
    assert_type(ck.Image.load(stream), tuple[ck.Image, ...])
    assert_type(ck.Image.import_(Path("x.tar"), "mine:1", changes=["CMD /bin/sh"]), ck.Image)
    assert_type(ck.Image.search("redis"), tuple[ck.SearchResult, ...])
    assert_type(ck.Image.prune(all=True), ck.Pruned)
    image = ck.Image.get("debian")
    assert_type(image.with_layer("tree").with_config(changes=["ENV A=b"]), ck.Image)
    assert_type(image.tag("me:1"), ck.Image)
    assert_type(image.push(compression="gzip"), str)
    assert_type(image.inspect(), ck.ImageInspection)
    assert_type(image.history(), tuple[ck.HistoryItem, ...])
    assert_type(image.config, ck.ImageConfig)
    assert_type(image.path("/etc/os-release").read_text(), str)
    assert_type(engine.df(), tuple[ck.ImageUsage, ...])
    ck.run("debian:12", ["true"], pull="never", platform="linux/amd64")


def files_of_containers_are_typed(box: ck.Container) -> None:
    """Paths like pathlib's, changes as values, commits as images."""
    assert_type(box.path("/etc") / "motd", ck.TreePath)
    assert_type(box.diff(), tuple[ck.Change, ...])
    assert_type(box.commit("me:1", message="kept"), ck.Image)


def engines_are_typed() -> None:
    """The place where all of it lives."""
    with ck.Engine("/srv/state", cgroup_parent="user.slice/mine") as engine:
        assert_type(engine.capabilities(), tuple[ck.Capability, ...])
        assert_type(engine.events(since=3, follow=True), Iterator[ck.Event])
        assert_type(engine.root, str)
    assert_type(ck.default_engine(), ck.Engine)
    ck.set_default_engine(None)


def errors_are_what_python_expects(error: Exception) -> None:
    """Each has fields, and the builtin base that fits."""
    match error:
        case errors.InvalidSpecError():
            value_error: ValueError = error
            assert_type(error.field, str)
            raise value_error
        case errors.ContainerNotFoundError():
            lookup_error: LookupError = error
            assert_type(error.near, tuple[str, ...])
            raise lookup_error
        case errors.ExecTimeoutError():
            expired: subprocess.TimeoutExpired = error
            raise expired
        case errors.ContainerKitError():
            assert_type(error.hint, str | None)
        case _:
            pass
