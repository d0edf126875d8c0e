"""Attacks on the store and on registries' credentials: what was once possible, and is not any more."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._files import conversation
from container_kit._files.view import directory_view
from container_kit._files.worker import FileWorker
from container_kit._images import make
from container_kit._linux import idmap
from container_kit._registry.login import Login
from container_kit._spec.paths import HostPath
from container_kit._store.claims import claim_work
from tests.fault_registry import FaultRegistry, redirect, refuse
from tests.fault_registry import fault_registry as fault_registry
from tests.fault_registry import second_registry as second_registry
from tests.registry_clients import make_client
from tests.registry_guards import PASSWORD, bearer, fetch, guard, token_reply
from tests.small_images import make_image, make_tar, noise
from tests.stores import put_image

NAME = "docker.io/library/box:1"
OTHER = "docker.io/library/other:1"
GRANTED = "good"
REFRESH = "refresh-t0ken-of-robin"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 12 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", place], check=True)

    yield place

    subprocess.run(["umount", place], check=True)


def fill(directory: Path) -> None:
    """Leave not one free byte."""
    fd = os.open(directory / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    os.write(fd, bytes(size))
            except OSError:
                continue
    finally:
        os.close(fd)


# ── credentials ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [307, 308])
def test_a_refresh_token_does_not_follow_a_redirect_to_another_origin(
    fault_registry: FaultRegistry, second_registry: FaultRegistry, status: int
) -> None:
    """A POST is repeated with its body by 307 and 308; here the body is the secret."""
    guard(fault_registry, "Bearer good", bearer(f"http://{fault_registry.authority}/token"))
    fault_registry.script(
        "POST", "/token", redirect(f"http://{second_registry.authority}/token", status), for_ever=True
    )
    second_registry.script("POST", "/token", token_reply(token=GRANTED), for_ever=True)

    with (
        make_client(logins={fault_registry.authority: Login(identity_token=REFRESH)}) as client,
        pytest.raises(errors.AuthenticationError),
    ):
        fetch(client, fault_registry)

    assert [] == second_registry.requests


def test_a_password_that_the_registry_repeats_is_not_shown(fault_registry: FaultRegistry) -> None:
    """The registry got it in base64 and may show it decoded."""
    refusal = refuse(401, "UNAUTHORIZED", f"robin:{PASSWORD} is wrong", WWW_Authenticate='Basic realm="x"')
    fault_registry.script("GET", "/v2/", refusal, for_ever=True)

    with (
        make_client(logins={fault_registry.authority: Login(username="robin", password=PASSWORD)}) as client,
        pytest.raises(errors.AuthenticationError) as caught,
    ):
        fetch(client, fault_registry)

    assert "is wrong" in str(caught.value)
    assert PASSWORD not in f"{caught.value}{caught.value!r}"


# ── damage ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def damaged(engine: ck.Engine) -> ck.Engine:
    """Give an engine with an image whose manifest was overwritten, and a good one."""
    image = make_image(make_tar({"a": noise(1000)}))
    entry = put_image(engine.site.images, image, NAME)
    put_image(engine.site.images, make_image(make_tar({"b": noise(1000, 1)})), OTHER)
    manifest = Path(engine.site.images.layout.blob_path(entry.descriptor.digest))
    manifest.chmod(0o644)
    manifest.write_bytes(b"{}")
    manifest.chmod(0o444)
    return engine


def test_a_damaged_image_can_be_removed(damaged: ck.Engine) -> None:
    """Else it could never be pulled again: what is there is not fetched."""
    ck.Image.get(NAME, engine=damaged).remove()

    assert ["other:1"] == [image.name for image in ck.Image.list(engine=damaged)]
    assert 3 == len(list(Path(damaged.root, "images/blobs/sha256").iterdir()))


def test_a_damaged_image_does_not_keep_others_from_being_pruned(damaged: ck.Engine) -> None:
    """One bad manifest is no reason to keep everything."""
    assert 2 == len(damaged.df())

    ck.Image.prune(all=True, engine=damaged)

    assert [] == ck.Image.list(engine=damaged)
    assert [] == list(Path(damaged.root, "images/blobs/sha256").iterdir())


def test_an_index_that_is_a_fifo_is_refused(engine: ck.Engine) -> None:
    """Opening it would wait for a writer for ever."""
    put_image(engine.site.images, make_image(make_tar({"a": b""})), NAME)
    index = Path(engine.root, "images/index.json")
    index.unlink()
    os.mkfifo(index)
    caught: list[BaseException] = []

    def look() -> None:
        try:
            ck.Image.list(engine=engine)
        except errors.StateError as error:
            caught.append(error)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(10)

    assert not thread.is_alive()
    assert 1 == len(caught)


# ── races ────────────────────────────────────────────────────────────────────────────────────────


def test_an_image_that_was_removed_meanwhile_does_not_come_back_broken(engine: ck.Engine) -> None:
    """Its documents are remembered by this process; its layers are gone."""
    store = engine.site.images
    entry = put_image(store, make_image(make_tar({"a": noise(1000)})), NAME)
    store.layout.oci_config(store.layout.manifest_of(entry)[1])
    ck.Image.get(NAME, engine=engine).remove()

    with pytest.raises(errors.ImageError):
        make.with_config(store, entry, "box:2", changes=["ENV A=b"])

    assert [] == ck.Image.list(engine=engine)


def test_a_name_is_not_given_to_what_was_removed_meanwhile(engine: ck.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between finding the image and writing the index another process removes it."""
    store = engine.site.images
    entry = put_image(store, make_image(make_tar({"a": noise(1000)})), NAME)
    image = ck.Image.get(NAME, engine=engine)
    image.remove()
    monkeypatch.setattr(image, "_stored", lambda: (engine, entry))

    with pytest.raises(errors.ImageNotFoundError):
        image.tag("box:2")

    assert [] == ck.Image.list(engine=engine)


def test_who_gets_a_byte_now_and_then_is_not_waited_for(tmp_path: Path) -> None:
    """The holder writes at each look, but next to nothing: others do the work themselves."""
    path = HostPath(str(tmp_path / "work"))
    holder = claim_work(path, lambda: False)
    assert holder is not None
    looks = 0

    def drip(_: float) -> None:
        nonlocal looks
        looks += 1
        os.write(holder.fd, b"x")
        if looks > 1_000_000:
            pytest.fail("still waiting")

    mine = claim_work(path, lambda: False, stall_seconds=0.05, pause=drip)

    assert mine is not None
    assert mine.is_private
    assert looks > 0
    mine.release(remove=True)
    holder.release(remove=True)


# ── a full disk ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.needs_root
def test_images_can_be_removed_on_a_full_disk(small_disk: Path) -> None:
    """Whoever has no room left removes something: that must not need room."""
    with ck.Engine(small_disk / "root", runtime=str(small_disk.parent / "run")) as engine:
        put_image(engine.site.images, make_image(make_tar({"a": noise(400_000)})), NAME)
        put_image(engine.site.images, make_image(make_tar({"b": noise(400_000, 1)})), OTHER)
        fill(small_disk)
        assert 0 == os.statvfs(small_disk).f_bavail

        ck.Image.get(NAME, engine=engine).remove()

        assert ["other:1"] == [image.name for image in ck.Image.list(engine=engine)]
        assert os.statvfs(small_disk).f_bavail > 0

        fill(small_disk)
        ck.Image.prune(all=True, engine=engine)

        assert [] == ck.Image.list(engine=engine)
    shutil.rmtree(small_disk.parent / "run")


# ── interrupts ───────────────────────────────────────────────────────────────────────────────────


def test_a_worker_whose_end_was_interrupted_is_reaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while it is being closed: whoever drops it ends it, and nothing is left."""
    namespace = idmap.open_user_namespace(idmap.find_id_map()) if os.geteuid() else None
    worker = FileWorker.start(directory_view(HostPath(str(tmp_path))), user_namespace=namespace)
    before = set(os.listdir("/proc/self/fd"))

    def interrupt(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(conversation, "wait_readable", interrupt)
    with pytest.raises(KeyboardInterrupt):
        worker.close()
    del worker  # that is what an interrupted `with` block does
    gc.collect()

    assert set(os.listdir("/proc/self/fd")) < before
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
    if namespace is not None:
        os.close(namespace)
