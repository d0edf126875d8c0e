"""Rules about devices → programs, executed by hand and compared with what the rules mean."""

from __future__ import annotations

import itertools
import struct

import pytest

from container_kit._plan.device_filter import DEFAULT_RULES, DeviceRule, compile_device_filter, device_filter_of
from container_kit._spec.devices import Device
from container_kit._spec.paths import ContainerPath, HostPath
from tests.device_programs import execute, is_allowed

REQUESTS = ("m", "r", "w", "rw", "rm", "wm", "rwm")
MAJORS, MINORS = (0, 1, 4, 5, 7, 10, 60, 136, 137, 4095), (0, 1, 2, 3, 5, 7, 8, 9, 200, 229, 1048575)
FUSE = Device(source=HostPath("/dev/fuse"), target=ContainerPath("/dev/fuse"), access="rw", major=10, minor=229)
RULES = {
    "none": (),
    "default": DEFAULT_RULES,
    "one device more": (*DEFAULT_RULES, DeviceRule("c", 10, 229, "rw")),
    "a block device to be read": (DeviceRule("b", 7, 0, "r"),),
    "every block device": (DeviceRule("b", None, None, "rwm"), DeviceRule("c", 1, 3, "r")),
    "a major number": (DeviceRule("c", 4, None, "rw"), DeviceRule("c", None, 2, "w")),
    "in two parts": (DeviceRule("c", 10, 229, "r"), DeviceRule("c", 10, 229, "w")),
    "a major number and all of one minor": (
        DeviceRule("c", 4, None, "rwm"),
        DeviceRule("c", 4, 2, "r"),
        DeviceRule("c", None, 2, "w"),
    ),
    "everything": (DeviceRule("c", None, None, "rwm"), DeviceRule("b", None, None, "rwm"), *DEFAULT_RULES),
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_a_program_allows_exactly_what_its_rules_do(rules: tuple[DeviceRule, ...]) -> None:
    """For every kind, number and access of interest; what is asked at once is allowed at once or not at all."""
    program = compile_device_filter(rules)

    requests = list(itertools.product("bc", MAJORS, MINORS, REQUESTS))
    answers = [execute(program, *request) for request in requests]

    assert [int(is_allowed(rules, *request)) for request in requests] == answers


def test_by_default_the_harmless_devices_can_be_opened_and_nothing_else() -> None:
    """Nodes may be made of anything: whoever opens them meets the filter again."""
    program = compile_device_filter(DEFAULT_RULES)

    opened = {
        (kind, major, minor)
        for kind, major, minor in itertools.product("bc", range(256), range(12))
        if execute(program, kind, major, minor, "r")
    }

    terminals = {("c", 136, minor) for minor in range(12)}
    assert {("c", 1, minor) for minor in (3, 5, 7, 8, 9)} | {("c", 5, 0), ("c", 5, 2)} | terminals == opened
    assert 1 == execute(program, "b", 8, 0, "m")


def test_a_container_gets_the_default_rules_and_one_for_each_device() -> None:
    """With its number and its access."""
    program = device_filter_of((FUSE,))

    assert compile_device_filter(RULES["one device more"]) == program
    assert compile_device_filter(DEFAULT_RULES) == device_filter_of(())
    assert 0 == len(program) % struct.calcsize("=BBhi")
