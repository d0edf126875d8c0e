"""What `Image.host(include=…)` takes: directories, by whatever name, but those where a host keeps what is private."""

from __future__ import annotations

from pathlib import Path

import pytest

import container_kit as ck
from container_kit._images.host import choose_directories
from container_kit.errors import InvalidSpecError


@pytest.mark.parametrize("path", ["/etc", "/etc/", "//etc", "/etc/.", "/home/", "/", "//"])
def test_private_directories_are_refused_however_they_are_spelled(path: str) -> None:
    """A slash more does not show the host's /etc."""
    with pytest.raises(InvalidSpecError) as caught:
        ck.Image.host(include=[path])

    assert "include" == caught.value.field
    assert "private" in str(caught.value)


def test_a_link_to_a_private_directory_is_refused(tmp_path: Path) -> None:
    """What counts is what would be seen."""
    link = tmp_path / "settings"
    link.symlink_to("/etc")

    with pytest.raises(InvalidSpecError, match="private"):
        ck.Image.host(include=[link])


def test_the_way_up_is_refused(tmp_path: Path) -> None:
    """The path is one on the host and one in the container, and may lead elsewhere there."""
    with pytest.raises(InvalidSpecError, match=r"'\.\.'"):
        ck.Image.host(include=[f"{tmp_path}/.."])


def test_an_interpreter_does_not_bring_a_private_directory_along(tmp_path: Path) -> None:
    """A virtual environment made from /etc/bin/python3 would show all of /etc."""
    (tmp_path / "pyvenv.cfg").write_text("home = /etc/bin\n")

    with pytest.raises(InvalidSpecError, match="private"):
        ck.Image.host(include=[tmp_path])


def test_a_directory_below_has_one_name(tmp_path: Path) -> None:
    """As the kernel will show it; the same one twice is shown once."""
    assert (str(tmp_path),) == choose_directories([tmp_path, f"{tmp_path}/", f"/{tmp_path}/."])
