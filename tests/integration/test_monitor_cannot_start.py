"""A monitor whose program cannot be executed: found out after the row is written, and undone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._linux import shim

TRUE = ["payload", "true"]


@pytest.fixture
def image(payload_rootfs: Path) -> ck.Image:
    """Give the image with the payload program."""
    return ck.Image.from_directory(payload_rootfs)


@pytest.fixture
def no_monitor(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> Iterator[None]:
    """Put something that is no program in the monitor's place, once the host was asked what it can do."""
    assert 0 == ck.run(image, TRUE, engine=engine).returncode
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"no program")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shim, "MONITOR_PROGRAM", garbage)
        patch.setattr(shim, "_programs", {})

        yield

        for program in shim._programs.values():
            os.close(program.fd)


ATTEMPTS: dict[str, Callable[[ck.Image, ck.Engine], object]] = {
    "run": lambda image, engine: ck.run(image, TRUE, engine=engine),
    "start": lambda image, engine: ck.start(image, TRUE, engine=engine),
    "detached": lambda image, engine: ck.start(image, TRUE, detach=True, engine=engine),
    "created": lambda image, engine: ck.Container.create(image, TRUE, detach=True, engine=engine).start(),
}


@pytest.mark.usefixtures("no_monitor")
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_monitor_that_cannot_be_executed_is_an_error_of_the_host(
    engine: ck.Engine, image: ck.Image, attempt: str
) -> None:
    """What execve(2) says is told; only what was created before is there afterwards, and can be removed."""
    with pytest.raises(ck.errors.HostError) as caught:
        ATTEMPTS[attempt](image, engine)

    assert errno.ENOEXEC == caught.value.errno
    left = ck.Container.list(all=True, engine=engine)
    assert ["created"] * (attempt == "created") == [str(container.status) for container in left]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
