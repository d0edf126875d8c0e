"""Terminals: a pty of the container's own devpts, controlling, with a size that can be changed (pty(7), devpts.rst)."""

from __future__ import annotations

import os

import container_kit as ck
from container_kit import wait


def test_a_terminal_is_the_containers_own_and_controlling(engine: ck.Engine, image: ck.Image) -> None:
    """The first of its own devpts, of the size that was asked for."""
    box = ck.start(image, ["payload", "tty"], tty=True, tty_size=(33, 111), detach=True, engine=engine)
    box.wait(timeout=20)

    assert ["/dev/pts/0 33 111 controlling"] == [line.text.strip() for line in box.logs()]


def test_a_change_of_size_is_signalled(engine: ck.Engine, image: ck.Image) -> None:
    """SIGWINCH arrives, and the new size is there by then."""
    box = ck.start(
        image, ["payload", "winch", "1"], tty=True, detach=True, wait=wait.log("ready").within(20), engine=engine
    )

    box.resize(50, 120)
    box.wait(timeout=20)

    assert ["ready", "50 120"] == [line.text.strip() for line in box.logs()]


def test_an_exec_has_a_terminal_of_its_own(box: ck.Container) -> None:
    """Beside a container that has none."""
    with box.spawn(["payload", "tty"], tty=True, tty_size=(10, 20)) as process:
        output, _ = process.communicate(timeout=20)

    assert b"/dev/pts/0 10 20 controlling" == output.strip()


def test_without_a_terminal_there_is_none(box: ck.Container) -> None:
    """Neither inherited from the caller nor to be opened."""
    plain = box.exec(["payload", "tty"], text=True)
    controlling = box.exec(["payload", "open", "r", "/dev/tty"], text=True)

    assert "not a tty\n" == plain.stdout
    assert "ENXIO\n" == controlling.stdout


def test_a_containers_terminals_are_not_the_hosts(engine: ck.Engine, image: ck.Image) -> None:
    """Its devpts is another instance: the same number names another device."""
    with ck.start(image, ["payload", "trap", "HUP"], tty=True, engine=engine) as box:
        inside = box.exec(["payload", "ls", "/dev/pts"], text=True).stdout.split()

    assert ["0", "ptmx"] == inside
    assert os.path.exists("/dev/pts")
