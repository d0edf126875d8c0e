"""A22: the host executes or loads what an image brings (CVE-2019-14271, CVE-2022-1227, CVE-2026-41567)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import wait
from tests.security.rigs import Rig

CHECKOUT = Path(__file__).parents[2]
PROGRAMS = (
    "xz", "gzip", "unpigz", "pigz", "zstd", "bzip2", "tar", "nsenter", "sh", "bash", "ps", "cat", "newuidmap",
    "newgidmap", "getent", "ldconfig", "mount", "umount", "python3", "docker-credential-trap", "ck-monitor", "ck-files",
)  # fmt: skip
LIBRARIES = ("libnss_files.so.2", "libnss_compat.so.2", "libc.so.6", "libpython3.11.so.1.0", "libcrypto.so.3")
# Writes a file of the host by its full name, so it does when it is executed outside and cannot inside.
TRAP = """
#include <fcntl.h>
#include <unistd.h>
int main(int argc, char **argv) {{
    (void)argc;
    int fd = open("{marker}", O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (fd >= 0)
        dprintf(fd, "%s\\n", argv[0]);
    return 0;
}}
"""
STORY = """
import sys
import container_kit as ck
from container_kit import wait
place, root = sys.argv[1:]
engine = ck.Engine(place + "/s2", runtime=place + "/r2")
image = ck.Image.from_directory(root, "trap:1", engine=engine)
check = ck.Healthcheck(["payload", "true"], interval=0.05)
sleep = ["payload", "sleep", "1000"]
with engine, ck.start(image, sleep, healthcheck=check, wait=wait.healthy().within(60), engine=engine) as box:
    box.exec(["payload", "id"], check=True)
    box.top()
    box.copy_in("/etc/hostname", "/tmp/")
    box.copy_out("/etc/passwd", place)
    box.path("/etc/motd").write_text("hello")
    box.export(place + "/export.tar")
    box.commit("trap:2")
    image.save(place + "/image.tar")
    ck.Image.load(place + "/image.tar", engine=engine)
    box.exec(["payload", "true"])
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Name the file that appears when a trap snaps; whoever executes it can make it."""
    place = tmp_path / "traps"
    place.mkdir()
    place.chmod(0o777)
    return place / "snapped"


@pytest.fixture
def trapped(own_rootfs: Path, marker: Path, tmp_path: Path) -> Path:
    """Give a root file system in which every program and library that a host might reach for is a trap."""
    program = tmp_path / "trap"
    source = TRAP.format(marker=marker)
    compiler = [os.environ.get("CC", "cc"), "-static", "-w", "-x", "c", "-include", "stdio.h", "-o", str(program), "-"]
    subprocess.run(compiler, input=source, text=True, check=True)
    for directory in ("bin", "usr/bin"):
        for name in PROGRAMS:
            (own_rootfs / directory / name).unlink(missing_ok=True)
            os.link(program, own_rootfs / directory / name)
    for directory in ("lib", "lib64", "usr/lib", "lib/x86_64-linux-gnu"):
        (own_rootfs / directory).mkdir(parents=True, exist_ok=True)
        for name in LIBRARIES:
            os.link(program, own_rootfs / directory / name)
    (own_rootfs / "etc" / "ld.so.preload").write_text("/usr/lib/libnss_files.so.2\n")
    (own_rootfs / "etc" / "nsswitch.conf").write_text("passwd: trap files\ngroup: trap files\n")
    assert 0 == subprocess.run([own_rootfs / "bin" / "xz"], check=False).returncode
    assert marker.exists()  # the trap works
    marker.unlink()
    return own_rootfs


def test_A22_nothing_of_an_image_is_executed_on_the_host(rig: Rig, trapped: Path, marker: Path, tmp_path: Path) -> None:
    """Neither by exec, health checks, top, cp, paths and export nor by commit and save."""
    image = ck.Image.from_directory(trapped)
    check = ck.Healthcheck(["payload", "true"], interval=0.05)

    with rig.start(image=image, healthcheck=check) as box:
        box.wait(timeout=20, condition=wait.healthy())
        box.exec(["payload", "id"], user="root", check=True)
        box.top()
        box.copy_in("/etc/hostname", "/tmp/")
        box.copy_out("/etc/passwd", tmp_path / "passwd")
        box.path("/etc/motd").write_text("hello")
        box.export(tmp_path / "export.tar")
        assert "snapped" not in box.exec(["sh", "-c", "true"], text=True).stdout

    assert not marker.exists(), marker.read_text()


@pytest.mark.needs_root
@pytest.mark.needs_tools("strace")
def test_A22_no_path_below_an_image_is_executed_or_loaded_outside_of_it(
    trapped: Path, marker: Path, tmp_path: Path
) -> None:
    """A trace of a program that works with such an image: what it executes are our programs and the command's."""
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-qq", "-s", "300", "-e", "trace=execve,execveat,openat,openat2,open", "-o", str(trace)]
    command = [*strace, sys.executable, "-c", STORY, str(tmp_path), str(trapped)]

    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)

    assert 0 == done.returncode, done.stderr
    assert not marker.exists(), marker.read_text()
    calls = [line for line in trace.read_text().splitlines() if " = -1 " not in line]
    executed = set(re.findall(r'execve(?:at)?\((?:\d+, )?"([^"]*)"', "\n".join(calls)))
    loaded = [line for line in calls if str(tmp_path) in line and re.search(r"\.so[.\"]|ld\.so|nsswitch", line)]
    assert {sys.executable, ""} == {path for path in executed if not path.endswith("bin/payload")}
    assert [] == loaded
