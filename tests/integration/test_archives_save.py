"""Saving archives: what is in them, that other tools read them, and that a failure leaves nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import pytest

import container_kit as ck
from container_kit._archives.load import load
from container_kit._archives.save import save
from container_kit._spec.digest import Digest
from container_kit._spec.platform import parse_platform
from container_kit._spec.progress import Progress
from container_kit._store.index_file import Entry
from container_kit._store.store import ImageStore
from container_kit.errors import ContainerKitError, DigestMismatchError, ImageNotFoundError, InvalidSpecError
from tests.archives import oci_members, read_tar, write_tar
from tests.small_images import (
    FOREIGN_ARCHITECTURE,
    LAYER,
    SmallImage,
    digest_of,
    make_image,
    make_index,
    make_tar,
    noise,
)

Format = Literal["docker", "oci"]
FORMATS: tuple[Format, ...] = ("docker", "oci")
Compression = Literal["none", "gzip", "zstd"]
COMPRESSIONS: tuple[Compression, ...] = ("none", "gzip", "zstd")

BASE = make_tar({"etc/": b"", "etc/os-release": b"ID=small\n", "bin/": b"", "bin/tool": noise(300_000)})
APP = make_tar({"app/": b"", "app/data": noise(500_000, seed=1), "app/zeros": bytes(3_000_000)})
NAME = "docker.io/library/box:1"


@pytest.fixture
def store(engine: ck.Engine) -> Iterator[ImageStore]:
    """Give an empty store; no scratch may be left in it."""
    store = engine.site.images

    yield store

    assert [] == os.listdir(store.home.ingest)


def put(store: ImageStore, *images: tuple[SmallImage, list[str]]) -> list[Entry]:
    """Put images into a store."""
    return list(load(store, io.BytesIO(write_tar(oci_members(images)))))


def saved(
    store: ImageStore, entries: list[Entry], archive_format: Format = "docker", compression: Compression = "none"
) -> bytes:
    """Return the archive of images."""
    target = io.BytesIO()
    save(store, entries, target, format=archive_format, compression=compression)
    return target.getvalue()


def json_in(archive: bytes, name: str) -> Any:
    """Return a document in an archive."""
    return json.loads(read_tar(archive)[name])


# ── what is in them ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("layers", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("archive_format", FORMATS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_is_saved_can_be_loaded(
    engine: ck.Engine,
    store: ImageStore,
    tmp_path: Path,
    layers: str,
    archive_format: Format,
    compression: Compression,
) -> None:
    """In a store that has nothing yet it is the same image, with the same name."""
    image = make_image(BASE, APP, compression=layers)
    entries = put(store, (image, ["box:1"]))
    path = tmp_path / "box.tar"

    save(store, entries, str(path), format=archive_format, compression=compression)

    with ck.Engine(root=tmp_path / "t", runtime=str(tmp_path / "u")) as other:
        (entry,) = load(other.site.images, str(path))
        _, manifest = other.site.images.layout.manifest_of(entry)
        config = other.site.images.layout.oci_config(manifest)
        place = other.site.images.layers.find(Digest(digest_of(APP)))
        assert place is not None
        assert bytes(3_000_000) == Path(place, "app/zeros").read_bytes()
    assert NAME == entry.name
    assert image.blobs[image.config] == config.raw
    if archive_format == "oci" or layers != "zstd":
        assert image.digest == entry.descriptor.digest


@pytest.mark.parametrize("archive_format", FORMATS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_same_images_are_the_same_bytes(
    store: ImageStore, tmp_path: Path, archive_format: Format, compression: Compression
) -> None:
    """In whatever order they are named, to a file that can seek or not."""
    first = make_image(BASE, APP, compression="zstd")
    second = make_image(BASE, compression="gzip")
    entries = put(store, (first, ["box:1", "box:one"]), (second, ["box:2"]))
    path = tmp_path / "box.tar"

    save(store, entries, str(path), format=archive_format, compression=compression)

    assert path.read_bytes() == saved(store, list(reversed(entries)), archive_format, compression)


@pytest.mark.parametrize("archive_format", FORMATS)
def test_each_blob_is_there_once(store: ImageStore, archive_format: Format) -> None:
    """Also one that several images have."""
    entries = put(store, (make_image(BASE, APP), ["box:1", "box:one"]), (make_image(BASE), ["box:2"]))

    members = read_tar(saved(store, entries, archive_format))  # which looks for names that repeat

    assert 2 + 2 + 2 == len([name for name in members if name.startswith("blobs/")])
    for name, data in members.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{digest_of(data).partition(':')[2]}"


def test_an_oci_archive_has_everything_as_it_is(store: ImageStore) -> None:
    """For every platform; documents are not written anew."""
    index = make_index(make_image(APP, architecture=FOREIGN_ARCHITECTURE), make_image(BASE, compression="zstd"))
    entries = put(store, (index, ["box:1"]))

    members = read_tar(saved(store, entries, "oci"))

    contents = {digest_of(data) for name, data in members.items() if name.startswith("blobs/")}
    assert {*index.blobs, *(digest_of(data) for data, _ in index.documents)} == contents
    (row,) = json.loads(members["index.json"])["manifests"]
    assert (index.digest, NAME) == (row["digest"], row["annotations"]["org.opencontainers.image.ref.name"])
    assert "manifest.json" not in members


def test_zstd_layers_are_plain_in_a_docker_archive(store: ImageStore) -> None:
    """Docker and podman do not read them compressed like that; the config stays what it is."""
    image = make_image(BASE, APP, compression="zstd")
    archive = saved(store, put(store, (image, ["box:1"])))

    members = read_tar(archive)
    (item,) = json_in(archive, "manifest.json")
    (row,) = json_in(archive, "index.json")["manifests"]
    manifest = json.loads(members[f"blobs/sha256/{row['digest'].partition(':')[2]}"])

    assert [BASE, APP] == [members[path] for path in item["Layers"]]
    assert image.blobs[image.config] == members[item["Config"]]
    assert ["box:1"] == item["RepoTags"]
    assert [LAYER, LAYER] == [layer["mediaType"] for layer in manifest["layers"]]
    assert [digest_of(BASE), digest_of(APP)] == [layer["digest"] for layer in manifest["layers"]]
    assert [len(BASE), len(APP)] == [layer["size"] for layer in manifest["layers"]]


def test_a_docker_archive_is_for_one_platform(store: ImageStore) -> None:
    """This host's, or the one that was asked for."""
    foreign = make_image(APP, architecture=FOREIGN_ARCHITECTURE)
    entries = put(store, (make_index(foreign, make_image(BASE)), ["box:1"]))
    target = io.BytesIO()

    save(store, entries, target, platform=parse_platform(f"linux/{FOREIGN_ARCHITECTURE}"))

    assert foreign.blobs[foreign.config] in read_tar(target.getvalue()).values()
    assert foreign.blobs[foreign.config] not in read_tar(saved(store, entries)).values()
    with pytest.raises(ImageNotFoundError):
        save(store, entries, io.BytesIO(), platform=parse_platform("linux/riscv64"))


def test_an_image_without_a_name_has_no_tags(store: ImageStore) -> None:
    """In neither listing."""
    archive = saved(store, put(store, (make_image(BASE), [])))

    assert [None] == [item["RepoTags"] for item in json_in(archive, "manifest.json")]
    assert [None] == [row.get("annotations") for row in json_in(archive, "index.json")["manifests"]]


# ── where it goes ────────────────────────────────────────────────────────────────────────────────


class WriteOnly(io.RawIOBase):
    """A target that can nothing but write."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def write(self, data: Any, /) -> int:
        """Keep some bytes."""
        self.data += data
        return len(data)


@pytest.mark.parametrize("archive_format", FORMATS)
def test_a_target_need_not_seek(store: ImageStore, archive_format: Format) -> None:
    """Though the size of a layer that has to be inflated comes before it; the target stays open."""
    entries = put(store, (make_image(BASE, APP, compression="zstd"), ["box:1"]))
    target = WriteOnly()

    save(store, entries, cast("BinaryIO", target), format=archive_format)

    assert saved(store, entries, archive_format) == bytes(target.data)
    assert not target.closed


def test_a_file_is_replaced_as_a_whole_or_not_at_all(store: ImageStore, tmp_path: Path) -> None:
    """A blob that was damaged in the store is noticed while it is copied."""
    image = make_image(BASE, APP)
    entries = put(store, (image, ["box:1"]))
    path = tmp_path / "out" / "box.tar"
    path.parent.mkdir()
    path.write_bytes(b"before")
    blob = Path(store.layout.blob_path(Digest(image.layers[1])))
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-9] + b"123456789")

    with pytest.raises(DigestMismatchError) as caught:
        save(store, entries, str(path))

    assert image.layers[1] == caught.value.expected
    assert b"before" == path.read_bytes()
    assert ["box.tar"] == os.listdir(path.parent)


def test_a_new_file_has_the_usual_mode(store: ImageStore, tmp_path: Path) -> None:
    """The user's umask decides."""
    path = tmp_path / "box.tar"
    os.umask(0o027)

    save(store, put(store, (make_image(BASE), ["box:1"])), str(path))

    assert 0o640 == path.stat().st_mode & 0o777


def test_a_directory_that_is_not_there_is_a_host_error(store: ImageStore, tmp_path: Path) -> None:
    """Not a bare OSError."""
    entries = put(store, (make_image(BASE), ["box:1"]))

    with pytest.raises(OSError, match="cannot write") as caught:
        save(store, entries, str(tmp_path / "missing" / "box.tar"))

    assert isinstance(caught.value, ContainerKitError)


@pytest.mark.parametrize(
    ("archive_format", "compression"), [("tar", "none"), ("docker", "xz")], ids=["format", "compression"]
)
def test_a_kind_of_archive_that_does_not_exist_is_refused(
    store: ImageStore, tmp_path: Path, archive_format: Format, compression: Compression
) -> None:
    """Before anything is written."""
    entries = put(store, (make_image(BASE), ["box:1"]))
    path = tmp_path / "box.tar"

    with pytest.raises(InvalidSpecError):
        save(store, entries, str(path), format=archive_format, compression=compression)

    assert not path.exists()


def test_an_archive_of_nothing_is_refused(store: ImageStore, tmp_path: Path) -> None:
    """It could not be loaded."""
    with pytest.raises(InvalidSpecError):
        save(store, [], str(tmp_path / "box.tar"))

    assert [] == list(tmp_path.glob("box.tar*"))


def test_progress_names_each_blob(store: ImageStore) -> None:
    """And says at last that it is done."""
    image = make_image(BASE, APP)
    events: list[Progress] = []

    save(store, put(store, (image, ["box:1"])), io.BytesIO(), progress=events.append)

    finished = {event.subject for event in events if event.finished and event.action == "pack"}
    assert {digest.partition(":")[2][:12] for digest in image.layers} <= finished
    assert "done" == events[-1].action


# ── other tools ──────────────────────────────────────────────────────────────────────────────────


def run(*command: str | Path) -> str:
    """Run a program and return what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


@pytest.mark.needs_tools("skopeo")
@pytest.mark.parametrize("layers", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("archive_format", FORMATS)
def test_skopeo_reads_both_formats(store: ImageStore, tmp_path: Path, archive_format: Format, layers: str) -> None:
    """Every layer of it, in either of the ways it reads a docker archive of ours."""
    image = make_image(BASE, APP, compression=layers)
    path = tmp_path / "box.tar"
    save(store, put(store, (image, ["box:1"])), str(path), format=archive_format)
    sources = [f"oci-archive:{path}:{NAME}"]
    if archive_format == "docker":
        sources.append(f"docker-archive:{path}:box:1")

    for number, source in enumerate(sources):
        inspected = json.loads(run("skopeo", "inspect", "--config", "--raw", source))
        run("skopeo", "copy", "--quiet", "--insecure-policy", source, f"dir:{tmp_path / str(number)}")

        assert [digest_of(BASE), digest_of(APP)] == inspected["rootfs"]["diff_ids"]
        assert digest_of(image.blobs[image.config]).partition(":")[2] in os.listdir(tmp_path / str(number))


@pytest.mark.needs_tools("skopeo")
@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
@pytest.mark.parametrize("layers", ["none", "gzip"])
def test_what_skopeo_writes_can_be_loaded(store: ImageStore, tmp_path: Path, kind: str, layers: str) -> None:
    """With its name and the very config."""
    image = make_image(BASE, APP, compression=layers)
    layout = tmp_path / "layout"
    for name, data in oci_members([(image, ["here"])]).items():
        (layout / name).parent.mkdir(parents=True, exist_ok=True)
        (layout / name).write_bytes(cast("bytes", data))
    path = tmp_path / "box.tar"
    name = f"{kind}:{path}:docker.io/library/box:1"
    run("skopeo", "copy", "--quiet", "--insecure-policy", f"oci:{layout}:here", name)

    (entry,) = load(store, str(path))

    _, manifest = store.layout.manifest_of(entry)
    assert NAME == entry.name
    assert [digest_of(BASE), digest_of(APP)] == list(store.layout.oci_config(manifest).diff_ids)


@pytest.mark.needs_root
@pytest.mark.needs_tools("podman")
@pytest.mark.slow
@pytest.mark.parametrize("layers", ["gzip", "zstd"])
@pytest.mark.parametrize("archive_format", FORMATS)
def test_podman_loads_what_we_save_and_saves_what_we_load(
    store: ImageStore, tmp_path: Path, archive_format: Format, layers: str
) -> None:
    """By its name, with its layers; both ways."""
    image = make_image(BASE, APP, compression=layers)
    entries = put(store, (image, ["box.test/box:1"]))
    path, back = tmp_path / "box.tar", tmp_path / "back.tar"
    podman = ("podman", "--root", tmp_path / "p", "--runroot", tmp_path / "q", "--storage-driver", "vfs")
    save(store, entries, str(path), format=archive_format)
    own_format = {"docker": "docker-archive", "oci": "oci-archive"}[archive_format]

    run(*podman, "load", "--quiet", "--input", path)
    inspected = json.loads(run(*podman, "image", "inspect", "box.test/box:1"))[0]
    run(*podman, "save", "--quiet", "--format", own_format, "--output", back, "box.test/box:1")
    run(*podman, "rmi", "--force", "box.test/box:1")
    (entry,) = load(store, str(back))

    assert [digest_of(BASE), digest_of(APP)] == inspected["RootFS"]["Layers"]
    assert "box.test/box:1" == entry.name
    _, manifest = store.layout.manifest_of(entry)
    assert [digest_of(BASE), digest_of(APP)] == list(store.layout.oci_config(manifest).diff_ids)


def test_a_docker_archive_of_ours_reads_like_one_of_docker(store: ImageStore) -> None:
    """manifest.json has the three keys that Docker reads, and names files that are there."""
    archive = saved(store, put(store, (make_image(BASE, APP), ["box:1", "r.test:5000/box:2"])))

    (item,) = json_in(archive, "manifest.json")

    assert {"Config", "RepoTags", "Layers"} == set(item)
    assert ["box:1", "r.test:5000/box:2"] == item["RepoTags"]
    members = read_tar(archive)
    assert {item["Config"], *item["Layers"]} <= set(members)
    # A reader that only knows docker-archives sees the same image.
    only = {name: data for name, data in members.items() if name not in ("index.json", "oci-layout")}
    assert ["docker.io/library/box:1", "r.test:5000/box:2"] == [
        entry.name for entry in load(store, io.BytesIO(write_tar(only)))
    ]
