"""Story: containers with ids of their own, for root and for users who have subordinate ids.

Root inside is nobody outside. Everything a container can do it can do with ids of its own as well.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Unpack

import pytest

import container_kit as ck
from container_kit import errors, wait
from container_kit._spec.options import ContainerOptions
from tests.e2e.interpreters import Interpreters, first_line
from tests.e2e.patience import PATIENCE, ends_within, eventually
from tests.probes import probe_root

IS_ROOT = not probe_root()
AUTO = ck.Security(userns="auto")
OPTIONS: ContainerOptions = {"security": AUTO, "read_only": True, "tmpfs": {"/tmp": "", "/made/for/it": ""}}
IDS = 65536 if IS_ROOT else 1000
CLAIMS = Path("/run/container_kit/id-ranges")
TEMPORARY = Path(f"/tmp/container_kit-{os.geteuid()}")

pytestmark = [pytest.mark.needs_idmapped_mounts] if IS_ROOT else [pytest.mark.needs_subids, pytest.mark.needs_userns]


def start(engine: ck.Engine, image: ck.Image, *command: str, **options: Unpack[ContainerOptions]) -> ck.Container:
    """Start a container with ids of its own and a root that cannot be written."""
    all_options: ContainerOptions = {**OPTIONS, **options}
    return ck.start(image, ["payload", *command], engine=engine, **all_options)


def run(engine: ck.Engine, image: ck.Image, *command: str, **options: Unpack[ContainerOptions]) -> ck.Completed[str]:
    """Run one to its end."""
    all_options: ContainerOptions = {**OPTIONS, **options}
    return ck.run(image, command, text=True, engine=engine, **all_options)


def sleep(engine: ck.Engine, image: ck.Image, **options: Unpack[ContainerOptions]) -> ck.Container:
    """Start one that only sleeps."""
    return start(engine, image, "sleep", "1000", **options)


def outside_ids(box: ck.Container, which: str) -> range:
    """Return the ids that a container has outside, as the map of its init says; they follow one another."""
    lines = Path(f"/proc/{box.pid}/{which}_map").read_text(encoding="ascii").splitlines()
    ranges = sorted((int(outside), int(size)) for _, outside, size in map(str.split, lines))
    return range(ranges[0][0], ranges[0][0] + sum(size for _, size in ranges))


def own_uids(pid: int | None) -> set[int]:
    """Return the uids that a process has outside."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return {int(word) for line in lines if line.startswith("Uid:") for word in line.split()[1:]}


def test_root_inside_is_an_id_outside_that_nobody_has(engine: ck.Engine, image: ck.Image) -> None:
    """Init and exec are root inside; outside they have ids of the range, and neither the caller's nor root's."""
    box = sleep(engine, image)
    with box.spawn(["payload", "sleep", "1000"]):
        seen = [own_uids(process.pid) for process in box.top()]

    uids, gids = outside_ids(box, "uid"), outside_ids(box, "gid")

    assert IDS == len(uids) <= len(gids)
    assert not {0, os.geteuid()} & set(uids)
    assert [{uids[0]}] * 2 == seen
    assert box.exec(["payload", "id"], text=True).stdout.startswith("uid=0 euid=0 gid=0 egid=0 ")
    if IS_ROOT:
        assert 524288 <= uids[0] < 1878982656
        assert 0 == uids[0] % IDS


def test_containers_that_run_together_share_no_id(engine: ck.Engine, image: ck.Image) -> None:
    """Twenty at once have twenty ranges; when they have ended nobody claims these any more."""
    with ThreadPoolExecutor(8) as pool:
        starts = [pool.submit(sleep, engine, image, detach=True, remove=True) for _ in range(20)]
        boxes = [start.result() for start in starts]
        first_ids = {outside_ids(box, "uid")[0] for box in boxes}
        claimed = claims()
        for box in boxes:
            pool.submit(box.kill)

    assert 20 == len(first_ids)
    assert 20 <= len(claimed)
    eventually(lambda: len(claims() & claimed) <= len(claimed) - 20, "their claims are gone")


def claims() -> set[int]:
    """Return the numbers of the ranges that are claimed."""
    place = CLAIMS if IS_ROOT else find_claims_of_user()
    inode = place.stat().st_ino
    locks = (line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines())
    return {int(words[-2]) for words in locks if words[1] == "OFDLCK" and words[-3].endswith(f":{inode}")}


def find_claims_of_user() -> Path:
    """Return the file of the user's claims."""
    session = Path(f"/run/user/{os.geteuid()}")
    return Path(session, "container_kit/id-ranges") if session.exists() else TEMPORARY / "id-ranges"


def test_all_engines_of_a_user_claim_in_the_same_place(
    engine: ck.Engine, image: ck.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever runtime directory a process was given: else two could have the same ids."""
    sleep(engine, image)
    before = claims()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    sleep(engine, image)

    assert claims() - before


@pytest.mark.parametrize("user", ["0:0", "1000:1001", "65534:65534"])
def test_any_user_can_be_inside(engine: ck.Engine, image: ck.Image, user: str) -> None:
    """A user has the ids that were asked for, in run and exec, and may write where it may."""
    uid, _, gid = user.partition(":")
    script = ["payload", "id"]

    ran = run(engine, image, *script, user=user)
    box = sleep(engine, image, user=user)

    assert ran.stdout.startswith(f"uid={uid} euid={uid} gid={gid} egid={gid} groups={gid}")
    assert ran.stdout == box.exec(script, text=True).stdout
    assert 0 == box.exec(["payload", "write", "/tmp/new", "text"]).returncode
    assert own_uids(box.pid) <= set(outside_ids(box, "uid"))


def test_mount_points_are_made_wherever_they_are_missing(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """Also deep ones, though the root belongs to nobody inside; the working directory as well."""
    (tmp_path / "shown").write_text("text")
    (tmp_path / "shown").chmod(0o644)
    mounts = [ck.Mount.bind(tmp_path / "shown", "/a/b/c", read_only=True)]

    read = run(engine, image, "payload", "read", "/a/b/c", mounts=mounts)
    written = run(engine, image, "payload", "write", "/made/for/it/x", "text")
    place = run(engine, image, "payload", "pwd", working_dir="/work/here")

    assert ("text", 0, "/work/here\n") == (read.stdout, written.returncode, place.stdout)


def test_root_inside_has_no_power_over_files_of_the_host(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """With every capability it reads no private file of its caller that it is shown, and changes no public one."""
    private, public = tmp_path / "private", tmp_path / "public"
    for path, mode in ((private, 0o600), (public, 0o644)):
        path.write_text("text")
        path.chmod(mode)
    security = ck.Security(userns="auto", cap_add=["ALL"])
    mounts = [ck.Mount.bind(private, "/private"), ck.Mount.bind(public, "/public")]
    box = sleep(engine, image, security=security, mounts=mounts)

    opened = [
        box.exec(["payload", "open", mode, path], text=True).stdout
        for mode, path in (("r", "/private"), ("r", "/public"), ("w", "/public"))
    ]

    assert ["EACCES\n", "ok\n", "EACCES\n"] == opened
    assert "EPERM" in box.exec(["payload", "chown", "0", "0", "/public"], text=True).stderr
    assert "text" == public.read_text()


def test_init_a_terminal_and_stdin_work(engine: ck.Engine, image: ck.Image) -> None:
    """A reaping init stays behind in the namespace; a terminal belongs to its user."""
    with_init = run(engine, image, "payload", "status", "NSpid", init=True)
    reader = start(engine, image, "cat", stdin=True)
    terminal = start(engine, image, "tty", tty=True, user="1000")

    with reader.attach(stdin=True) as client:
        assert client.stdin is not None
        client.stdin.write(b"text\n")
        client.close_stdin()
        said = list(client.events(idle_timeout=20))

    assert ["2"] == with_init.stdout.split()[-1:]
    assert ck.Exited(0) == said[-1]
    assert 0 == terminal.wait(20)
    assert ["/dev/pts/0 24 80 controlling\r"] == [line.text for line in terminal.logs()]


def test_it_is_stopped_paused_killed_and_started_again(engine: ck.Engine, image: ck.Image) -> None:
    """The signals reach the process inside; a second start may have other ids."""
    box = ck.Container.create(image, ["payload", "trap", "HUP"], engine=engine, **OPTIONS)
    box.start()
    box.wait(20, condition=wait.log("ready"))
    box.pause()
    paused = box.status
    box.unpause()
    box.stop()
    stopped = box.exit_code
    box.start()
    box.kill()

    assert ("paused", 15) == (paused, stopped)
    assert 128 + signal.SIGKILL == box.wait(20)


def test_a_timeout_ends_it(engine: ck.Engine, image: ck.Image) -> None:
    """With everything it has started."""
    done = ck.run(image, ["payload", "fork-tree", "3"], timeout=0.5, engine=engine, **OPTIONS)

    assert done.timed_out


def test_it_is_restarted_and_watched(engine: ck.Engine, image: ck.Image) -> None:
    """A restart policy starts it again, each time recorded; a health check runs inside."""
    failing = start(engine, image, "exit", "3", restart=ck.RestartPolicy.on_failure(2), detach=True)
    check = ck.Healthcheck(test=("payload", "true"), interval=0.05)
    healthy = sleep(engine, image, healthcheck=check)

    assert 3 == failing.wait(20)
    assert 2 == failing.inspect().restarts
    eventually(lambda: healthy.health == "healthy", "the health check ran inside")
    failing.remove()


def test_what_fails_inside_is_said_and_nothing_is_left(engine: ck.Engine, image: ck.Image) -> None:
    """Before the namespace is entered, and after."""
    with pytest.raises(errors.CommandNotFoundError):
        run(engine, image, "absent")
    with pytest.raises(errors.InvalidSpecError) as failed:
        run(engine, image, "payload", "true", working_dir="/bin/payload")

    assert "working_dir" == failed.value.field
    assert [] == ck.Container.list(all=True, engine=engine)


def test_it_ends_with_its_owner(engine: ck.Engine, interpreters: Interpreters) -> None:
    """SIGKILL of the owner ends the container and gives its ids back."""
    script = """
options = {"security": ck.Security(userns="auto"), "read_only": True}
box = ck.start(image, ["payload", "sleep", "1000"], engine=engine, **options)
print(box.pid, flush=True)
signal.pause()
"""
    owner = interpreters.start(script)
    init = os.pidfd_open(int(first_line(owner)))

    owner.kill()

    assert ends_within(init, PATIENCE)


def test_own_namespaces_can_be_configured(engine: ck.Engine, image: ck.Image) -> None:
    """Host name, sysctls, limits and the network are the container's own, or the host's where asked for."""
    limits = [ck.Ulimit("nofile", 64, 64)]
    named = run(engine, image, "payload", "hostname", hostname="inside")
    tuned = run(engine, image, "payload", "sysctl", "kernel.msgmax", sysctls={"kernel.msgmax": "4096"})
    limited = run(engine, image, "payload", "rlimit", "7", ulimits=limits)
    shared = run(engine, image, "payload", "ls", "/sys/class/net", network="host")

    assert named.stdout.startswith("inside")
    assert ("4096\n", "64 64\n") == (tuned.stdout, limited.stdout)
    assert sorted(os.listdir("/sys/class/net")) == shared.stdout.split()


def test_an_untrusted_container_has_ids_of_its_own(engine: ck.Engine, image: ck.Image) -> None:
    """The profile asks for them."""
    security = ck.Security.untrusted(waive=["memory", "pids"])

    mapped = ck.run(image, ["payload", "read", "/proc/self/uid_map"], security=security, engine=engine, text=True)

    assert "0" == mapped.stdout.split()[0]
    assert mapped.stdout.split()[1] not in ("0", str(os.geteuid()))


def test_a_writable_root_takes_root(engine: ck.Engine, image: ck.Image) -> None:
    """A user is told so, and what to do; nothing is made less strict silently."""
    options: ContainerOptions = {"security": AUTO, "read_only": False}
    if IS_ROOT:
        assert 0 == ck.run(image, ["payload", "write", "/new", "text"], engine=engine, **options).returncode
        return

    with pytest.raises(errors.UnsupportedHostError) as refused:
        ck.run(image, ["payload", "true"], engine=engine, **options)

    assert "read_only" in (refused.value.hint or "")


def test_a_user_who_has_no_place_inside_is_refused(engine: ck.Engine, image: ck.Image) -> None:
    """At its start, and for exec by what the running container has."""
    box = sleep(engine, image)

    with pytest.raises(errors.InvalidUserError):
        box.exec(["payload", "true"], user=str(100000 if IS_ROOT else 3000))
    if IS_ROOT:
        with pytest.raises(errors.InvalidUserError):
            run(engine, image, "payload", "true", user="100000")
