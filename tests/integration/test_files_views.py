"""The trees a file worker can see: overlays put together for it, and the roots of running containers."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._files.view import View, container_view, overlay_view
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit.errors import HostError, PathError
from tests.integration.trees import make_tree, open_tree, read, start_worker, write

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]

NAMES = ("upper", "work")


def host(path: Path) -> HostPath:
    """Return a path as the type of the plan."""
    return HostPath(str(path))


def layers(tmp_path: Path) -> tuple[Path, Path]:
    """Return two layers: in the upper one `b` is another file and `d` hides the lower one's."""
    lower, upper = tmp_path / "lower", tmp_path / "second"
    for layer in (lower, upper):
        (layer / "d").mkdir(parents=True)
        (layer / "b").write_text(layer.name)
    (lower / "a").write_text("lower")
    (lower / "d" / "x").touch()
    return lower, upper


def overlay(engine: ck.Engine, tmp_path: Path, *, writable: bool, binds: list[tuple[Path, str, bool]]) -> View:
    """Return the view of the two layers."""
    lower, second = layers(tmp_path)
    directory = tmp_path / "container"
    for name in NAMES:
        (directory / name).mkdir(parents=True)
    facts = engine.site.facts
    return overlay_view(
        [host(second), host(lower)],
        upper=NAMES if writable else None,
        directory=host(directory),
        form=facts.overlay_form,
        rootless=facts.rootless,
        binds=[(host(source), ContainerPath(target), only) for source, target, only in binds],
    )


def test_an_overlay_shows_layers_and_keeps_changes_in_the_upper(engine: ck.Engine, tmp_path: Path) -> None:
    """As a container that does not run: what is removed becomes a whiteout."""
    view = overlay(engine, tmp_path, writable=True, binds=[])

    with start_worker(engine, view) as worker:
        assert {"a", "b", "d"} == {name for name, _ in worker.list("/")}
        assert b"second" == read(worker, "b")
        write(worker, "new", b"1")
        worker.remove("a")

    upper = tmp_path / "container" / "upper"
    assert b"1" == (upper / "new").read_bytes()
    whiteout = (upper / "a").lstat()
    assert (stat.S_IFCHR, 0) == (stat.S_IFMT(whiteout.st_mode), whiteout.st_rdev)
    assert "lower" == (tmp_path / "lower" / "a").read_text()


def test_what_a_volatile_overlay_has_left_does_not_matter(engine: ck.Engine, tmp_path: Path) -> None:
    """The kernel refuses a work directory with its mark, which containers leave that were killed."""
    view = overlay(engine, tmp_path, writable=True, binds=[])
    (tmp_path / "container" / "work" / "work" / "incompat" / "volatile").mkdir(parents=True)

    with start_worker(engine, view) as worker:
        write(worker, "new", b"1")

    assert b"1" == (tmp_path / "container" / "upper" / "new").read_bytes()


def test_an_overlay_without_an_upper_cannot_be_changed(engine: ck.Engine, tmp_path: Path) -> None:
    """An image is read-only."""
    with start_worker(engine, overlay(engine, tmp_path, writable=False, binds=[])) as worker:
        assert b"lower" == read(worker, "a")
        with pytest.raises(PathError) as caught:
            write(worker, "a", b"x")

    assert caught.value.errno == errno.EROFS


def test_one_layer_is_no_overlay_and_still_read_only(engine: ck.Engine, tmp_path: Path) -> None:
    """The kernel refuses an overlay of one layer; the view is of the layer itself."""
    lower, _ = layers(tmp_path)
    facts = engine.site.facts
    view = overlay_view(
        [host(lower)], upper=None, directory=host(lower), form=facts.overlay_form, rootless=facts.rootless
    )

    with start_worker(engine, view) as worker:
        assert b"lower" == read(worker, "a")
        with pytest.raises(PathError):
            write(worker, "a", b"x")


def test_binds_are_seen_where_they_will_be(engine: ck.Engine, tmp_path: Path) -> None:
    """Volumes of a container that does not run: a directory, a file, read-only or not; targets are made."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (tmp_path / "file").write_text("f")
    view = overlay(
        engine, tmp_path, writable=True, binds=[(volume, "/mnt/v", False), (tmp_path / "file", "/etc/f", True)]
    )

    with start_worker(engine, view) as worker:
        write(worker, "/mnt/v/new", b"1")
        assert b"f" == read(worker, "/etc/f")
        with pytest.raises(PathError) as caught:
            write(worker, "/etc/f", b"x")

    assert caught.value.errno == errno.EROFS
    assert b"1" == (volume / "new").read_bytes()
    assert [] == list((tmp_path / "container" / "upper" / "mnt" / "v").iterdir())


@pytest.mark.parametrize("forms", ["directory", "overlay"])
def test_the_host_sees_nothing_of_it(engine: ck.Engine, tmp_path: Path, forms: str) -> None:
    """Mounts of a view are in a namespace of the worker's own."""
    before = Path("/proc/self/mountinfo").read_text()
    view = overlay(engine, tmp_path, writable=True, binds=[])
    worker = start_worker(engine, view) if forms == "overlay" else open_tree(engine, tmp_path / "lower")

    with worker:
        during = Path("/proc/self/mountinfo").read_text()

    assert before == during


def view_of(engine: ck.Engine, box: ck.Container, *, mounts: bool = True) -> View:
    """Return the view of a running container."""
    pid = box.inspect().pid
    assert pid is not None
    return container_view(pid, rootless=engine.site.facts.rootless, mounts=mounts)


def test_a_running_container_is_seen_from_inside(engine: ck.Engine, box: ck.Container) -> None:
    """Its root, its /proc, and what is written is there for its processes."""
    with start_worker(engine, view_of(engine, box)) as worker:
        write(worker, "/tmp/note", b"hello")
        os_release = read(worker, "/etc/os-release")
        own = [name for name, _ in worker.list("/proc") if name.isdecimal()]

    assert b"ID=payload" in os_release
    assert "1" in own
    assert b"hello" == box.exec(["payload", "cat", "/tmp/note"]).stdout


def test_links_of_proc_lead_nowhere(engine: ck.Engine, box: ck.Container) -> None:
    """/proc/1/root and descriptors are not followed, in no position."""
    with start_worker(engine, view_of(engine, box)) as worker:
        worker.symlink("/tmp/way", "/proc/1/root")
        for path in ("/proc/1/root", "/proc/1/root/etc/passwd", "/tmp/way/etc/passwd", "/proc/1/cwd", "/proc/1/fd/0"):
            with pytest.raises(PathError) as caught:
                worker.open(path, os.O_RDONLY)
            assert caught.value.errno in (errno.ELOOP, errno.EACCES)  # the worker may not even look at the link
        with pytest.raises(PathError) as device:
            worker.open("/dev/null", os.O_RDONLY)

    assert device.value.errno == errno.ENXIO


def test_mounts_are_seen_or_not(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """A volume, and the file systems of the container, only when asked for; without, their mount points."""
    volume = make_tree(tmp_path)
    (volume / "file").write_text("of the volume")
    volume.chmod(0o755)
    mount = ck.Mount.bind(volume, "/data")
    with ck.start(image, ["payload", "sleep", "1000"], detach=True, mounts=[mount], engine=engine) as box:
        with start_worker(engine, view_of(engine, box)) as worker:
            assert b"of the volume" == read(worker, "/data/file")
            assert worker.list("/proc")
        with start_worker(engine, view_of(engine, box, mounts=False)) as worker:
            assert [] == worker.list("/data") == worker.list("/proc") == worker.list("/dev")
            write(worker, "/data/hidden", b"below")
            write(worker, "/tmp/seen", b"in the root")

        listing = box.exec(["payload", "ls", "/data"]).stdout
        seen = box.exec(["payload", "cat", "/tmp/seen"]).stdout

    assert isinstance(listing, bytes)
    assert b"file" in listing
    assert b"hidden" not in listing
    assert b"in the root" == seen


def test_a_read_only_root_is_read_only_in_both_views(engine: ck.Engine, image: ck.Image) -> None:
    """The worker has no way around it."""
    with ck.start(image, ["payload", "sleep", "1000"], detach=True, read_only=True, engine=engine) as box:
        for mounts in (True, False):
            with start_worker(engine, view_of(engine, box, mounts=mounts)) as worker:
                with pytest.raises(PathError) as caught:
                    write(worker, "/etc/new", b"x")
                assert caught.value.errno == errno.EROFS


@pytest.mark.needs_cgroup2
def test_a_paused_container_is_reached(engine: ck.Engine, box: ck.Container) -> None:
    """Its processes stand still; its files do not."""
    box.pause()

    with start_worker(engine, view_of(engine, box)) as worker:
        write(worker, "/tmp/meanwhile", b"1")
        assert b"1" == read(worker, "/tmp/meanwhile")

    box.unpause()


def test_a_container_that_has_ended_is_an_error(engine: ck.Engine, box: ck.Container) -> None:
    """ESRCH from the host, as a typed error."""
    view = view_of(engine, box)
    box.remove(force=True)

    with pytest.raises(HostError) as caught:
        start_worker(engine, view)

    assert caught.value.errno == errno.ESRCH


def test_a_step_that_fails_is_named(engine: ck.Engine, tmp_path: Path) -> None:
    """Which step, what it was to do, and what the kernel said."""
    gone = tmp_path / "gone"
    lower, _ = layers(tmp_path)
    facts = engine.site.facts
    view = overlay_view(
        [host(gone), host(lower)], upper=None, directory=host(lower), form=facts.overlay_form, rootless=facts.rootless
    )

    with pytest.raises(HostError) as caught:
        start_worker(engine, view)
    with pytest.raises(HostError) as directory:
        open_tree(engine, gone)

    assert caught.value.errno == directory.value.errno == errno.ENOENT
    assert "step 1 of 3" in str(caught.value)
    assert str(gone) in str(caught.value)
    assert "entering the directory" in str(directory.value)
