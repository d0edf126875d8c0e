"""Story: a real image from a real registry, run, kept, and handed on to other tools."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.registries import PASSWORD, USER, Registry, htpasswd_section, run_registry

IMAGE = Path(__file__).parents[2] / "build" / "debian-image"  # made by tests/host/run.py
pytestmark = [pytest.mark.needs_overlay, pytest.mark.needs_tools("docker-registry", "skopeo", "umoci")]


def call(*command: str | Path) -> str:
    """Run a program that must succeed and return its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def registry(session_directory: Path) -> Iterator[Registry]:
    """Give a registry that has the real image as debian:gzip and debian:zstd, put there by skopeo."""
    assert IMAGE.is_dir(), "tests/debian_image.py build/debian-image makes the real image; as root, once"
    with run_registry(session_directory / "debian-registry") as registry:
        for tag in ("gzip", "zstd"):
            target = f"docker://{registry.reference(f'debian:{tag}')}"
            call("skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", f"oci:{IMAGE}:{tag}", target)
        yield registry


@pytest.fixture
def password_registry(tmp_path: Path) -> Iterator[Registry]:
    """Give a registry that wants USER and PASSWORD."""
    with run_registry(tmp_path / "registry", auth=htpasswd_section(tmp_path)) as registry:
        yield registry


@pytest.mark.parametrize("tag", ["gzip", "zstd"])
def test_a_name_is_all_it_takes(engine: ck.Engine, registry: Registry, tag: str) -> None:
    """From an empty root directory, with one call; Python in it works, so links and modes are right."""
    name = registry.reference(f"debian:{tag}")

    release = ck.run(name, ["cat", "/etc/os-release"], text=True, engine=engine)
    answer = ck.run(name, ["python3", "-c", "import ssl, sqlite3; print(6 * 7)"], text=True, engine=engine)

    assert 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"' in release.stdout
    assert "42\n" == answer.stdout, answer.stderr


def test_every_package_is_as_debian_made_it(engine: ck.Engine, registry: Registry) -> None:
    """dpkg's own check of every file: nothing is missing, nothing was changed."""
    done = ck.run(registry.reference("debian:zstd"), ["dpkg", "--verify"], text=True, timeout=120, engine=engine)

    # What mmdebstrap leaves out on purpose are its caches and lists, which no package owns.
    assert (0, "") == (done.returncode, done.stdout)


def test_both_compressions_share_their_layers(engine: ck.Engine, registry: Registry) -> None:
    """The same content twice takes its blobs twice and its unpacked layers once."""
    for tag in ("gzip", "zstd"):
        ck.Image.pull(registry.reference(f"debian:{tag}"), engine=engine)

    one, other = engine.df()

    assert 3 == len([path for path in Path(engine.site.home.layers).iterdir() if path.name.startswith("sha256-")])
    assert one.shared == other.shared > 200_000_000
    assert 0 < one.unique < 150_000_000


def test_an_unchanged_tag_is_one_request(engine: ck.Engine, registry: Registry) -> None:
    """A second pull asks what the tag means, and that is all."""
    name = registry.reference("debian:gzip")
    first = ck.Image.pull(name, engine=engine)
    before = registry.count_requests()

    second = ck.Image.pull(name, engine=engine)

    assert first == second
    assert ["HEAD /v2/debian/manifests/gzip 200"] == registry.wait_for_requests(before + 1)[before:]


def test_other_tools_read_the_store(engine: ck.Engine, registry: Registry, tmp_path: Path) -> None:
    """skopeo copies the image out of it, byte for byte, and umoci unpacks it."""
    name = registry.reference("debian:gzip")
    image = ck.Image.pull(name, engine=engine)
    layout = f"{engine.root}/images"

    shown = json.loads(call("skopeo", "inspect", f"oci:{layout}:{name}"))
    call("skopeo", "copy", "-q", "--preserve-digests", f"oci:{layout}:{name}", f"oci:{tmp_path}/out:copy")
    call("umoci", "unpack", "--rootless", "--image", f"{tmp_path}/out:copy", tmp_path / "bundle")

    assert image.id == shown["Digest"]
    assert (tmp_path / "bundle" / "rootfs" / "usr" / "bin" / "python3").exists()
    call("chmod", "-R", "u+rwX", tmp_path / "bundle")  # umoci gives the modes of the image


def test_what_skopeo_puts_into_the_store_can_be_run(engine: ck.Engine) -> None:
    """An image that another tool copied there is found by its name and unpacked when it is first used."""
    Path(engine.root, "images").mkdir(mode=0o700, exist_ok=True)
    call("skopeo", "copy", "-q", f"oci:{IMAGE}:gzip", f"oci:{engine.root}/images:debian:mine")

    found = [image.name for image in ck.Image.list(engine=engine)]
    done = ck.run("debian:mine", ["cat", "/etc/debian_version"], text=True, pull="never", engine=engine)

    assert ["debian:mine"] == found
    assert done.stdout.startswith("12.")


def test_credentials_are_kept_and_forgotten(engine: ck.Engine, tmp_path: Path, password_registry: Registry) -> None:
    """Wrong ones are refused and not kept; with the right ones a push works; after a logout nothing does."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("content")
    made = ck.Image.from_directory(tmp_path / "tree", "tree:1", engine=engine)
    target = password_registry.reference("tree:1")

    with pytest.raises(errors.AuthenticationError):
        made.push(target)
    with pytest.raises(errors.AuthenticationError):
        engine.login(password_registry.authority, username=USER, password="wrong")  # noqa: S106
    engine.login(password_registry.authority, username=USER, password=PASSWORD)
    pushed = made.push(target)

    assert pushed == ck.Image.pull(target, engine=engine).id
    assert engine.logout(password_registry.authority)
    with pytest.raises(errors.AuthenticationError):
        ck.Image.pull(target, engine=engine)
    assert not engine.logout(password_registry.authority)
