"""Records that are not true any more: reused pids, a reboot, a damaged database, a runtime directory that went away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._linux import processes
from container_kit._linux.processes import ProcessId
from container_kit._runtime.state_file import read_state
from container_kit._state import records
from container_kit._state.container_record import UNRECORDED_CGROUP, Phase
from tests.e2e.patience import PATIENCE

SLEEP = ["payload", "sleep", "1000"]


@pytest.fixture
def bystander() -> Iterator[ProcessId]:
    """Give a living process that has nothing to do with any container."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        identity = processes.read_process_id(process.pid)
        assert identity is not None

        yield identity

        process.kill()


# ── another process has the pid now ──────────────────────────────────────────────────────────────

ENDINGS: dict[str, Callable[[ck.Container], object]] = {
    "status": lambda box: box.status,
    "stop": lambda box: box.stop(timeout=0),
    "remove": lambda box: box.remove(force=True),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("start_time", [0, 1, -1], ids=["zero", "earlier", "later"])
def test_a_process_that_got_a_recorded_pid_is_never_signalled(
    engine: ck.Engine, image: ck.Image, bystander: ProcessId, ending: str, start_time: int
) -> None:
    """The record names the bystander's pid as monitor, its state file as init, both with another start time."""
    box = ck.Container.create(image, SLEEP, detach=True, engine=engine)
    forged = ProcessId(bystander.pid, 0 if start_time == 0 else bystander.start_time - start_time)
    forge(engine, box, monitor=forged, init=forged)

    ENDINGS[ending](box)

    assert processes.is_alive(bystander)
    assert "remove" == ending or "exited" == box.status


def test_a_pid_of_another_user_is_never_signalled(engine: ck.Engine, image: ck.Image) -> None:
    """PID 1 is everybody's favourite wrong number."""
    box = ck.Container.create(image, SLEEP, detach=True, engine=engine)
    forge(engine, box, monitor=ProcessId(1, 0), init=ProcessId(1, 0))

    box.stop(timeout=0)

    assert "exited" == box.status
    assert processes.read_process_id(1) is not None


def forge(engine: ck.Engine, box: ck.Container, *, monitor: ProcessId, init: ProcessId) -> None:
    """Write what a monitor and a caller that are long dead might have left."""
    record = records.get(engine.site.database, box.id)
    records.set_phase(engine.site.database, record.id, Phase.STARTED, monitor=str(monitor))
    directory = Path(engine.site.home.container_runtime_dir(box.id))
    directory.mkdir(mode=0o700)
    (directory / "state").write_text(f"phase=running\nmonitor={monitor}\ninit={init}\nstarted=1\nrestarts=0\n")


# ── an older version started it ──────────────────────────────────────────────────────────────────


@pytest.mark.needs_cgroup2
def test_a_container_that_an_older_version_started_is_controlled_as_ever(engine: ck.Engine, image: ck.Image) -> None:
    """Its row does not say where its control group is: it is paused, ended without its monitor, and nothing is left."""
    box = ck.start(image, SLEEP, detach=True, engine=engine)
    group = box.inspect().cgroup
    state = read_state(engine.site.home.state_file(box.id))
    assert group is not None
    assert state is not None
    with engine.site.database.transaction() as connection:
        connection.execute("UPDATE containers SET cgroup = ?", (UNRECORDED_CGROUP,))

    box.pause()
    status = box.status
    os.kill(state.monitor.pid, signal.SIGKILL)
    assert processes.wait_gone(state.monitor, PATIENCE)

    assert ("paused", "exited") == (status, box.status)
    assert not os.path.exists(group)


# ── files that nobody knows ──────────────────────────────────────────────────────────────────────


def test_files_without_a_container_are_removed_when_the_engine_is_opened(tmp_path: Path) -> None:
    """Directories named by an id, in both places; nothing else is touched."""
    root, runtime = tmp_path / "s", str(tmp_path / "r")
    with ck.Engine(root, runtime=runtime) as engine:
        home = engine.site.home
    stray = "ab" * 32
    for place in (home.containers, home.runtime):
        Path(place, stray).mkdir()
        Path(place, stray, "state").write_text("")
        Path(place, "mine").mkdir()

    ck.Engine(root, runtime=runtime).close()

    assert (["mine"], ["mine"]) == (os.listdir(home.containers), os.listdir(home.runtime))


def test_what_dead_processes_did_not_finish_is_removed(tmp_path: Path, bystander: ProcessId) -> None:
    """Layers, probes and databases under construction carry their maker's pid; those of the living stay."""
    root, runtime = tmp_path / "s", str(tmp_path / "r")
    with ck.Engine(root, runtime=runtime) as engine:
        layers = Path(engine.site.home.layers)
    for pid in (dead_pid(), bystander.pid):
        (root / f"state.sqlite.new-{pid}-0a1b2c3d").write_text("")
        for name in (root / f".probe-{pid}-x_y1", layers / f".host-{pid}-0a1b2c3d"):
            (name / "work" / "work").mkdir(parents=True)
            (name / "link").symlink_to("/nowhere")
            (name / "work" / "work").chmod(0)

    ck.Engine(root, runtime=runtime).close()

    left = [*root.glob(".probe*"), *root.glob("*.new-*"), *layers.glob(".host*")]
    assert 3 == len(left)
    assert [] == [path for path in left if f"-{bystander.pid}-" not in path.name]
    for path in left:
        remove_tree(path)


def dead_pid() -> int:
    """Return the pid of a process that is over."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
        return process.pid


def remove_tree(path: Path) -> None:
    """Remove what the test made."""
    if path.is_dir():
        (path / "work" / "work").chmod(0o700)
        shutil.rmtree(path)
    else:
        path.unlink()


# ── a reboot ─────────────────────────────────────────────────────────────────────────────────────


def test_after_a_reboot_running_containers_are_exited_and_can_be_used(
    engine: ck.Engine, image: ck.Image, tmp_path: Path
) -> None:
    """Another runtime directory, no processes; detached containers are kept, owned ones are gone."""
    kept = ck.start(image, SLEEP, name="kept", detach=True, engine=engine)
    owned = ck.start(image, SLEEP, name="owned", engine=engine)
    end_everything_at_once(engine, [kept, owned])
    shutil.rmtree(engine.site.home.runtime)

    with ck.Engine(engine.root, runtime=str(tmp_path / "r2")) as rebooted:
        found = {one.name: one for one in ck.Container.list(all=True, engine=rebooted)}

        assert ("exited", 137) == (found["kept"].status, found["kept"].exit_code)
        found["kept"].start()
        assert "running" == found["kept"].status
        found["kept"].remove(force=True)
        assert "owned" not in found or found["owned"].status == "exited"
        for one in ck.Container.list(all=True, engine=rebooted):
            one.remove(force=True)
    Path(engine.site.home.runtime).mkdir(mode=0o700)


def end_everything_at_once(engine: ck.Engine, boxes: list[ck.Container]) -> None:
    """Kill monitors and inits the way a power cut does."""
    for box in boxes:
        state = read_state(engine.site.home.state_file(box.id))
        assert state is not None
        assert state.init is not None
        processes.signal_process(state.monitor)
        assert processes.wait_gone(state.init, PATIENCE)


# ── a damaged database ───────────────────────────────────────────────────────────────────────────


def overwrite_header(database: Path) -> None:
    """Make it no database at all."""
    with open(database, "r+b") as file:
        file.write(bytes(100))


def truncate(database: Path) -> None:
    """Cut a page in two."""
    os.truncate(database, 5000)


def empty(database: Path) -> None:
    """Leave nothing in it."""
    os.truncate(database, 0)


def belong_to_the_future(database: Path) -> None:
    """Write a format version of the next century."""
    with open(database, "r+b") as file:
        file.seek(60)  # user_version, sqlite.org/fileformat.html
        file.write((10_000).to_bytes(4, "big"))


@pytest.mark.parametrize("damage", [overwrite_header, truncate, empty, belong_to_the_future])
def test_a_damaged_database_is_an_error_and_nothing_is_deleted(
    tmp_path: Path, image: ck.Image, damage: Callable[[Path], None]
) -> None:
    """Files of containers stay; with the old database back everything is as before."""
    root, runtime = tmp_path / "s", str(tmp_path / "r")
    with ck.Engine(root, runtime=runtime) as engine:
        box = ck.start(image, ["payload", "echo", "kept"], detach=True, engine=engine)
        box.wait(timeout=PATIENCE)
        assert "exited" == box.status
        database = Path(engine.site.home.database)
    saved = database.read_bytes()
    damage(database)
    before = sorted(str(path) for path in (root / "containers").rglob("*"))

    with pytest.raises(errors.StateError) as caught:
        ck.Engine(root, runtime=runtime)

    assert str(database) == caught.value.path
    assert caught.value.hint
    assert before == sorted(str(path) for path in (root / "containers").rglob("*"))
    for leftover in root.glob("state.sqlite-*"):
        leftover.unlink()
    database.write_bytes(saved)
    with ck.Engine(root, runtime=runtime) as engine:
        box = ck.Container.get(box.id, engine=engine)
        assert ["kept"] == [line.text for line in box.logs()]
        box.remove()


# ── the runtime directory ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("monitor", ["answers", "is stopped"])
@pytest.mark.parametrize("ending", ["stop", "remove"])
def test_without_its_runtime_directory_a_container_can_still_be_ended(
    engine: ck.Engine, image: ck.Image, ending: str, monitor: str
) -> None:
    """Somebody's clean-up of /run took socket and state file away while it runs; nothing of it is left running."""
    box = ck.start(image, SLEEP, detach=True, engine=engine)
    state = read_state(engine.site.home.state_file(box.id))
    assert state is not None
    assert state.init is not None
    shutil.rmtree(engine.site.home.container_runtime_dir(box.id))
    if monitor == "is stopped":
        processes.signal_process(state.monitor, signal.SIGSTOP)

    if ending == "stop":
        box.stop(timeout=0)
        assert "exited" == box.status
    else:
        box.remove(force=True)

    assert processes.wait_gone(state.init, PATIENCE)
    assert processes.wait_gone(state.monitor, PATIENCE)
    box.remove(missing_ok=True)
    assert [] == ck.Container.list(all=True, engine=engine)


@pytest.mark.needs_root
def test_a_runtime_directory_that_became_read_only_is_a_typed_error(tmp_path: Path, image: ck.Image) -> None:
    """Nothing new starts, what runs can be ended, and nothing is made elsewhere."""
    runtime = tmp_path / "r"
    runtime.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "runtime", runtime], check=True)
    try:
        with ck.Engine(tmp_path / "s", runtime=str(runtime)) as engine:
            box = ck.start(image, SLEEP, detach=True, engine=engine)
            subprocess.run(["mount", "-o", "remount,ro", runtime], check=True)

            with pytest.raises(ck.ContainerKitError) as caught:
                ck.run(image, ["payload", "true"], engine=engine)

            assert isinstance(caught.value, OSError)
            assert [box.id] == os.listdir(engine.site.home.containers)
            box.stop(timeout=0)
            subprocess.run(["mount", "-o", "remount,rw", runtime], check=True)
            box.remove()
            assert 0 == ck.run(image, ["payload", "true"], engine=engine).returncode
    finally:
        subprocess.run(["umount", runtime], check=True)
