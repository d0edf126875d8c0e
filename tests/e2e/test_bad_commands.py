"""Story: a command that cannot be executed in the container is an error of its own kind, with a shell's exit code."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Literal, TypeAlias

import pytest

import container_kit as ck
from container_kit import errors

Way: TypeAlias = Literal["run", "start", "exec"]
WAYS: tuple[Way, ...] = ("run", "start", "exec")

# ELF header (elf(5)) of a 64-bit little-endian executable for RISC-V.
EM_RISCV = 243
FOREIGN = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + EM_RISCV.to_bytes(2, "little") + bytes(100)


def attempt(engine: ck.Engine, image: ck.Image, command: list[str], way: Way, working_dir: str | None = None) -> None:
    """Execute a command in one of the three ways."""
    if way == "run":
        ck.run(image, command, engine=engine, working_dir=working_dir)
    elif way == "start":
        ck.start(image, command, engine=engine, working_dir=working_dir)
    else:
        with ck.start(image, ["payload", "sleep", "1000"], engine=engine) as box:
            box.exec(command, working_dir=working_dir)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("command", ["no-such-command", "/bin/no-such-command", "/bin/payload/below"])
def test_a_command_that_is_not_there_is_not_found(engine: ck.Engine, image: ck.Image, command: str, way: Way) -> None:
    """127 as in shells; the error says where it was looked for."""
    with pytest.raises(FileNotFoundError) as caught:
        attempt(engine, image, [command], way)

    assert isinstance(caught.value, errors.CommandNotFoundError)
    assert (command, 127) == (caught.value.command, caught.value.exit_code)
    assert all(path.endswith(command) for path in caught.value.searched)
    assert caught.value.searched
    assert "PATH" in (caught.value.hint or "")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("command", ["/etc/passwd", "/bin"], ids=["no execute bit", "a directory"])
def test_a_file_that_may_not_be_executed_is_not_executable(
    engine: ck.Engine, image: ck.Image, command: str, way: Way
) -> None:
    """126 as in shells; the hint says what to look at."""
    with pytest.raises(PermissionError) as caught:
        attempt(engine, image, [command], way)

    assert isinstance(caught.value, errors.CommandNotExecutableError)
    assert (command, 126, errno.EACCES) == (caught.value.command, caught.value.exit_code, caught.value.errno)
    assert "execute bit" in (caught.value.hint or "")


PROGRAMS = {
    "a missing interpreter": (b"#!/no/such/interpreter\n", errno.ENOENT, "interpreter"),
    "another architecture": (FOREIGN, errno.ENOEXEC, "architecture"),
    "neither program nor script": (b"hello\n", errno.ENOEXEC, "#! line"),
    "empty": (b"", errno.ENOEXEC, "#! line"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_program_that_cannot_work_here_says_why(engine: ck.Engine, own_rootfs: Path, kind: str, way: Way) -> None:
    """126, and a hint that tells the cases apart."""
    content, number, hint = PROGRAMS[kind]
    program = own_rootfs / "bin" / "broken"
    program.write_bytes(content)
    program.chmod(0o755)

    with pytest.raises(errors.CommandNotExecutableError) as caught:
        attempt(engine, ck.Image.from_directory(own_rootfs), ["broken"], way)

    assert (126, number) == (caught.value.exit_code, caught.value.errno)
    assert hint in (caught.value.hint or "")


def test_arguments_that_are_too_long_say_so(engine: ck.Engine, image: ck.Image) -> None:
    """One argument of more than 128 KiB is more than execve(2) takes."""
    with pytest.raises(errors.CommandNotExecutableError) as caught:
        ck.run(image, ["payload", "echo", "x" * 200_000], engine=engine)

    assert errno.E2BIG == caught.value.errno
    assert "too long" in (caught.value.hint or "")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", ["/file", "/file/below", "/loop", "/link-to-file"])
def test_a_working_directory_with_something_in_its_way_is_refused(
    engine: ck.Engine, own_rootfs: Path, path: str, way: Way
) -> None:
    """It is made if missing, but not in place of what is there."""
    (own_rootfs / "file").write_text("in the way")
    (own_rootfs / "loop").symlink_to("loop")
    (own_rootfs / "link-to-file").symlink_to("/file")

    with pytest.raises(errors.InvalidSpecError) as caught:
        attempt(engine, ck.Image.from_directory(own_rootfs), ["payload", "true"], way, path)

    assert ("working_dir", path) == (caught.value.field, caught.value.value)
    assert "a directory that the container's user may enter" in (caught.value.hint or "")
