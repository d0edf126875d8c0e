"""The root file system that containers get in the tests: our payload program, busybox when there is one, some users."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

PAYLOAD_SOURCES = Path(__file__).parent / "payload"
COMPILED = Path(__file__).parents[1] / "build"
DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/lib", "var/tmp", "srv")
# What stands in for busybox: the payload answers to the names of its commands.
COMMANDS = ("true", "false", "echo", "cat", "id", "env", "pwd", "hostname", "sleep", "ls", "stat")

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
app:x:1000:1000:an application,,,:/home/app:/bin/sh
other:x:1001:100:a user in the group users:/home/other:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = """\
root:x:0:
daemon:x:1:
tty:x:5:
disk:x:6:app
audio:x:29:app,other
users:x:100:
app:x:1000:
extra:x:2000:app,root
nogroup:x:65534:
"""


def compile_payload(output: Path) -> None:
    """Compile tests/payload to a static program, or copy it: the guests see what the host has compiled."""
    sources = sorted(PAYLOAD_SOURCES.glob("*.c"))
    command = [os.environ.get("CC", "cc"), "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-static"]
    texts = [source.read_bytes() for source in (*sources, *sorted(PAYLOAD_SOURCES.glob("*.h")))]
    digest = hashlib.sha256(b"\0".join([" ".join(command).encode(), *texts])).hexdigest()
    kept = COMPILED / f"payload-{digest[:16]}"
    if not kept.exists():
        subprocess.run([*command, "-o", str(output), *map(str, sources)], check=True)
        _keep(output, kept)
    else:
        shutil.copy(kept, output)


def _keep(program: Path, kept: Path) -> None:
    partial = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        kept.parent.mkdir(exist_ok=True)
        shutil.copy(program, partial)
        partial.rename(kept)
    except OSError:
        pass  # somebody else's checkout, or it cannot be written to: then it is compiled each time


def make_rootfs(root: Path) -> None:
    """Fill an empty directory; everything in it is readable by all, as container users need."""
    root.chmod(0o755)
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    (root / "etc" / "passwd").write_text(PASSWD)
    (root / "etc" / "group").write_text(GROUP)
    (root / "etc" / "os-release").write_text('ID=payload\nNAME="container_kit test payload"\n')
    (root / "home" / "app").mkdir()
    if os.geteuid() == 0:
        os.chown(root / "home" / "app", 1000, 1000)
    compile_payload(root / "bin" / "payload")
    _link_commands(root / "bin")


def find_busybox() -> str | None:
    """Return the path of a static busybox, if one is installed."""
    path = shutil.which("busybox")
    if path is None:
        return None
    # A static program has no interpreter, so no loader's name in its first page.
    with open(path, "rb") as program:
        return None if b"/ld-linux" in program.read(4096) else path


def _link_commands(directory: Path) -> None:
    busybox = find_busybox()
    if busybox is None:
        for name in COMMANDS:
            (directory / name).symlink_to("payload")
        return
    shutil.copy(busybox, directory / "busybox")
    listing = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for name in listing.stdout.split():
        if name != "busybox":
            (directory / name).symlink_to("busybox")
