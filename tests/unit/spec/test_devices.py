"""Devices that a container may use, as callers write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from container_kit._spec.devices import Device, is_cdi_name, parse_device
from container_kit.errors import ContainerKitError


@pytest.mark.parametrize(
    ("text", "source", "target", "access"),
    [
        ("/dev/fuse", "/dev/fuse", "/dev/fuse", "rwm"),
        ("/dev/fuse:rw", "/dev/fuse", "/dev/fuse", "rw"),
        ("/dev/sda:/dev/xvda", "/dev/sda", "/dev/xvda", "rwm"),
        ("/dev/sda:/dev/xvda:r", "/dev/sda", "/dev/xvda", "r"),
    ],
)
def test_dockers_forms_are_read(text: str, source: str, target: str, access: str) -> None:
    """One, two or three parts."""
    assert parse_device(text) == Device(source=source, target=target, access=access)


@pytest.mark.parametrize(
    "text", ["", "fuse", "/dev/fuse:x", "/dev/fuse:rr", "/dev/a:/dev/b:rw:c", "/dev/a:/etc/b", "/dev/a:", "/dev/a\0"]
)
def test_other_forms_are_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ContainerKitError):
        parse_device(text)


def test_target_cannot_leave_dev() -> None:
    """Neither as text nor as a value."""
    with pytest.raises(ContainerKitError):
        Device(source="/dev/fuse", target="/dev/../etc/passwd")


def test_names_of_cdi_are_told_from_paths() -> None:
    """`vendor/class=name`, as the Container Device Interface has it."""
    assert is_cdi_name("nvidia.com/gpu=all")
    assert is_cdi_name("vendor.com/net=0:1.2")
    assert not is_cdi_name("/dev/fuse:rw")
    assert not is_cdi_name("nvidia.com/gpu")


def test_a_device_is_a_value() -> None:
    """Its target is its source unless given; what the host says about it is filled in later."""
    assert Device(source="/dev/fuse", target="/dev/fuse") == Device(source=Path("/dev/fuse"))
