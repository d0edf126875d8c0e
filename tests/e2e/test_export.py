"""Story: a container's whole tree as a tar archive."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

import container_kit as ck
from tests.e2e.boxes import make, run


def contents(archive: Path) -> dict[str, tarfile.TarInfo]:
    """Return the entries of an archive by name."""
    with tarfile.open(archive) as tar:
        return {entry.name.strip("/"): entry for entry in tar}


@pytest.fixture
def mounts(tmp_path: Path) -> list[ck.Mount]:
    """Give mounts with a secret in each."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "secret").write_text("secret")
    (tmp_path / "token").write_text("secret")
    return [
        ck.Mount.bind(tmp_path / "volume", "/volume"),
        ck.Mount.bind(tmp_path / "token", "/etc/token"),
        ck.Mount.tmpfs("/scratch"),
    ]


@pytest.mark.parametrize("state", ["created", "running", "exited"])
def test_the_tree_is_written_without_what_is_mounted_in_it(
    engine: ck.Engine, image: ck.Image, mounts: list[ck.Mount], tmp_path: Path, state: str
) -> None:
    """B12: no volume, no tmpfs, no /proc; the image's own /etc/hosts, not the generated one."""
    box = make(engine, image, mounts=mounts)
    if state != "created":
        box.start()
        box.path("/scratch/secret").write_text("secret")
    box.path("/etc/own").write_text("own")
    if state == "exited":
        box.stop(timeout=0)

    box.export(tmp_path / "tree.tar")

    found = contents(tmp_path / "tree.tar")
    assert {"bin/payload", "etc/own", "etc/os-release", "proc", "dev", "sys"} <= found.keys()
    assert not [name for name in found if "secret" in name or name.startswith(("proc/", "sys/", "dev/"))]
    assert 0 == found["etc/hosts"].size
    assert 3 == found["etc/own"].size
    assert 0 == sum(found[name].size for name in ("etc/token", "etc/resolv.conf", "etc/hostname") if name in found)


def test_it_can_be_written_to_a_file_object(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """The same bytes as into a path; the same tree gives the same archive."""
    box = make(engine, image)
    stream = io.BytesIO()

    box.export(tmp_path / "tree.tar")
    box.export(stream)

    assert (tmp_path / "tree.tar").read_bytes() == stream.getvalue()


def test_it_becomes_an_image_again(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """Whoever unpacks it, with GNU tar here, has a root file system that runs."""
    box = run(engine, image)
    box.path("/etc/own").write_text("own")
    box.export(tmp_path / "tree.tar")
    root = tmp_path / "root"
    root.mkdir()

    subprocess.run(["tar", "-xf", tmp_path / "tree.tar", "-C", root], check=True)

    completed = ck.run(ck.Image.from_directory(root), ["payload", "cat", "/etc/own"], engine=engine)
    assert b"own" == completed.stdout


def test_a_target_that_cannot_be_written_leaves_nothing(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """Neither a half-written file nor a process."""
    box = make(engine, image)

    with pytest.raises(ck.ContainerKitError):
        box.export(tmp_path / "missing" / "tree.tar")

    class Full(io.BytesIO):
        def write(self, data: object, /) -> int:
            raise OSError(28, f"No space left on device for {data!r:.10}")

    with pytest.raises(OSError, match="No space left"):
        box.export(Full())
    assert not (tmp_path / "missing").exists()
