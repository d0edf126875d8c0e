"""A1: a container changes the program that runs it, through /proc/self/exe (CVE-2019-5736)."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._linux.shim import FILES_PROGRAM, MONITOR_PROGRAM
from tests.security.rigs import Rig, error_of, is_refusal

ALL_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def programs() -> dict[str, str]:
    """Return the hashes of what a container could want to change: interpreter, libraries, our programs."""
    shim = next(MONITOR_PROGRAM.parent.glob("_shim*.so"))
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libpython" in line}
    paths = [os.path.realpath(sys.executable), *mapped, str(shim), str(MONITOR_PROGRAM), str(FILES_PROGRAM)]
    return {path: hash_of(path) for path in paths}


def hash_of(path: str) -> str:
    """Return the hash of a file's content, and of which file it is."""
    return f"{os.stat(path).st_ino} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}"


def memfds() -> Iterator[str]:
    """Give the paths of the anonymous files that this process executes monitors from."""
    for name in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{name}"
        if os.path.lexists(path) and os.readlink(path).startswith("/memfd:ck-monitor"):
            yield path


COMMANDS: dict[str, Callable[[Path], object]] = {
    "a symlink": lambda path: path.symlink_to("/proc/self/exe"),
    "a symlink by pid": lambda path: path.symlink_to("/proc/1/exe"),
    "a script": lambda path: path.write_text("#!/proc/self/exe\n"),
    "a script with an argument": lambda path: path.write_text("#!/proc/self/exe /proc/self/exe\n"),
}


@pytest.mark.parametrize("way", ["run", "exec"])
@pytest.mark.parametrize("kind", COMMANDS)
def test_A1_a_command_that_is_the_runtime_itself_changes_no_program(
    rig: Rig, own_rootfs: Path, own_image: ck.Image, kind: str, way: str
) -> None:
    """Executed or refused: an intruder that reaches for its program meets a sealed copy, and no file of the host."""
    command = own_rootfs / "bin" / "evil"
    COMMANDS[kind](command)
    if not command.is_symlink():
        command.chmod(0o755)
    rig.run("true")
    before, sealed_before = programs(), [hash_of(path) for path in memfds()]

    with rig.start("steal-programs", image=own_image) as intruder:
        assert next(iter(intruder.logs(follow=True)), None) is not None
        for _ in range(5):
            provoke(rig, intruder, own_image, way)
        intruder.stop(timeout=20)
        attempts = [line.text for line in intruder.logs()][1:]

    assert not [line for line in attempts if "CHANGED" in line or "python" in line]
    assert before == programs()
    assert sealed_before == [hash_of(path) for path in memfds()]
    assert len(sealed_before) == 1


def provoke(rig: Rig, intruder: ck.Container, image: ck.Image, way: str) -> None:
    """Execute the command; that it cannot be, or ends in an error, is fine."""
    if way == "exec":
        error = error_of(lambda: intruder.exec(["/bin/evil"], timeout=20))
    else:
        error = error_of(lambda: ck.run(image, ["/bin/evil"], security=rig.security(), engine=rig.engine, timeout=20))
    assert is_refusal(error), error


def test_A1_monitors_are_executed_from_a_sealed_file(rig: Rig) -> None:
    """All four seals are on it, so nobody can write to it: not even its owner, this process."""
    rig.run("true")
    (path,) = memfds()

    with open(path, "rb") as file:
        seals = fcntl.fcntl(file.fileno(), fcntl.F_GET_SEALS)
    with pytest.raises(PermissionError), open(path, "r+b", buffering=0) as file:
        file.write(b"#!")  # its mode stops a user from opening it, its seals stop root here

    assert ALL_SEALS == seals & ALL_SEALS
