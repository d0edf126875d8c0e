"""Story: what each profile of security comes to, seen from inside and from outside."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import Resources, Security, errors
from tests.probes import probe_controllers

SLEEP = ["payload", "sleep", "1000"]


def of_status(pid: int | str, field: str) -> str:
    """Return a field of /proc/<pid>/status as the host sees it."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return dict(line.split(":", 1) for line in text.splitlines())[field].strip()


def fields(output: str) -> dict[str, str]:
    """Read lines of /proc/self/status as the payload prints them."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in output.splitlines())}


# ── when the host runs out of memory ─────────────────────────────────────────────────────────────


def test_every_process_of_a_container_has_its_oom_score(engine: ck.Engine, image: ck.Image) -> None:
    """Its first process, what that starts, and what comes later by exec; the monitor keeps the caller's."""
    own = int(Path("/proc/self/oom_score_adj").read_text())
    wanted = own + 1 if own < 1000 else own
    read = ["payload", "read", "/proc/self/oom_score_adj"]

    run = ck.run(image, read, resources=Resources(oom_score_adj=wanted), engine=engine, text=True)
    with_init = ck.run(image, read, init=True, resources=Resources(oom_score_adj=wanted), engine=engine, text=True)
    box = ck.start(image, SLEEP, resources=Resources(oom_score_adj=wanted), engine=engine)
    later = box.exec(read, text=True)
    assert box.pid is not None
    monitor = of_status(box.pid, "PPid")

    assert [f"{wanted}\n"] * 3 == [run.stdout, with_init.stdout, later.stdout]
    assert wanted == int(Path(f"/proc/{box.pid}/oom_score_adj").read_text())
    assert own == int(Path(f"/proc/{monitor}/oom_score_adj").read_text())


def test_an_oom_score_that_may_not_be_lowered_is_refused(engine: ck.Engine, image: ck.Image) -> None:
    """Below the caller's own it takes CAP_SYS_RESOURCE: then it is so, else the error says what it takes."""
    may_lower = bool(int(of_status("self", "CapEff"), 16) >> 24 & 1)
    got = ""

    try:
        command = ["payload", "read", "/proc/self/oom_score_adj"]
        got = ck.run(image, command, resources=Resources(oom_score_adj=-999), engine=engine, text=True).stdout
    except errors.UnsupportedHostError as err:
        got = err.feature

    assert ("-999\n" if may_lower else "oom_score_adj=-999") == got


# ── what was asked for is there, or nothing is ───────────────────────────────────────────────────


@pytest.mark.parametrize(("module", "security"), [
    ("AppArmor", Security(apparmor="no-such-profile")),
    ("SELinux", Security(selinux="no:such:label:s0")),
])  # fmt: skip
def test_a_label_that_the_host_does_not_have_is_refused(
    engine: ck.Engine, image: ck.Image, module: str, security: Security
) -> None:
    """Whether the module is missing or only the profile: nothing starts without it, and nothing is left."""
    with pytest.raises(errors.UnsupportedHostError) as caught:
        ck.start(image, SLEEP, security=security, engine=engine)

    assert module in caught.value.feature
    assert [] == ck.Container.list(all=True, engine=engine)


def test_the_filter_that_was_asked_for_is_installed(engine: ck.Engine, image: ck.Image) -> None:
    """Once, on top of the caller's own: asked of the kernel from outside, for the first process and for later ones."""
    own = int(of_status("self", "Seccomp_filters"))
    seen: dict[str, list[int]] = {}

    for mode in ("default", "docker", "unconfined"):
        box = ck.start(image, SLEEP, security=Security(seccomp=mode), engine=engine)
        later = fields(box.exec(["payload", "seccomp"], text=True).stdout)
        assert box.pid is not None
        first = of_status(box.pid, "Seccomp_filters")
        seen[mode] = [int(count) - own for count in (first, later["Seccomp_filters"])]

    assert {"default": [1, 1], "docker": [1, 1], "unconfined": [0, 0]} == seen


@pytest.mark.parametrize("way", ["run", "init", "exec"])
def test_privileges_may_be_gained_under_a_filter(engine: ck.Engine, image: ck.Image, way: str) -> None:
    """Without no_new_privs a filter takes privileges that are given up afterwards; it is there all the same."""
    security = Security(no_new_privileges=False)
    command = ["payload", "seccomp"]

    if way == "exec":
        result = ck.start(image, SLEEP, security=security, engine=engine).exec(command, text=True)
    else:
        result = ck.run(image, command, security=security, init=way == "init", engine=engine, text=True)

    own = int(of_status("self", "Seccomp_filters"))
    assert {"Seccomp": "2", "Seccomp_filters": str(own + 1)} == fields(result.stdout)


# ── docker and privileged ────────────────────────────────────────────────────────────────────────


def test_dockers_profile_has_dockers_capabilities(engine: ck.Engine, image: ck.Image) -> None:
    """The fourteen, in three sets and no more; programs may gain privileges."""
    box = ck.start(image, SLEEP, security=Security.docker(), engine=engine)
    assert box.pid is not None

    sets = {name: int(of_status(box.pid, name), 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")}

    assert {"CapPrm": 0xA80425FB, "CapEff": 0xA80425FB, "CapBnd": 0xA80425FB, "CapInh": 0, "CapAmb": 0} == sets
    assert ("0", "2") == (of_status(box.pid, "NoNewPrivs"), of_status(box.pid, "Seccomp"))


def test_a_privileged_container_has_all_that_the_caller_can_give(engine: ck.Engine, image: ck.Image) -> None:
    """Every capability, no filter, and a /sys and cgroups that can be written; what it made there goes with it."""
    security = Security.privileged()
    own = int(of_status("self", "CapEff"), 16) if os.geteuid() == 0 else 2**41 - 1
    box = ck.start(image, SLEEP, security=security, engine=engine)
    assert box.pid is not None

    made = box.exec(["payload", "mkdir", "/sys/fs/cgroup/inner"])
    mounts = box.exec(["payload", "mounts"], text=True).stdout.splitlines()

    assert (own & 2**41 - 1, "0") == (int(of_status(box.pid, "CapEff"), 16), of_status(box.pid, "NoNewPrivs"))
    assert of_status("self", "Seccomp") == of_status(box.pid, "Seccomp")
    assert 0 == made.returncode, made.stderr
    sys_mounts = [line for line in mounts if " /sys " in line or " /sys/fs/cgroup " in line]
    assert 2 == len(sys_mounts)
    assert not [line for line in sys_mounts if " ro," in line]
    assert [] == [line for line in mounts if " /proc/" in line]


def test_every_capability_alone_uncovers_nothing(engine: ck.Engine, image: ck.Image) -> None:
    """`cap_add=ALL` is not privileged: kernel files stay hidden, /sys stays read-only, system calls stay filtered."""
    security = Security(cap_add=("ALL",))

    masked = ck.run(image, ["payload", "stat", "/proc/interrupts"], security=security, engine=engine, text=True).stdout
    written = ck.run(image, ["payload", "mkdir", "/sys/fs/cgroup/inner"], security=security, engine=engine, text=True)
    filtered = ck.run(image, ["payload", "keyctl"], security=security, engine=engine, text=True)

    assert "1:3" in masked
    assert "EROFS" in written.stderr
    assert "EPERM" in filtered.stderr


def test_keys_of_the_caller_stay_with_the_caller(engine: ck.Engine, image: ck.Image, payload_rootfs: Path) -> None:
    """Where keyctl(2) may be called, each container and each further process has a session keyring of its own."""
    program = str(payload_rootfs / "bin" / "payload")
    callers = subprocess.run([program, "keyctl"], capture_output=True, text=True, check=True).stdout
    security = Security(seccomp="unconfined")
    box = ck.start(image, SLEEP, security=security, engine=engine)

    inside = [
        ck.run(image, ["payload", "keyctl"], security=security, engine=engine, text=True, check=True).stdout,
        box.exec(["payload", "keyctl"], text=True, check=True).stdout,
        box.exec(["payload", "keyctl"], text=True, check=True).stdout,
    ]

    assert 4 == len({callers, *inside})


# ── untrusted ────────────────────────────────────────────────────────────────────────────────────


MAKERS: list[Callable[..., object]] = [ck.run, ck.start, ck.Container.create]


@pytest.mark.parametrize("make", [ck.run, ck.start, ck.Container.create])
def test_all_that_a_sandbox_lacks_is_said_at_once(
    engine: ck.Engine, image: ck.Image, make: Callable[..., object]
) -> None:
    """One error names each thing that is missing, what to do about it, and how to do without; nothing is left."""
    missing = [name for name in ("memory", "pids") if probe_controllers(name)]

    with pytest.raises(errors.UnsupportedHostError) if missing else nullcontext() as caught:
        make(image, SLEEP, security=Security.untrusted(time_limit=1), engine=engine)

    if caught is not None:
        assert "Security.untrusted()" == caught.value.feature
        assert missing == [name for name in ("memory", "pids") if f"the {name} controller" in caught.value.reason]
        assert "waive=[" in (caught.value.hint or "")
        assert [] == ck.Container.list(all=True, engine=engine)


WAIVED = Security.untrusted(scratch="1m", waive=["memory", "pids", "userns"])


def test_a_sandbox_is_as_closed_as_it_says(engine: ck.Engine, image: ck.Image) -> None:
    """No capability at all, a read-only root, scratch space that is bounded, nothing of the caller."""
    box = ck.start(image, SLEEP, security=WAIVED, engine=engine)
    assert box.pid is not None

    sets = {of_status(box.pid, name) for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")}
    root = box.exec(["payload", "open", "c", "/srv/x"], text=True).stdout
    scratch = box.exec(["payload", "open", "c", "/tmp/x"], text=True).stdout
    limits = Path(f"/proc/{box.pid}/limits").read_text()
    tmpfs = [line for line in box.exec(["payload", "mounts"], text=True).stdout.splitlines() if " /tmp " in line]

    assert {f"{0:016x}"} == sets
    assert ("1", "2") == (of_status(box.pid, "NoNewPrivs"), of_status(box.pid, "Seccomp"))
    assert ("EROFS", "ok") == (root.strip(), scratch.strip())
    assert [["0", "0"], ["1024", "1024"]] == [
        line.split()[-3:-1] for line in limits.splitlines() if line.startswith(("Max core", "Max open"))
    ]
    assert "size=1024k" in tmpfs[0]


def test_a_process_that_enters_a_sandbox_is_as_confined(engine: ck.Engine, image: ck.Image) -> None:
    """Asking for another user brings no capability back, and no filter less."""
    box = ck.start(image, SLEEP, security=WAIVED, engine=engine)

    for user in (None, "0"):
        said = [box.exec(["payload", what], user=user, text=True).stdout for what in ("caps", "nnp", "seccomp")]
        assert {f"{0:016x}"} == set(fields(said[0]).values())
        assert ("1", "2") == (said[1].split()[-1], fields(said[2])["Seccomp"])


def test_a_sandbox_knows_nothing_of_its_maker(
    engine: ck.Engine, image: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's environment stays outside; only the loopback interface is there."""
    monkeypatch.setenv("A_SECRET", "of the caller")

    env = ck.run(image, ["payload", "env"], security=WAIVED, engine=engine, text=True).stdout
    links = ck.run(image, ["payload", "ls", "/sys/class/net"], security=WAIVED, engine=engine, text=True).stdout

    assert "SECRET" not in env
    assert ["lo"] == links.split()


def test_a_sandbox_ends_in_time_though_nobody_asked(engine: ck.Engine, image: ck.Image) -> None:
    """Its limit is part of the profile; what it says is bounded as well."""
    security = Security.untrusted(time_limit=0.3, waive=["memory", "pids", "userns"])

    late = ck.run(image, ["payload", "ignore-term"], security=security, engine=engine)
    flood = ck.run(image, ["payload", "flood", str(20 << 20)], security=WAIVED, max_output=1 << 20, engine=engine)

    assert (True, 137) == (late.timed_out, late.returncode)
    assert (True, 1 << 20) == (flood.truncated, len(flood.stdout))


def test_a_sandbox_is_the_same_when_it_is_read_back(engine: ck.Engine, image: ck.Image) -> None:
    """What is recorded is what holds: bounds and profile survive the database."""
    box = ck.Container.create(image, SLEEP, security=WAIVED, detach=True, engine=engine)

    config = ck.Container.get(box.id, engine=engine).inspect().config

    assert (WAIVED, True, 60.0) == (config.security, config.read_only, config.time_limit)
    assert {"core", "nofile"} == {limit.name for limit in config.ulimits}
