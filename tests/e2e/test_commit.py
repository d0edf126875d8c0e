"""Story: keep what a container has changed as an image."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

import container_kit as ck
from container_kit import errors
from tests.e2e.boxes import Box, make, run, tree_in
from tests.e2e.patience import eventually

BASE = "example.org/base:1"


@pytest.fixture
def stored(engine: ck.Engine, own_rootfs: Path) -> ck.Image:
    """Give an image of the store: the payload, and some files."""
    for name in ("keep", "change", "remove", "gone/a", "renewed/old"):
        path = own_rootfs / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    config = ck.ImageConfig(env=(("A", "base"), ("B", "base")), command=("payload", "true"), labels=(("l", "base"),))
    return ck.Image.from_directory(own_rootfs, BASE, config=config, engine=engine)


def layers_of(image: ck.Image) -> tuple[str, ...]:
    """Return the digests of an image's unpacked layers, the lowest first."""
    return tuple(image.inspect().layers)


def layer_names(engine: ck.Engine, image: ck.Image) -> list[str]:
    """Return the names in an image's uppermost layer, as other tools read it."""
    store = engine.site.images
    _, manifest = store.layout.manifest_of(_entry(engine, image))
    with open(store.layout.open(manifest.layers[-1].digest), "rb") as blob:
        plain = subprocess.run(["zstd", "-dc"], stdin=blob, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return sorted(entry.name for entry in tar)


def _entry(engine: ck.Engine, image: ck.Image) -> Any:
    from container_kit._images.find import entry_of
    from container_kit._spec.digest import Digest

    return entry_of(engine.site.images, Digest(image.id))


def change_everything(box: Box) -> None:
    """Add, change, remove, replace a directory."""
    with box.files() as files:
        data = files.path("/data")
        (data / "new").write_text("new")
        (data / "change").write_text("changed")
        (data / "remove").unlink()
        (data / "gone").remove_tree()
        (data / "renewed").remove_tree()
        (data / "renewed").mkdir()
        (data / "renewed" / "fresh").write_text("fresh")


EXPECTED = {"keep": "keep", "change": "changed", "new": "new", "renewed": "/", "renewed/fresh": "fresh"}


@pytest.mark.parametrize("state", ["created", "running", "exited"])
def test_a_commit_is_the_images_tree_with_the_changes(engine: ck.Engine, stored: ck.Image, state: str) -> None:
    """Additions, changes, deletions, directories made anew; the layers below are the same ones."""
    box = make(engine, stored)
    if state != "created":
        box.start()
    change_everything(box)
    if state == "exited":
        box.stop(timeout=0)

    image = box.commit("example.org/me:1", author="A. Nonymous", message="what I did")

    assert EXPECTED == tree_in(make(engine, image), "/data")
    assert layers_of(stored) == layers_of(image)[:-1]
    assert "example.org/me:1" in image.names
    newest = image.history()[0]
    assert ("what I did", "payload sleep 1000") == (newest.comment, newest.created_by)
    assert "A. Nonymous" == image.inspect().author


def test_a_commit_of_a_commit_goes_on(engine: ck.Engine, stored: ck.Image) -> None:
    """Each has one layer more."""
    first = make(engine, stored)
    first.path("/data/one").write_text("1")
    second = make(engine, first.commit("example.org/one:1"))
    second.path("/data/two").write_text("2")
    image = second.commit()

    assert {"one", "two"} <= {path.name for path in make(engine, image).path("/data").iterdir()}
    assert len(layers_of(stored)) + 2 == len(layers_of(image))
    assert () == image.names


def test_the_config_is_the_containers(engine: ck.Engine, stored: ck.Image) -> None:
    """What was asked for on top of the image's; the changes come last."""
    made = ck.Container.create(
        stored,
        ["payload", "env", "A"],
        env={"A": "container", "C": "new"},
        labels={"m": "container"},
        user="0",
        working_dir="/srv",
        detach=True,
        engine=engine,
    )
    image = Box(made.id, engine).commit(changes=["ENV B=changed", 'LABEL n="from the change"'])

    config = image.config
    assert {"A": "container", "B": "changed", "C": "new"} == dict(config.env)
    assert {"l": "base", "m": "container", "n": "from the change"} == dict(config.labels)
    assert ("/srv", ("payload", "env", "A")) == (config.working_dir, config.command)
    assert b"container\n" == ck.run(image, engine=engine).stdout


def test_what_is_wrong_is_said_before_anything_is_done(engine: ck.Engine, stored: ck.Image) -> None:
    """No layer is made for a name that cannot be."""
    box = make(engine, stored)
    box.path("/data/new").write_text("x")
    before = len(ck.Image.list(engine=engine))

    with pytest.raises(errors.InvalidReferenceError):
        box.commit("Not A Name")
    with pytest.raises(errors.InvalidSpecError):
        box.commit("example.org/me:1", changes=["RUN rm -rf /"])

    assert before == len(ck.Image.list(engine=engine))


def test_mounts_and_their_mount_points_are_no_part_of_it(engine: ck.Engine, stored: ck.Image, tmp_path: Path) -> None:
    """B12: no secrets of volumes, nothing of tmpfs, no generated files, no empty stubs."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "secret").write_text("secret")
    (tmp_path / "token").write_text("secret")
    mounts = [ck.Mount.bind(tmp_path / "volume", "/new/volume"), ck.Mount.bind(tmp_path / "token", "/run/token")]
    box = run(engine, stored, mounts=mounts, tmpfs="/scratch")
    box.path("/scratch/secret").write_text("secret")
    box.path("/etc/hosts").write_text("127.0.0.1 secret")
    box.path("/data/new").write_text("new")

    image = box.commit()

    assert ["data", "data/new"] == layer_names(engine, image)


def test_a_read_only_container_has_nothing_to_add(engine: ck.Engine, stored: ck.Image) -> None:
    """The image has the same layers."""
    started = ck.start(stored, ["payload", "sleep", "1000"], read_only=True, detach=True, engine=engine)

    image = Box(started.id, engine).commit("example.org/me:1")

    assert layers_of(stored) == layers_of(image)


@pytest.mark.needs_cgroup2
def test_it_is_paused_meanwhile_and_goes_on_afterwards(engine: ck.Engine, stored: ck.Image) -> None:
    """As Docker does; one that was paused stays so."""
    box = run(engine, stored)
    box.path("/data/new").write_text("x")
    statuses: list[str] = []

    box.commit(pause=True, progress=lambda event: statuses.append(f"{event.action} while {box.status}"))
    running = box.status
    box.pause()
    box.commit()

    assert ("running", "paused") == (running, box.status)
    assert "pack while paused" in statuses


def test_without_control_groups_pausing_is_refused_only_when_it_is_asked_for(
    engine: ck.Engine, stored: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None means: where it is possible."""
    monkeypatch.setitem(vars(engine.site), "_cgroup_search", (None, "for the test"))
    box = run(engine, stored)

    with pytest.raises(errors.UnsupportedHostError) as caught:
        box.commit("example.org/me:1", pause=True)
    box.commit("example.org/me:1")

    assert "pause" == caught.value.feature


def test_a_container_of_a_directory_gets_it_as_the_first_layer(engine: ck.Engine, image: ck.Image) -> None:
    """There is no image to build on; what comes out runs by itself."""
    box = make(engine, image)
    box.path("/data").write_text("own")
    box.path("/etc/group").unlink()

    made = box.commit("example.org/whole:1")

    assert 2 == len(layers_of(made))
    assert b"own" == ck.run(made, ["payload", "cat", "/data"], engine=engine).stdout
    assert not make(engine, made).path("/etc/group").exists()


def test_a_container_of_the_host_cannot_be_committed(engine: ck.Engine, host: ck.Image) -> None:
    """Its /usr is the host's; the error says what to use."""
    made = ck.Container.create(host, ["true"], detach=True, engine=engine)

    with pytest.raises(errors.ImageError) as caught:
        Box(made.id, engine).commit("example.org/me:1")

    assert caught.value.hint


def test_an_image_that_is_gone_meanwhile_is_still_its_containers_base(engine: ck.Engine, stored: ck.Image) -> None:
    """The name may have moved on; what the container was made from is kept for it."""
    box = make(engine, stored)
    box.path("/data/new").write_text("new")
    with engine.site.images.layout.edit() as index:
        index.remove_name(BASE)

    image = box.commit("example.org/me:1")

    assert layers_of(image)[:-1]
    assert "new" == make(engine, image).path("/data/new").read_text()


def test_the_time_depends_on_the_changes_and_not_on_the_image(engine: ck.Engine, own_rootfs: Path) -> None:
    """64 MiB below make no difference: the new layer is small, and quickly made."""
    with open(own_rootfs / "big", "wb") as file:
        file.write(os.urandom(64 << 20))
    before = cpu_seconds()
    big = ck.Image.from_directory(own_rootfs, BASE, engine=engine)
    whole = cpu_seconds() - before
    box = make(engine, big)
    box.path("/srv/x").write_text("x")

    before = cpu_seconds()
    image = box.commit()
    took = cpu_seconds() - before

    blobs = Path(engine.root) / "images" / "blobs" / "sha256"
    manifest = engine.site.images.layout.manifest_of(_entry(engine, image))[1]
    assert (blobs / manifest.layers[-1].digest.partition(":")[2]).stat().st_size < 4096
    assert took < whole / 3


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended: a busy machine does not count."""
    return sum(os.times()[:4])


def test_a_container_that_writes_all_the_time_can_be_committed(engine: ck.Engine, stored: ck.Image) -> None:
    """Also without pausing: what is there is packed, the image is sound."""
    box = run(engine, stored)
    over = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        with box.files() as files:
            while not over.is_set():
                files.path(f"/data/{written % 50}").write_bytes(bytes(written % 5000))
                written += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        eventually(lambda: written > 100, "something was written")
        image = box.commit(pause=False)
    finally:
        over.set()
        writer.join()

    assert "keep" == make(engine, image).path("/data/keep").read_text()
