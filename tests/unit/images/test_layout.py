"""The image layout and its index: readable and writable by others, whole after every interruption."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from container_kit._store import index_storage
from container_kit._store.store import ImageStore
from container_kit.errors import (
    DigestMismatchError,
    ImageError,
    LockTimeoutError,
    StateError,
)
from tests.small_images import INDEX, SmallImage, make_image, make_tar
from tests.stores import descriptor_of, put_image

REF_NAME = "org.opencontainers.image.ref.name"
DEBIAN, ALPINE = "docker.io/library/debian:12", "docker.io/library/alpine:3"


def image_with(text: str) -> SmallImage:
    """Return an image that differs by a text."""
    return make_image(make_tar({"file": text.encode()}))


def index_of(store: ImageStore) -> dict[str, Any]:
    """Return index.json."""
    document: dict[str, Any] = json.loads(Path(store.home.images, "index.json").read_bytes())
    return document


def write_index(store: ImageStore, document: object) -> None:
    """Write index.json as another tool would, in place."""
    Path(store.home.images, "index.json").write_text(json.dumps(document), encoding="utf-8")


def state_of(store: ImageStore) -> list[tuple[str | None, str]]:
    """Return names and digests of the images."""
    return [(entry.name, entry.descriptor.digest) for entry in store.layout.entries()]


# ── the layout ───────────────────────────────────────────────────────────────────────────────────


def test_an_unused_store_is_empty_and_writes_nothing(store: ImageStore) -> None:
    """Looking makes no files."""
    assert () == store.layout.entries()
    assert [] == os.listdir(store.home.images)


def test_what_is_there_is_a_standard_layout(store: ImageStore) -> None:
    """oci-layout, index.json and blobs; nothing else, and nothing left in ingest."""
    image = image_with("a")
    put_image(store, image, DEBIAN)

    assert {"oci-layout", "index.json", "blobs"} == set(os.listdir(store.home.images))
    assert {"imageLayoutVersion": "1.0.0"} == json.loads(Path(store.home.images, "oci-layout").read_bytes())
    assert 2 == index_of(store)["schemaVersion"]
    assert DEBIAN == index_of(store)["manifests"][0]["annotations"][REF_NAME]
    assert {"sha256"} == set(os.listdir(f"{store.home.images}/blobs"))
    assert [] == os.listdir(store.home.ingest)


def test_a_blob_is_read_back_and_verified(store: ImageStore) -> None:
    """Its digest is its name; content is immutable."""
    digest = store.layout.put(b"content")

    assert store.layout.has(digest)
    assert 7 == store.layout.size(digest)
    assert b"content" == store.layout.read(digest)
    assert digest == store.layout.put(b"content")
    assert 0o444 == stat.S_IMODE(os.stat(store.layout.blob_path(digest)).st_mode)
    fd = store.layout.open(digest)
    assert b"content" == os.read(fd, 100)
    os.close(fd)


def test_a_damaged_blob_is_refused(store: ImageStore) -> None:
    """Changed, or of another size than its descriptor says, or too large."""
    descriptor = descriptor_of(b"content")
    digest = store.layout.put(b"content")

    with pytest.raises(DigestMismatchError, match="size"):
        store.layout.read(attrs.evolve(descriptor, size=8))
    with pytest.raises(ImageError, match="at most 6"):
        store.layout.read(digest, limit=6)
    os.chmod(store.layout.blob_path(digest), 0o644)
    Path(store.layout.blob_path(digest)).write_bytes(b"CONTENT")
    with pytest.raises(DigestMismatchError) as caught:
        store.layout.read(descriptor)

    assert digest == caught.value.expected


def test_a_missing_blob_says_so(store: ImageStore) -> None:
    """With the digest and what to do."""
    digest = descriptor_of(b"nowhere").digest
    for ask in (store.layout.size, store.layout.open, store.layout.read):
        with pytest.raises(ImageError, match=digest) as caught:
            ask(digest)
        assert caught.value.hint


@pytest.mark.parametrize("kind", ["fifo", "symlink", "directory"])
def test_a_blob_that_is_no_file_is_refused_without_waiting(store: ImageStore, kind: str) -> None:
    """A FIFO would be waited for, a symlink leads elsewhere."""
    digest = store.layout.put(b"content")
    path = store.layout.blob_path(digest)
    os.unlink(path)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "symlink":
            os.symlink("/etc/passwd", path)
        case _:
            os.mkdir(path)

    with pytest.raises(ImageError):
        store.layout.read(digest)


# ── the index ────────────────────────────────────────────────────────────────────────────────────


def test_an_entry_is_read_back(store: ImageStore) -> None:
    """Name, descriptor, what the registry's tag meant, and when."""
    image = image_with("a")
    source = descriptor_of(b"index").digest
    made = put_image(store, image, DEBIAN, source)

    (entry,) = store.layout.entries()

    assert made == entry
    assert DEBIAN == entry.name
    assert (image.digest, image.media_type) == (entry.descriptor.digest, entry.descriptor.media_type)
    assert source == entry.source
    assert abs(os.stat(f"{store.home.images}/index.json").st_mtime_ns - entry.added_ns) < 60e9
    assert () == entry.descriptor.annotations


def test_a_name_that_moves_leaves_the_older_image_dangling(store: ImageStore) -> None:
    """As users of Docker expect."""
    one, two = (put_image(store, image_with(text), DEBIAN) for text in ("1", "2"))

    assert [(None, one.descriptor.digest), (DEBIAN, two.descriptor.digest)] == state_of(store)


def test_an_older_image_with_another_name_is_not_dangling(store: ImageStore) -> None:
    """It loses one of its names only."""
    one = put_image(store, image_with("1"), DEBIAN)
    with store.layout.edit() as index:
        index.set(ALPINE, one.descriptor)
    two = put_image(store, image_with("2"), DEBIAN)

    assert {(ALPINE, one.descriptor.digest), (DEBIAN, two.descriptor.digest)} == set(state_of(store))


def test_a_dangling_image_gets_a_name(store: ImageStore) -> None:
    """Then it is no longer listed as dangling; a nameless entry of a named image is not made."""
    one = put_image(store, image_with("1"))
    assert [(None, one.descriptor.digest)] == state_of(store)
    with store.layout.edit() as index:
        index.set(DEBIAN, one.descriptor)
    with store.layout.edit() as index:
        assert DEBIAN == index.set(None, one.descriptor).name

    assert [(DEBIAN, one.descriptor.digest)] == state_of(store)


def test_setting_the_same_again_changes_when_and_source_only(store: ImageStore) -> None:
    """A pull of the unchanged tag from another index."""
    source = descriptor_of(b"other").digest
    one = put_image(store, image_with("1"), DEBIAN)
    again = put_image(store, image_with("1"), DEBIAN, source)

    assert [(DEBIAN, one.descriptor.digest)] == state_of(store)
    assert source == again.source
    assert again.added_ns > one.added_ns


def test_names_and_images_are_removed(store: ImageStore) -> None:
    """Without its last name an image is dangling; removed it is gone with all names."""
    one = put_image(store, image_with("1"), DEBIAN)
    with store.layout.edit() as index:
        index.set(ALPINE, one.descriptor)
        assert index.remove_name(DEBIAN)
        assert not index.remove_name(DEBIAN)
        assert [ALPINE] == [entry.name for entry in index.entries]
        assert index.remove_name(ALPINE)
    assert [(None, one.descriptor.digest)] == state_of(store)
    with store.layout.edit() as index:
        assert index.remove(one.descriptor.digest)
        assert not index.remove(one.descriptor.digest)

    assert () == store.layout.entries()


def test_an_exception_in_an_edit_changes_nothing(store: ImageStore) -> None:
    """And nothing is written when nothing changed."""
    put_image(store, image_with("1"), DEBIAN)
    path = Path(store.home.images, "index.json")
    before = path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()

    def fail() -> None:
        with store.layout.edit() as index:
            index.remove_name(DEBIAN)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with store.layout.edit():
        pass

    assert before == (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())


def test_what_other_tools_write_is_understood(store: ImageStore) -> None:
    """A short name is the name it stands for; one that is no reference is shown as it is; a change is seen at once."""
    one = put_image(store, image_with("1"))
    document = index_of(store)
    row = document["manifests"][0]
    names = ["debian:12", "127.0.0.1:5000/a/b:c", "Not A Reference"]
    document["manifests"] = [{**row, "annotations": {REF_NAME: name}} for name in names]
    write_index(store, document)

    expected = [DEBIAN, "127.0.0.1:5000/a/b:c", "Not A Reference"]
    assert [(name, one.descriptor.digest) for name in expected] == state_of(store)
    with store.layout.edit() as index:
        index.remove_name("Not A Reference")
        index.remove_name(DEBIAN)
    assert [expected[1]] == [name for name, _ in state_of(store)]


def test_of_two_with_one_name_the_later_has_it(store: ImageStore) -> None:
    """Other tools append, under their own spelling."""
    one, two = (put_image(store, image_with(text)) for text in "12")
    rows = [one.descriptor.to_json(), two.descriptor.to_json()]
    rows[0]["annotations"] = {REF_NAME: DEBIAN}
    rows[1]["annotations"] = {REF_NAME: "debian:12"}
    write_index(store, {"schemaVersion": 2, "manifests": rows})

    assert [(None, one.descriptor.digest), (DEBIAN, two.descriptor.digest)] == state_of(store)
    with store.layout.edit() as index:
        index.set(ALPINE, one.descriptor)
    assert {(ALPINE, one.descriptor.digest), (DEBIAN, two.descriptor.digest)} == set(state_of(store))


def test_what_is_not_known_in_the_index_survives(store: ImageStore) -> None:
    """Fields, other annotations, and elements that are no descriptors."""
    one = put_image(store, image_with("1"))
    row = {**one.descriptor.to_json(), "artifactType": "x/y", "annotations": {REF_NAME: "debian:12", "a": "b"}}
    strange = [{"digest": "md5:1"}, 7, {"mediaType": INDEX}]
    write_index(store, {"schemaVersion": 2, "annotations": {"c": "d"}, "new": [1], "manifests": [row, *strange]})
    assert [(DEBIAN, one.descriptor.digest)] == state_of(store)

    with store.layout.edit() as index:
        index.set(ALPINE, one.descriptor)
        index.remove_name(DEBIAN)

    document = index_of(store)
    made = document["manifests"][-1]
    assert {"c": "d"} == document["annotations"]
    assert [1] == document["new"]
    assert strange == [element for element in document["manifests"] if element in strange]
    assert ("x/y", "b", ALPINE) == (made["artifactType"], made["annotations"]["a"], made["annotations"][REF_NAME])


def test_our_annotations_in_foreign_content_mean_nothing(store: ImageStore) -> None:
    """A descriptor of a registry's index may carry anything."""
    image = put_image(store, image_with("1")).descriptor
    lies = (("io.container-kit.source", descriptor_of(b"lie").digest), (REF_NAME, "evil:1"), ("kept", "yes"))
    with store.layout.edit() as index:
        index.remove(image.digest)
        made = index.set(DEBIAN, attrs.evolve(image, annotations=lies))

    assert (DEBIAN, None) == (made.name, made.source)
    assert (("kept", "yes"),) == made.descriptor.annotations


@pytest.mark.parametrize("data", [b"", b"{", b"\0" * 100, b"[]", b'{"manifests":[],"manifests":[]}'])
def test_a_damaged_index_is_an_error_and_stays(store: ImageStore, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made of it, and nothing is written over it."""
    put_image(store, image_with("1"), DEBIAN)
    path = Path(store.home.images, "index.json")
    path.write_bytes(data)

    monkeypatch.setattr(index_storage, "_SETTLE_SECONDS", 0.0)
    with pytest.raises(StateError, match="damaged"):
        store.layout.entries()
    with pytest.raises(StateError), store.layout.edit() as index:
        index.remove_name(DEBIAN)

    assert data == path.read_bytes()


def test_a_missing_index_is_an_error(store: ImageStore) -> None:
    """An empty store has one: its images were not removed by us."""
    put_image(store, image_with("1"), DEBIAN)
    os.unlink(f"{store.home.images}/index.json")

    with pytest.raises(StateError, match="missing"):
        store.layout.entries()
    with pytest.raises(StateError, match="missing"), store.layout.edit():
        pass


def test_an_edit_excludes_others_and_says_who(store: ImageStore) -> None:
    """Also other threads of this process."""
    with store.layout.edit(), pytest.raises(LockTimeoutError) as caught, store.layout.edit(timeout=0.01):
        pass

    assert os.getpid() == caught.value.holder


def test_processes_that_edit_at_the_same_time_lose_nothing(tmp_path: Path, store: ImageStore) -> None:
    """Also when they make the layout."""
    program = (
        "import sys; from pathlib import Path; from tests.stores import *; from tests.small_images import *\n"
        "store = open_store(Path(sys.argv[1]))\n"
        "for n in range(10):\n"
        "    put_image(store, make_image(make_tar({sys.argv[2]: b'%d' % n})), f'docker.io/library/{sys.argv[2]}:{n}')\n"
    )
    words = [[sys.executable, "-c", program, str(tmp_path), f"p{number}"] for number in range(4)]
    processes = [subprocess.Popen(one, cwd=Path(__file__).parents[3]) for one in words]

    assert [0] * 4 == [process.wait(60) for process in processes]
    assert {f"docker.io/library/p{p}:{n}" for p in range(4) for n in range(10)} == {name for name, _ in state_of(store)}


def test_a_layout_that_is_being_made_keeps_what_is_in_it(store: ImageStore) -> None:
    """Another process may be as far as its first image before this one has looked for the marker."""
    one = put_image(store, image_with("1"), DEBIAN)
    os.unlink(f"{store.home.images}/oci-layout")

    store.layout.put(b"more")

    assert [(DEBIAN, one.descriptor.digest)] == state_of(store)
    assert os.path.exists(f"{store.home.images}/oci-layout")
