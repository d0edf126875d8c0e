"""Loading archives that are damaged, contradictory or malicious: refused with a typed error, and nothing is left."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from unittest.mock import Mock

import pytest

import container_kit as ck
from container_kit._archives import docker_archive
from container_kit._archives import input as archive_input
from container_kit._archives.load import load
from container_kit._files.worker import FileWorker
from container_kit._spec.oci_config import parse_oci_config
from container_kit._store.collect import collect
from container_kit._store.store import ImageStore
from container_kit.errors import ContainerKitError, DigestMismatchError, ImageError, UnsafeArchiveError
from tests.archives import Member, compress, docker_members, oci_members, write_tar
from tests.loading import APP, BASE, FORMS, IMAGE, NAME, OTHER, SECOND, assert_empty, load_bytes
from tests.small_images import INDEX, SmallImage, digest_of, encode, make_image, make_index, make_tar, noise


@pytest.fixture
def store(engine: ck.Engine) -> Iterator[ImageStore]:
    """Give an empty store; no scratch may be left in it."""
    store = engine.site.images

    yield store

    assert [] == os.listdir(store.home.ingest)


def damaged(data: bytes, how: str) -> bytes:
    """Return other bytes."""
    middle = len(data) // 2
    match how:
        case "flip":
            return data[:middle] + bytes((data[middle] ^ 1,)) + data[middle + 1 :]
        case "prepend":
            return b"\0" * 512 + data
        case "append":
            return data + b"\0" * 512
        case "truncate":
            return data[:-1]
        case _:
            return compress(data, "gzip")


@pytest.mark.parametrize("how", ["flip", "prepend", "append", "truncate", "recompress"])
@pytest.mark.parametrize("form", ["docker", "oci"])
def test_a_changed_part_is_noticed(store: ImageStore, form: str, how: str) -> None:
    """Whichever part of an image it is: nothing of the archive can be seen afterwards (C11)."""
    members = FORMS[form]([(IMAGE, ["box:1"])])
    parts = [
        name for name, data in members.items() if name not in ("manifest.json", "index.json", "oci-layout") and data
    ]
    layers = {digest.partition(":")[2] for digest in IMAGE.layers}
    for name in parts:
        if form == "docker" and how == "recompress" and Path(name).stem in layers:
            continue  # the tar in it is the right one
        changed = {**members, name: damaged(cast("bytes", members[name]), how)}

        with pytest.raises(ContainerKitError) as caught:
            load_bytes(store, write_tar(changed))

        assert isinstance(caught.value, DigestMismatchError), (name, caught.value)
        assert_empty(store)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_layer_with_another_tar_in_it_is_noticed(store: ImageStore, compression: str) -> None:
    """In a docker-archive only unpacking can tell: the diff_id is of the tar."""
    image = make_image(BASE, APP, compression=compression)
    members = docker_members([(image, ["box:1"])])
    members[f"{image.layers[1].partition(':')[2]}.tar"] = compress(OTHER, compression)

    with pytest.raises(DigestMismatchError):
        load_bytes(store, write_tar(members))

    assert_empty(store)


def test_swapped_layers_are_noticed(store: ImageStore) -> None:
    """Each is right, but not in the other's place."""
    members = docker_members([(IMAGE, ["box:1"])])
    listing = json.loads(cast("bytes", members["manifest.json"]))
    listing[0]["Layers"].reverse()

    with pytest.raises(DigestMismatchError):
        load_bytes(store, write_tar({**members, "manifest.json": json.dumps(listing).encode()}))

    assert_empty(store)


def edited_index(change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return an OCI archive after a change of the descriptor in its index.json."""
    members = oci_members([(IMAGE, ["box:1"])])
    index = json.loads(cast("bytes", members["index.json"]))
    change(index["manifests"][0])
    return write_tar({**members, "index.json": json.dumps(index).encode()})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", 3),
        ("size", -1),
        ("size", 2**63),
        ("size", 1.5),
        ("digest", f"sha256:{'0' * 64}"),
        ("digest", "sha256:../../../../etc/passwd"),
        ("digest", f"sha256:{'A' * 64}"),
        ("digest", "md5:d41d8cd98f00b204e9800998ecf8427e"),
        ("mediaType", "application/vnd.oci.image.index.v1+json"),
        ("mediaType", "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        ("mediaType", 7),
    ],
)
def test_a_descriptor_that_is_wrong_is_refused(store: ImageStore, key: str, value: object) -> None:
    """In size, digest or type (C12)."""
    with pytest.raises(ImageError):
        load_bytes(store, edited_index(lambda descriptor: descriptor.update({key: value})))

    assert_empty(store)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_part_that_is_missing_is_named(store: ImageStore, part: int) -> None:
    """A layer, or the config."""
    digest = list(IMAGE.blobs)[part].partition(":")[2]
    members = oci_members([(IMAGE, ["box:1"])])
    del members[f"blobs/sha256/{digest}"]

    with pytest.raises(ImageError, match=digest):
        load_bytes(store, write_tar(members))

    assert_empty(store)


def test_indexes_are_not_followed_for_ever(store: ImageStore) -> None:
    """Four within each other are more than anybody needs."""
    nested = IMAGE
    for _ in range(3):
        nested = make_index(nested)
    assert [NAME] == load_bytes(store, write_tar(oci_members([(nested, ["box:1"])])))

    with pytest.raises(ImageError, match="nested"):
        load_bytes(store, write_tar(oci_members([(make_index(make_index(nested)), ["box:2"])])))

    assert [NAME] == [entry.name for entry in store.layout.entries()]


def test_indexes_that_repeat_each_other_take_no_time(store: ImageStore) -> None:
    """A thousand times a thousand times a thousand would."""
    nested = IMAGE
    for _ in range(3):
        top = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [nested.descriptor()] * 1000})
        nested = SmallImage(blobs=nested.blobs, documents=[*nested.documents, (top, INDEX)])

    begin = time.monotonic()
    images = load_bytes(store, write_tar(oci_members([(nested, ["box:1"])])))

    assert [NAME] == images
    assert time.monotonic() - begin < 10


def test_one_file_of_many_names_is_read_once(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As is the config that many images share."""
    measured = Mock(wraps=archive_input._measured)
    parsed = Mock(wraps=parse_oci_config)
    tars = 127
    config = encode({"rootfs": {"type": "layers", "diff_ids": [digest_of(bytes(10240))] * tars}})
    members: dict[str, Member] = {"config.json": config, "one.tar": bytes(10240)}
    members |= {f"{number}.tar": "one.tar" for number in range(tars)}
    listing = {"Config": "config.json", "RepoTags": None, "Layers": [f"{number}.tar" for number in range(tars)]}
    members["manifest.json"] = json.dumps([listing] * 50).encode()

    monkeypatch.setattr(archive_input, "_measured", measured)
    monkeypatch.setattr(docker_archive, "parse_oci_config", parsed)

    assert [None] * 50 == load_bytes(store, write_tar(members))

    assert (1, 1) == (measured.call_count, parsed.call_count)


def test_documents_are_bounded_together(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may be as large as it may be, but not all of them."""
    monkeypatch.setattr(archive_input, "MOST_DOCUMENTS_BYTES", 1000)

    with pytest.raises(ImageError, match="documents"):
        load_bytes(store, write_tar(oci_members([(IMAGE, ["box:1"])])))

    assert_empty(store)


def test_an_index_of_very_many_images_is_refused(store: ImageStore) -> None:
    """Each would have to be looked at."""
    members = oci_members([(IMAGE, [f"box:{number}" for number in range(1001)])])

    with pytest.raises(ImageError, match="1000"):
        load_bytes(store, write_tar(members))

    assert_empty(store)


def test_a_layer_that_reaches_out_is_refused(store: ImageStore, tmp_path: Path) -> None:
    """And what was stored before that was noticed is collected."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    tar = make_tar({"etc/": b"", f"../../../../../..{victim}": b"theirs"})
    image = make_image(BASE, tar)

    with pytest.raises(UnsafeArchiveError):
        load_bytes(store, write_tar(docker_members([(image, ["box:1"])])))

    assert b"mine" == victim.read_bytes()
    assert_empty(store)
    collect(store)
    assert [] == list(Path(store.home.images).glob("blobs/*/*"))
    assert [] == os.listdir(store.home.layers)


def test_two_listings_that_differ_are_refused(store: ImageStore) -> None:
    """One tool would read an image that another does not see."""
    members = {**oci_members([(IMAGE, ["box:1"])]), **docker_members([(SECOND, ["box:1"])])}

    with pytest.raises(ImageError, match="different images"):
        load_bytes(store, write_tar(members))

    assert_empty(store)


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../../../../../etc/passwd", "/proc/self/environ", "missing", "."]
)
@pytest.mark.parametrize("place", ["config", "layer", "listing"])
def test_a_symlink_never_leads_out_of_the_archive(store: ImageStore, target: str, place: str) -> None:
    """Its files are read as if the archive were all there is."""
    members = docker_members([(IMAGE, ["box:1"])])
    name = {
        "config": f"{IMAGE.config.partition(':')[2]}.json",
        "layer": f"{IMAGE.layers[0].partition(':')[2]}.tar",
        "listing": "manifest.json",
    }[place]

    with pytest.raises(ImageError) as caught:
        load_bytes(store, write_tar({**members, name: target}))

    assert not isinstance(caught.value, DigestMismatchError)  # nothing was read
    assert_empty(store)


@pytest.mark.parametrize(
    "listing",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b"[{}]",
        b'[{"Config":"a\\u0000b","Layers":[]}]',
        b'[{"Config":"x.json","Layers":"x"}]',
        b'[{"Config":"x.json","Layers":[7]}]',
        b'[], "images": []',
        b'[], "more": []',
        b'[{"Config":"a","Config":"b"}]',
        b"[" * 100_000 + b"]" * 100_000,
        json.dumps([{"Config": "x.json", "Layers": ["y.tar"] * 128}]).encode(),
        json.dumps([{"Config": "x.json", "Layers": []}] * 1001).encode(),
        b" " * (4 << 20) + b"[]",
    ],
    ids=range(15),
)
def test_a_malformed_listing_is_refused(store: ImageStore, listing: bytes) -> None:
    """In bounded time and memory (C10)."""
    members = {**docker_members([(IMAGE, ["box:1"])]), "manifest.json": listing}

    with pytest.raises(ImageError):
        load_bytes(store, write_tar(members))

    assert_empty(store)


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"no archive",
        noise(5000),
        bytes(10240),
        write_tar({"etc/passwd": b"root"}),
        write_tar({"repositories": b"{}"}),
        write_tar({"oci-layout": b"{}", "index.json": b'{"schemaVersion":2,"manifests":[]}'}),
        write_tar(docker_members([(IMAGE, ["box:1"])]))[:40_000],
        compress(write_tar(docker_members([(IMAGE, ["box:1"])])), "gzip")[:-1],
        compress(write_tar(docker_members([(IMAGE, ["box:1"])])), "zstd") + b"more",
    ],
    ids=["empty", "text", "noise", "zeros", "rootfs", "ancient", "no-images", "cut", "cut-gzip", "trailing"],
)
def test_what_is_no_archive_of_images_is_refused(store: ImageStore, archive: bytes) -> None:
    """With a typed error that names it."""
    with pytest.raises(ImageError) as caught:
        load_bytes(store, archive)

    assert "archive" == caught.value.image
    assert_empty(store)


def test_an_archive_with_too_many_entries_is_refused(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they are all there."""
    monkeypatch.setattr(archive_input, "MOST_ENTRIES", 20)
    members = {**docker_members([(IMAGE, ["box:1"])]), **{f"more{number}": b"" for number in range(30)}}

    with pytest.raises(UnsafeArchiveError):
        load_bytes(store, write_tar(members))

    assert_empty(store)


def test_an_archive_that_is_too_large_is_refused(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it inflates to that."""
    monkeypatch.setattr(archive_input, "MOST_BYTES", 1 << 20)
    members = {**docker_members([(IMAGE, ["box:1"])]), "zeros": bytes(4 << 20)}

    with pytest.raises(UnsafeArchiveError):
        load_bytes(store, compress(write_tar(members), "gzip"))

    assert_empty(store)


def test_a_missing_file_is_a_host_error(store: ImageStore, tmp_path: Path) -> None:
    """With the errno that says so."""
    with pytest.raises(OSError, match="cannot read") as caught:
        load(store, str(tmp_path / "missing"))

    assert isinstance(caught.value, ContainerKitError)
    assert_empty(store)


class Interrupted(io.RawIOBase):
    """An archive whose reader is interrupted in the middle."""

    def __init__(self, archive: bytes) -> None:
        self._file = io.BytesIO(archive)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return some bytes, then raise."""
        if self._file.tell() > 20_000:
            raise KeyboardInterrupt
        return self._file.read(min(size, 8192))


def test_an_interrupt_leaves_nothing(store: ImageStore) -> None:
    """No thread, no process, no scratch."""
    archive = write_tar(docker_members([(IMAGE, ["box:1"])]))

    with pytest.raises(KeyboardInterrupt):
        load(store, cast("BinaryIO", Interrupted(archive)))

    assert [threading.main_thread()] == threading.enumerate()
    assert_empty(store)


@pytest.mark.parametrize("is_gone", [False, True])
def test_an_interrupt_while_the_archive_is_unpacked_leaves_nothing(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    """Also when it ended the process that unpacks."""
    path = tmp_path / "box.tar"
    path.write_bytes(write_tar(docker_members([(IMAGE, ["box:1"])])))
    unpack = FileWorker.unpack

    def unpack_and_interrupt(self: FileWorker, *arguments: Any) -> None:
        unpack(self, *arguments)
        if is_gone:
            self.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(FileWorker, "unpack", unpack_and_interrupt)

    with pytest.raises(KeyboardInterrupt):
        load(store, str(path))

    assert_empty(store)
