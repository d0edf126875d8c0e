"""Laws of layers: packing undoes unpacking, and a layer of changes on top of a tree makes the changed tree."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import container_kit as ck
from container_kit._files.view import View, directory_view, overlay_view
from container_kit._files.worker import FileWorker
from container_kit._images.make import Packing, add_directory, add_layer, import_tar, with_layer
from container_kit._spec.paths import HostPath
from container_kit._store.index_file import Entry
from container_kit._store.store import ImageStore
from tests.small_images import digest_of

# A file's bytes, a symlink's target, or a directory's entries.
Node: TypeAlias = "bytes | str | Mapping[str, Node]"
Tree: TypeAlias = "Mapping[str, Node]"

# Few names, so that two trees often have the same one for different things.
names = st.sampled_from(["a", "b", "c", "long" * 60, "é", ".hidden", "wh", "with space"])
targets = st.sampled_from(["a", "../b", "/c", "x" * 150])
leaves: st.SearchStrategy[Node] = st.binary(max_size=1500) | targets
nodes: st.SearchStrategy[Node] = st.recursive(
    leaves, lambda below: st.dictionaries(names, below, max_size=4), max_leaves=8
)
trees = st.dictionaries(names, nodes, max_size=4)

# No database of examples: another user may not write to the checkout.
LAW = settings(
    database=None,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def store(engine: ck.Engine) -> ImageStore:
    """Give a store, the same for all examples: what is in it depends on content only."""
    return engine.site.images


def write_tree(tree: Tree, place: Path) -> None:
    """Make a tree of files."""
    for name, node in tree.items():
        path = place / name
        match node:
            case bytes():
                path.write_bytes(node)
            case str():
                path.symlink_to(node)
            case _:
                path.mkdir()
                write_tree(node, path)


def read_tree(worker: FileWorker, place: str = "") -> Tree:
    """Return the tree that a worker sees."""
    found: dict[str, Node] = {}
    for name, _ in worker.list(place or "/"):
        path = f"{place}/{name}"
        status = worker.status(path, follow=False)
        if status.is_dir:
            found[name] = read_tree(worker, path)
        elif status.is_symlink:
            found[name] = worker.read_link(path)
        else:
            assert status.is_file
            with open(worker.open(path, os.O_RDONLY), "rb") as file:
                found[name] = file.read()
    return found


def seen_through(store: ImageStore, view: View) -> Tree:
    """Return the tree of a view."""
    with FileWorker.start(view, user_namespace=store.user_namespace()) as worker:
        return read_tree(worker)


def view_of(store: ImageStore, image: Entry) -> View:
    """Return the view of an image's root."""
    _, manifest = store.layout.manifest_of(image)
    lowers = store.layers.ensure_all(manifest, store.layout.oci_config(manifest))
    return overlay_view(
        lowers, upper=None, directory=store.home.containers, form=store.overlay_form, rootless=store.rootless
    )


def changes_between(before: Tree, after: Tree, prefix: str = "") -> list[tuple[str, Node | None]]:
    """Return what a layer must say to make one tree of another; None takes a name away."""
    found: list[tuple[str, Node | None]] = [(f"{prefix}{name}", None) for name in sorted(before.keys() - after.keys())]
    for name, node in sorted(after.items(), key=lambda item: item[0]):
        path = f"{prefix}{name}"
        old = before.get(name)
        if isinstance(node, Mapping):
            found.append((path, {}))
            found += changes_between(old if isinstance(old, Mapping) else {}, node, f"{path}/")
        elif node != old:
            found.append((path, node))
    return found


def layer_of(changes: list[tuple[str, Node | None]]) -> bytes:
    """Return the tar of a layer, by the standard library (OCI image-spec, layer.md)."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, node in changes:
            parent, _, name = path.rpartition("/")
            info = tarfile.TarInfo(path if node is not None else f"{parent}/.wh.{name}".lstrip("/"))
            info.mode = 0o755
            content = node if isinstance(node, bytes) else b""
            info.size = len(content)
            if isinstance(node, str):
                info.type, info.linkname = tarfile.SYMTYPE, node
            elif isinstance(node, Mapping):
                info.type = tarfile.DIRTYPE
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


@pytest.mark.needs_overlay
@LAW
@given(before=trees, after=trees)
def test_a_layer_of_changes_makes_the_changed_tree(store: ImageStore, before: Tree, after: Tree) -> None:
    """apply(diff(a, b), a) = b, whatever is added, changed, removed or becomes something else."""
    base = import_tar(store, io.BytesIO(layer_of(changes_between({}, before))), None)

    image = with_layer(store, base, io.BytesIO(layer_of(changes_between(before, after))))

    assert before == seen_through(store, view_of(store, base))
    assert after == seen_through(store, view_of(store, image))


@LAW
@given(tree=trees)
def test_packing_undoes_unpacking(store: ImageStore, tree: Tree) -> None:
    """What was packed, unpacked and packed again has the same digest; packing twice has, too."""
    with tempfile.TemporaryDirectory(dir=store.home.ingest) as place:
        write_tree(tree, Path(place))

        first, first_id = add_directory(store, place)
        again, _ = add_directory(store, place)
        unpacked = store.layers.ensure(first_id, first)
        _, second_id = add_directory(store, unpacked)

        assert first == again
        assert first_id == second_id
        assert tree == seen_through(store, directory_view(HostPath(unpacked), read_only=True))


@LAW
@given(tree=trees)
def test_a_digest_does_not_depend_on_when_and_in_what_order(store: ImageStore, tree: Tree) -> None:
    """The same files made twice, the other way round, with clamped times."""
    packing = Packing(latest_mtime_ns=0)
    digests: set[str] = set()
    for order in (dict(tree), dict(reversed(list(tree.items())))):
        with tempfile.TemporaryDirectory(dir=store.home.ingest) as place:
            write_tree(order, Path(place))
            digests.add(add_directory(store, place, packing=packing)[1])

    assert 1 == len(digests)


@LAW
@given(tree=trees)
def test_a_packed_directory_is_listed_by_others_as_it_is(store: ImageStore, tree: Tree) -> None:
    """Python's tarfile reads the names, kinds and contents that were packed, sorted."""
    with tempfile.TemporaryDirectory(dir=store.home.ingest) as place:
        write_tree(tree, Path(place))
        layer, _ = add_directory(store, place, packing=Packing(compression="none"))

    with tarfile.open(store.layout.blob_path(layer.digest)) as tar:
        members = {os.path.normpath(member.name): member for member in tar}
        expected = dict(_flat(tree))
        assert set(expected) == set(members) - {"."}
        for name, node in expected.items():
            member = members[name]
            match node:
                case bytes():
                    file = tar.extractfile(member)
                    assert file is not None
                    assert node == file.read()
                case str():
                    assert (True, node) == (member.issym(), member.linkname)
                case _:
                    assert member.isdir()


@LAW
@given(data=st.binary(max_size=4000), compression=st.sampled_from(["none", "gzip", "zstd"]))
def test_a_layers_diff_id_is_its_tars_digest(store: ImageStore, data: bytes, compression: str) -> None:
    """Whatever the bytes are, and however they are kept."""
    match compression:
        case "gzip":
            layer, diff_id = add_layer(store, io.BytesIO(data), compression="gzip")
        case "zstd":
            layer, diff_id = add_layer(store, io.BytesIO(data), compression="zstd")
        case _:
            layer, diff_id = add_layer(store, io.BytesIO(data), compression="none")

    blob = Path(store.layout.blob_path(layer.digest)).read_bytes()
    assert digest_of(data) == diff_id
    assert (digest_of(blob), len(blob)) == (layer.digest, layer.size)


def _flat(tree: Tree, prefix: str = "") -> list[tuple[str, Node]]:
    found: list[tuple[str, Node]] = []
    for name, node in tree.items():
        found.append((f"{prefix}{name}", node))
        if isinstance(node, Mapping):
            found += _flat(node, f"{prefix}{name}/")
    return found
