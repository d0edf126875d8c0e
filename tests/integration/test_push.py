"""Pushing to Debian's docker-registry: what is sent, what is not, and that others can read it."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._images.pull import pull
from container_kit._images.push import push
from container_kit._images.upload import Compression
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest
from container_kit._spec.progress import Progress
from container_kit._store.index_file import Entry
from container_kit.errors import ImageError, InvalidReferenceError
from tests.conftest import LedgerWatch
from tests.image_places import Place, open_client
from tests.registries import Registry, run_registry
from tests.small_images import (
    DOCKER_LAYER,
    FOREIGN_ARCHITECTURE,
    LAYER,
    SmallImage,
    digest_of,
    make_image,
    make_index,
    make_tar,
    noise,
    publish,
    read_blob,
    read_manifest,
)

BASE = make_tar({"etc/": b"", "etc/os-release": b"ID=small\n" * 1000})
APP = make_tar({"app/": b"", "app/data": noise(700_000)})


@pytest.fixture
def registry(tmp_path: Path, ledger: LedgerWatch) -> Iterator[Registry]:
    """Give an empty registry."""
    with run_registry(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
def place(engine: ck.Engine) -> Iterator[Place]:
    """Give an empty store and a client."""
    with open_client() as client:
        yield Place(store=engine.site.images, client=client)


def stored(place: Place, image: SmallImage, name: str | None = None) -> Entry:
    """Put an image into the store, not unpacked."""
    for data in (*image.blobs.values(), *(data for data, _ in image.documents)):
        place.store.layout.put(data)
    descriptor = Descriptor(media_type=image.media_type, digest=Digest(image.digest), size=len(image.data))
    with place.store.layout.edit() as edit:
        return edit.set(name, descriptor)


def send(
    place: Place,
    entry: Entry,
    registry: Registry,
    name: str = "box:1",
    *,
    compression: Compression = "zstd",
    chunk_bytes: int | None = None,
) -> Digest:
    """Push an image."""
    reference = place.reference(registry.reference(name))
    return push(place.store, place.client, entry, reference, compression=compression, chunk_bytes=chunk_bytes)


def asked_by(registry: Registry, count: int, before: int) -> list[str]:
    """Return the requests after the first `before`, when there are `count` of them."""
    return registry.wait_for_requests(before + count)[before:]


# ── what is there afterwards ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_pushed_image_is_byte_for_byte_the_same(
    registry: Registry, place: Place, compression: str, docker: bool
) -> None:
    """Documents go out as they are, in the format in which they came."""
    image = make_image(BASE, APP, compression=compression, docker=docker)
    entry = stored(place, image)

    digest = send(place, entry, registry)

    assert image.digest == digest
    assert (image.data, image.media_type) == read_manifest(registry.authority, "box", "1")
    assert list(image.blobs.values()) == [read_blob(registry.authority, "box", blob) for blob in image.blobs]


@pytest.mark.parametrize("chunk_bytes", [7_000, 100_000, 10_000_000])
def test_a_blob_goes_in_chunks_on_request(registry: Registry, place: Place, chunk_bytes: int) -> None:
    """What arrives is the same."""
    image = make_image(make_tar({"x": noise(300_000)}))

    send(place, stored(place, image), registry, chunk_bytes=chunk_bytes)

    assert list(image.blobs.values()) == [read_blob(registry.authority, "box", blob) for blob in image.blobs]


@pytest.mark.parametrize("docker", [False, True])
def test_an_index_goes_with_all_its_images(registry: Registry, place: Place, docker: bool) -> None:
    """Children first: the registry refuses an index of what it does not have."""
    index = make_index(
        make_image(BASE, docker=docker),
        make_image(APP, docker=docker, architecture=FOREIGN_ARCHITECTURE),
        docker=docker,
    )

    digest = send(place, stored(place, index), registry)

    assert index.digest == digest
    assert (index.data, index.media_type) == read_manifest(registry.authority, "box", "1")
    assert list(index.blobs.values()) == [read_blob(registry.authority, "box", blob) for blob in index.blobs]


def test_an_index_of_which_a_part_is_missing_is_refused(registry: Registry, place: Place) -> None:
    """Nothing is sent."""
    ours, foreign = make_image(BASE), make_image(APP, architecture=FOREIGN_ARCHITECTURE)
    entry = stored(place, make_index(ours, foreign))
    Path(place.store.layout.blob_path(Digest(foreign.digest))).unlink()

    with pytest.raises(ImageError, match=FOREIGN_ARCHITECTURE):
        send(place, entry, registry)

    assert [] == registry.requests()


# ── what is not sent ─────────────────────────────────────────────────────────────────────────────


def test_what_the_repository_has_is_not_sent(registry: Registry, place: Place) -> None:
    """A second push asks for each blob, and sends the manifest."""
    image = make_image(BASE, APP)
    entry = stored(place, image)
    send(place, entry, registry)
    before = registry.count_requests()

    send(place, entry, registry, "box:2")

    heads = sorted(f"HEAD /v2/box/blobs/{blob} 200" for blob in image.blobs)
    assert [*heads, "PUT /v2/box/manifests/2 201"] == sorted(asked_by(registry, 4, before))


def test_what_another_repository_has_is_mounted(registry: Registry, place: Place) -> None:
    """We pulled the image from there, so the registry has its blobs; none is sent again."""
    image = make_image(BASE, APP)
    publish(image, registry.authority, "upstream/box", "1")
    entry = pull(place.store, place.client, place.reference(registry.reference("upstream/box:1")))
    before = registry.count_requests()

    send(place, entry, registry, "mine:1")

    asked = asked_by(registry, 7, before)
    mounted = [line for line in asked if line.startswith("POST")]
    assert 3 == len(mounted)
    assert all("mount=sha256:" in line and line.endswith(" 201") for line in mounted)
    assert "PUT /v2/mine/manifests/1 201" == asked[-1]
    assert 7 == len(asked)


def test_a_mount_that_does_not_work_is_an_upload(registry: Registry, place: Place) -> None:
    """The name says that the blob is there, and it is not."""
    image = make_image(BASE)
    entry = stored(place, image, f"{registry.authority}/elsewhere:1")

    send(place, entry, registry, "mine:1")

    assert (image.data, image.media_type) == read_manifest(registry.authority, "mine", "1")


# ── compression ──────────────────────────────────────────────────────────────────────────────────


COMPRESSED = {
    ("zstd", False): f"{LAYER}+zstd",
    ("gzip", False): f"{LAYER}+gzip",
    ("zstd", True): f"{DOCKER_LAYER}.gzip",
    ("gzip", True): f"{DOCKER_LAYER}.gzip",
}


@pytest.mark.parametrize(("compression", "docker"), COMPRESSED)
def test_uncompressed_layers_are_compressed_for_the_push(
    registry: Registry, place: Place, compression: Compression, docker: bool
) -> None:
    """The manifest changes accordingly and in nothing else; the config does not, for the layers are the same."""
    image = make_image(BASE, APP, compression="none", docker=docker, manifest={"x-field": ["kept"]})
    entry = stored(place, image)

    digest = send(place, entry, registry, compression=compression)

    data, _ = read_manifest(registry.authority, "box", "1")
    document = json.loads(data)
    assert digest_of(data) == digest != image.digest
    assert ["kept"] == document["x-field"]
    assert image.config == document["config"]["digest"]
    assert [COMPRESSED[compression, docker]] * 2 == [layer["mediaType"] for layer in document["layers"]]
    assert [] == place.partials()
    other = pull(place.store, place.client, place.reference(registry.reference("box:1")))
    assert digest == other.descriptor.digest
    assert b"ID=small\n" * 1000 == place.file(digest_of(BASE), "etc/os-release")


def test_an_index_of_uncompressed_images_refers_to_the_compressed_ones(registry: Registry, place: Place) -> None:
    """What changed below changes what refers to it."""
    index = make_index(
        make_image(BASE, compression="none"),
        make_image(BASE, APP, compression="none", architecture=FOREIGN_ARCHITECTURE),
    )

    digest = send(place, stored(place, index), registry)

    reference = place.reference(registry.reference("box:1"))
    entry = pull(place.store, place.client, reference, all_platforms=True)
    assert digest == entry.descriptor.digest != index.digest
    documents = [place.store.layout.document(one) for one in place.store.layout.document(entry.descriptor).manifests]  # type: ignore[union-attr]
    assert 2 == len(documents)


def test_the_same_push_twice_gives_the_same_digest(registry: Registry, place: Place) -> None:
    """Compressing is deterministic, so the second time the registry has everything."""
    entry = stored(place, make_image(BASE, APP, compression="none"))

    first, second = send(place, entry, registry), send(place, entry, registry)

    assert first == second


def test_a_damaged_uncompressed_layer_is_not_pushed(registry: Registry, place: Place) -> None:
    """Nobody would notice otherwise: the compressed one has a digest of its own."""
    image = make_image(BASE, compression="none")
    entry = stored(place, image)
    path = Path(place.store.layout.blob_path(Digest(image.layers[0])))
    path.chmod(0o600)
    path.write_bytes(BASE.replace(b"ID=small", b"ID=smell"))

    with pytest.raises(ImageError):
        send(place, entry, registry)

    assert [] == [line for line in registry.requests() if line.startswith("PUT") and "manifests" in line]


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def test_a_digest_without_a_tag_pushes_without_a_name(registry: Registry, place: Place) -> None:
    """The image is there under its digest only; another image's digest is refused."""
    image, other = make_image(BASE), make_image(APP)

    send(place, stored(place, image), registry, f"box@{image.digest}")
    with pytest.raises(InvalidReferenceError):
        send(place, stored(place, other), registry, f"box@{image.digest}")

    assert image.data == read_manifest(registry.authority, "box", image.digest)[0]
    assert not [line for line in registry.requests() if "manifests" in line and f"manifests/{image.digest}" not in line]


def test_progress_ends_with_done(registry: Registry, place: Place) -> None:
    """Each blob is told to its end."""
    image = make_image(BASE, APP)
    told: list[Progress] = []
    reference = place.reference(registry.reference("box:1"))

    push(place.store, place.client, stored(place, image), reference, progress=told.append)

    assert "done" == told[-1].action
    finished = {event.subject: event.current for event in told if event.action == "upload" and event.finished}
    assert {digest.partition(":")[2][:12]: len(data) for digest, data in image.blobs.items()} == finished


# ── others ───────────────────────────────────────────────────────────────────────────────────────


def run(*command: str) -> str:
    """Run another tool."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.needs_tools("skopeo")
@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_skopeo_reads_what_we_push(registry: Registry, place: Place, tmp_path: Path, compression: Compression) -> None:
    """It copies the image, verifying every digest, and finds the same layers."""
    image = make_image(BASE, APP, compression="none")
    digest = send(place, stored(place, image), registry, compression=compression)

    source = f"docker://{registry.reference('box:1')}"
    run("skopeo", "copy", "--src-tls-verify=false", source, f"oci:{tmp_path}/copy:1")
    found = json.loads(run("skopeo", "inspect", "--tls-verify=false", source))

    assert digest == found["Digest"]
    assert 2 == len(found["Layers"])


@pytest.mark.needs_root  # rootless, it makes a process that stays
@pytest.mark.needs_tools("podman")
@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_podman_reads_what_we_push(
    registry: Registry, place: Place, tmp_path: Path, compression: Compression, docker: bool
) -> None:
    """It pulls and unpacks the image."""
    image = make_image(BASE, APP, compression="none", docker=docker)
    send(place, stored(place, image), registry, compression=compression)
    storage = ["--root", f"{tmp_path}/podman", "--runroot", f"{tmp_path}/podman-run", "--storage-driver", "vfs"]

    run("podman", *storage, "pull", "--quiet", "--tls-verify=false", registry.reference("box:1"))

    layers = json.loads(run("podman", *storage, "image", "inspect", registry.reference("box:1")))[0]["RootFS"]["Layers"]
    assert [digest_of(BASE), digest_of(APP)] == layers


@pytest.mark.needs_tools("skopeo")
def test_we_pull_what_skopeo_pushes(registry: Registry, place: Place, tmp_path: Path) -> None:
    """From an archive in Docker's format, which skopeo compresses on its way."""
    archive = tmp_path / "image.tar"
    image = make_image(BASE, APP, compression="none", docker=True)
    write_docker_archive(archive, image)
    target = f"docker://{registry.reference('theirs:1')}"

    run("skopeo", "copy", "--dest-tls-verify=false", f"docker-archive:{archive}", target)
    pull(place.store, place.client, place.reference(registry.reference("theirs:1")))

    assert noise(700_000) == place.file(digest_of(APP), "app/data")


def write_docker_archive(path: Path, image: SmallImage) -> None:
    """Write what `docker save` writes."""
    names = {digest: digest.partition(":")[2] for digest in image.blobs}
    manifest = [
        {
            "Config": f"{names[image.config]}.json",
            "RepoTags": ["theirs:1"],
            "Layers": [f"{names[layer]}.tar" for layer in image.layers],
        }
    ]
    files = {f"{names[layer]}.tar": image.blobs[layer] for layer in image.layers}
    files[f"{names[image.config]}.json"] = image.blobs[image.config]
    files["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
