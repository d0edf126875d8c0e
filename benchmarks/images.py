"""The image rows: pulling, unpacking, saving and loading one realistic image, against its peers on the same bytes.

The image is Debian, Python on it and an application: three layers, about 290 MB and 19 000 entries unpacked (see
tests/debian_image.py). All contenders fetch it from the same registry on loopback and unpack onto the same fresh file
system; each starts from nothing. The floor is GNU tar writing the layers from plain archives, side by side: what the
kernel charges for the files, with nothing to fetch, to inflate or to hash.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs

from benchmarks.lab import CHECKOUT, Lab, call
from benchmarks.table import Result, summarise

IMAGE = CHECKOUT / "build" / "debian-image"
REPOSITORY = "bench/debian"
PATIENCE = 20.0
T = TypeVar("T")
DECOMPRESSORS = {"gzip": "pigz -dc", "zstd": "zstd -q -dc"}


def shell(script: str) -> float:
    """Return the seconds a shell script takes."""
    began = time.perf_counter()
    call("bash", "-euc", script)
    return time.perf_counter() - began


@attrs.define(kw_only=True)
class ImageMatch:
    """The contenders of the image rows."""

    lab: Lab
    turns: int
    place: Path
    registry: str
    podman: bool
    docker: bool

    @classmethod
    def prepare(cls, stack: ExitStack, lab: Lab, *, turns: int, with_peers: bool) -> ImageMatch:
        """Build the image if it is missing, start the registry and fill it."""
        call(CHECKOUT / "tests" / "debian_image.py", IMAGE)
        place = lab.place / "fs" / "images"
        place.mkdir()
        registry = stack.enter_context(_registry(place))
        for tag in DECOMPRESSORS:
            call(
                "skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false",
                f"oci:{IMAGE}:{tag}", f"docker://{registry}/{REPOSITORY}:{tag}",
            )  # fmt: skip
        for number, blob in enumerate(_layers("gzip")):
            shell(f"pigz -dc {blob} > {place}/{number}.tar")
        podman = with_peers and shutil.which("podman") is not None
        docker = with_peers and stack.enter_context(_dockerd(place, registry))
        return cls(lab=lab, turns=turns, place=place, registry=registry, podman=podman, docker=docker)

    def rows(self) -> dict[str, Callable[[], Result]]:
        """Return how each row is measured."""
        return {
            "pull_gzip": lambda: self.pull("gzip"),
            "pull_zstd": lambda: self.pull("zstd"),
            "pull_gzip_fast": lambda: self.pull("gzip", inflater="isal"),
            "unpack_gzip": lambda: self.unpack("gzip"),
            "unpack_gzip_fast": lambda: self.unpack("gzip", inflater="isal"),
            "unpack_zstd": lambda: self.unpack("zstd"),
            "pull_unchanged": self.pull_unchanged,
            "pull_memory": self.pull_memory,
            "save": self.save,
            "load": self.load,
        }

    # ── rows ─────────────────────────────────────────────────────────────────────────────────────

    def pull(self, tag: str, inflater: str = "zlib") -> Result:
        """From an empty store to an image that can be run."""
        contenders: dict[str, Callable[[], float]] = {
            "ours": lambda: self._ours("pull", self._name(tag), inflater=inflater)["seconds"]
        }
        contenders["floor"] = self._floor
        if tag == "gzip":  # umoci knows no zstd
            contenders["skopeo+umoci"] = self._skopeo_umoci
        if self.podman:
            contenders["podman"] = lambda: self._podman_pull(tag)
        if self.docker and tag == "gzip":  # Docker 20.10 knows no zstd
            contenders["docker"] = lambda: self._docker_pull(tag)
        return self._compete(contenders)

    def unpack(self, tag: str, inflater: str = "zlib") -> Result:
        """Blobs that are here, to directories; GNU tar gets them from the fastest decompressor there is."""
        layers = [f"(mkdir {self.place}/x/{n}; {DECOMPRESSORS[tag]} {blob} | tar -C {self.place}/x/{n} -xf -)"
                  for n, blob in enumerate(_layers(tag))]  # fmt: skip

        def tar() -> float:
            self._clean("x")
            return shell(" & ".join(layers) + " & wait")

        return self._compete({"ours": lambda: self._unpack(tag, inflater), "floor": self._floor, "tar": tar})

    def pull_unchanged(self) -> Result:
        """Asking the registry whether a tag means what it meant."""
        self._clean("ours")
        values = [self._ours("pull_unchanged", self._name("gzip"), keep=True)["seconds"] * 1e3 for _ in range(5)]
        return Result(ours=statistics.median(values), detail={"ours_ms": summarise(values)})

    def pull_memory(self) -> Result:
        """The largest resident set of a process that pulls."""
        peaks = [max(self._ours("pull", self._name(tag))["peak_kib"]) / 1024 for tag in DECOMPRESSORS]
        return Result(ours=max(peaks), detail={"each_mib": peaks})

    def save(self) -> Result:
        """To an archive of Docker's format."""
        self._clean("ours")
        self._ours("pull", self._name("gzip"), keep=True)
        contenders: dict[str, Callable[[], float]] = {
            "ours": lambda: self._ours("save", self._name("gzip"), f"{self.place}/ours.tar", keep=True)["seconds"]
        }
        if self.podman:
            self._podman_pull("gzip")
            contenders["podman"] = self._podman_save
        return self._compete(contenders)

    def load(self) -> Result:
        """From the archive that podman saved (plain layers), unpacked; podman does the same with it."""
        if not self.podman:
            raise RuntimeError("podman is missing")
        archive = f"{self.place}/podman.tar"
        if not Path(archive).exists():
            self._podman_pull("gzip")
            self._podman_save()

        def podman() -> float:
            self._podman("rmi -af")
            return self._podman(f"load -q -i {archive}")

        return self._compete({"ours": lambda: self._ours("load", archive)["seconds"], "podman": podman})

    def parts(self) -> dict[str, float]:
        """Return what the parts of a pull take alone, one after another, in ms: where its time must go."""
        blobs = _layers("gzip")
        tars = [self.place / f"{number}.tar" for number in range(len(blobs))]
        source = f"http://{self.registry}/v2/{REPOSITORY}/blobs"
        return {
            "network": _milliseconds(_fetch, [f"{source}/sha256:{blob.name}" for blob in blobs]),
            "hash blobs": _milliseconds(_hash, blobs),
            "inflate (zlib)": _milliseconds(_inflate, blobs),
            "hash layers": _milliseconds(_hash, tars),
            "write (GNU tar, side by side)": self._floor() * 1e3,
        }

    # ── contenders ───────────────────────────────────────────────────────────────────────────────

    def _compete(self, contenders: dict[str, Callable[[], float]]) -> Result:
        samples: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(self.turns):
            for name, contender in contenders.items():
                os.sync()
                samples[name].append(contender())
        median = {name: statistics.median(values) for name, values in samples.items()}
        return Result(
            ours=median.pop("ours"),
            floor=median.pop("floor", None),
            peers=median,
            detail={f"{name}_s": summarise(values) for name, values in samples.items()},
        )

    def _name(self, tag: str) -> str:
        return f"{self.registry}/{REPOSITORY}:{tag}"

    def _clean(self, name: str) -> None:
        shutil.rmtree(self.place / name, ignore_errors=True)
        (self.place / name).mkdir()
        os.sync()

    def _ours(self, what: str, *arguments: str, keep: bool = False, inflater: str = "zlib") -> Any:
        if inflater == "isal" and importlib.util.find_spec("isal") is None:
            raise RuntimeError("isal is not installed (the extra `fast`)")
        if not keep:
            self._clean("ours")
        places = [f"{self.place}/ours/s", str(self.lab.place / "run" / "image")]
        command = [sys.executable, "-m", "benchmarks.image_ours", *places, inflater, what, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
        if done.returncode:
            raise RuntimeError(f"{what}: {done.stderr.strip()[-600:]}")
        return json.loads(done.stdout)

    def _unpack(self, tag: str, inflater: str) -> float:
        self._clean("ours")
        target = f"oci:{self.place}/ours/s/images:{self._name(tag)}"
        (self.place / "ours" / "s" / "images").mkdir(parents=True)
        (self.place / "ours" / "s").chmod(0o700)
        (self.place / "ours" / "s" / "images").chmod(0o700)
        call("skopeo", "copy", "-q", "--preserve-digests", f"oci:{IMAGE}:{tag}", target)
        os.sync()
        seconds: float = self._ours("unpack", self._name(tag), keep=True, inflater=inflater)["seconds"]
        return seconds

    def _floor(self) -> float:
        self._clean("x")
        layers = [f"(mkdir {self.place}/x/{n}; tar -C {self.place}/x/{n} -xf {self.place}/{n}.tar)" for n in range(3)]
        return shell(" & ".join(layers) + " & wait")

    def _skopeo_umoci(self) -> float:
        self._clean("umoci")
        place = f"{self.place}/umoci"
        source = f"docker://{self._name('gzip')}"
        copy = f"skopeo copy -q --src-tls-verify=false {source} oci:{place}/layout:x"
        return shell(f"{copy}; umoci unpack --image {place}/layout:x {place}/bundle")

    def _podman(self, command: str) -> float:
        place = f"--root {self.place}/podman --runroot {self.lab.place}/run/podman"
        return shell(f"podman {place} --storage-driver overlay {command}")

    def _podman_save(self) -> float:
        target = self.place / "podman.tar"
        target.unlink(missing_ok=True)
        return self._podman(f"save -q -o {target} {self._name('gzip')}")

    def _podman_pull(self, tag: str) -> float:
        self._podman("rmi -af")
        return self._podman(f"pull -q --tls-verify=false {self._name(tag)}")

    def _docker_pull(self, tag: str) -> float:
        docker = f"docker -H unix://{self.place}/docker.sock"
        shell(f"{docker} rmi -f {self._name(tag)} || true")
        os.sync()
        return shell(f"{docker} pull -q {self._name(tag)}")


# ── what they stand on ───────────────────────────────────────────────────────────────────────────


def _layers(tag: str) -> list[Path]:
    blobs = IMAGE / "blobs" / "sha256"
    index = json.loads((IMAGE / "index.json").read_text(encoding="utf-8"))
    names = {entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"] for entry in index["manifests"]}
    manifest = json.loads((blobs / names[tag].partition(":")[2]).read_text(encoding="utf-8"))
    return [blobs / layer["digest"].partition(":")[2] for layer in manifest["layers"]]


def _milliseconds(work: Callable[[T], None], inputs: Sequence[T]) -> float:
    began = time.perf_counter()
    for one in inputs:
        work(one)
    return (time.perf_counter() - began) * 1e3


def _fetch(url: str) -> None:
    with urllib.request.urlopen(url) as answer:  # noqa: S310  # our own registry
        while answer.read(1 << 20):
            continue


def _hash(path: Path) -> None:
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")


def _inflate(path: Path) -> None:
    inflater = zlib.decompressobj(31)
    with path.open("rb") as file:
        while chunk := file.read(1 << 18):
            inflater.decompress(chunk)


@contextmanager
def _registry(place: Path) -> Generator[str]:
    """Run Debian's docker-registry on a free port and give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = place / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {place}/registry}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n",
        encoding="ascii",
    )
    with _daemon(["docker-registry", "serve", str(config)]):
        _await(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), "docker-registry")
        yield f"127.0.0.1:{port}"


@contextmanager
def _dockerd(place: Path, registry: str) -> Generator[bool]:
    """Run a Docker daemon that touches neither the network nor the firewall; give whether it came up."""
    if shutil.which("dockerd") is None:
        yield False
        return
    command = [
        "dockerd", "--data-root", f"{place}/docker", "--exec-root", f"{place}/docker-exec",
        "--pidfile", f"{place}/docker.pid", "-H", f"unix://{place}/docker.sock", "--insecure-registry", registry,
        "--storage-driver", "overlay2", "--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false",
        "--exec-opt", "native.cgroupdriver=cgroupfs",
    ]  # fmt: skip
    with _daemon(command):
        try:
            _await(lambda: call("docker", "-H", f"unix://{place}/docker.sock", "info"), "dockerd")
        except RuntimeError as err:
            print(f"   docker is absent: {err}", file=sys.stderr)
            yield False
        else:
            yield True


@contextmanager
def _daemon(command: list[str]) -> Generator[None]:
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _await(attempt: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            attempt()
        except (OSError, RuntimeError) as err:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} did not come up: {err}") from err
            time.sleep(0.1)
        else:
            return
