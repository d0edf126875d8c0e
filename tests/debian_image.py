#!/usr/bin/env python3
"""debian_image.py DIRECTORY: builds a real image of three layers, as an OCI layout: Debian, Python, an application.

Written without container_kit, so that it can be held against it. The layout has the tags `gzip` and `zstd`, the same
image in both compressions. About 290 MB and 19 000 entries unpacked; takes a minute and a Debian mirror. Does
nothing when it is there already. Needs root, and mmdebstrap, pigz and zstd.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

SUITE = "bookworm"
VERSION = "2"  # of what is built here: another one is built anew
PYTHON = "--include=python3,python3-pip"
COMPRESSORS = {"gzip": ["pigz", "-6", "-n", "-c"], "zstd": ["zstd", "-q", "-3", "-c"]}
MEDIA_TYPES = {
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def build(directory: Path) -> None:
    """Make the layout complete, then visible."""
    if (directory / "version").is_file() and (directory / "version").read_text(encoding="ascii") == VERSION:
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as name:
        place = Path(name)
        layers = make_layers(place)
        layout = place / "layout"
        write_layout(layout, layers)
        (layout / "version").write_text(VERSION, encoding="ascii")
        for path in (layout, *layout.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        layout.rename(directory)


def make_layers(place: Path) -> list[Path]:
    """Make the three layers as plain tar archives."""
    base, full = place / "base.tar", place / "full.tar"
    for target, options in ((base, []), (full, [PYTHON])):
        command = ["mmdebstrap", "--quiet", "--variant=minbase", *options, SUITE, str(target)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    python, application = place / "python.tar", place / "application.tar"
    write_difference(base, full, python)
    write_application(application)
    return [base, python, application]


def write_difference(lower: Path, upper: Path, target: Path) -> None:
    """Write those entries of one archive that another does not have like this."""
    with tarfile.open(lower) as archive:
        known = {_identity(member) for member in archive}
    with tarfile.open(upper) as archive, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as difference:
        for member in archive:
            if _identity(member) not in known or member.isdir():
                difference.addfile(member, archive.extractfile(member) if member.isreg() else None)


def _identity(member: tarfile.TarInfo) -> tuple[object, ...]:
    return member.name, member.type, member.size, member.mode, member.linkname, int(member.mtime)


def write_application(target: Path) -> None:
    """Write thousands of small files: the Python sources that this interpreter has at hand."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(sysconfig.get_path("purelib"), arcname="app/packages", filter=_tidy)


def _tidy(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if not member.isdir() and not member.name.endswith(".py"):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def write_layout(layout: Path, layers: list[Path]) -> None:
    """Write both images."""
    (layout / "blobs" / "sha256").mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', encoding="ascii")
    diff_ids = [f"sha256:{_hash(layer)}" for layer in layers]
    config = {
        "architecture": ARCHITECTURES[os.uname().machine],
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["python3"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": name} for name in ("mmdebstrap", "python3", "application")],
    }
    config_descriptor = _put(layout, json.dumps(config).encode(), CONFIG)
    manifests: list[dict[str, object]] = []
    for compression, command in COMPRESSORS.items():
        blobs = [_compress(layout, layer, command, MEDIA_TYPES[compression]) for layer in layers]
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config_descriptor, "layers": blobs}
        descriptor = _put(layout, json.dumps(document).encode(), MANIFEST)
        manifests.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": compression}})
    index = {"schemaVersion": 2, "manifests": manifests}
    (layout / "index.json").write_text(json.dumps(index), encoding="ascii")


def _compress(layout: Path, layer: Path, command: list[str], media_type: str) -> dict[str, object]:
    temporary = layout / "blob"
    with temporary.open("wb") as out, layer.open("rb") as source:
        subprocess.run(command, stdin=source, stdout=out, check=True)
    digest = _hash(temporary)
    size = temporary.stat().st_size
    temporary.rename(layout / "blobs" / "sha256" / digest)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _put(layout: Path, data: bytes, media_type: str) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    build(Path(sys.argv[1]))
