"""Ids, names, users and signals: grammars."""

from __future__ import annotations

import signal

import pytest

from container_kit._spec.ids import (
    check_hostname,
    check_name,
    is_id_prefix,
    new_id_from,
    parse_container_id,
    short_id,
)
from container_kit._spec.names import name_from, plain_names
from container_kit._spec.signals import parse_signal
from container_kit._spec.users import UserSpec, parse_group, parse_user
from container_kit.errors import InvalidNameError, InvalidSpecError, InvalidUserError


def test_id_is_made_of_32_random_bytes() -> None:
    """64 digits, of which people see 12."""
    container = new_id_from(bytes(range(32)))

    assert len(container) == 64
    assert short_id(container) == "000102030405"
    assert container == parse_container_id(container)
    with pytest.raises(ValueError, match="32 bytes"):
        new_id_from(b"short")


@pytest.mark.parametrize("text", ["", "ab", "A" * 64, "g" * 64, "a" * 65, "../" + "a" * 61, "a" * 63 + "\n"])
def test_text_that_is_no_id_is_refused(text: str) -> None:
    """An id becomes part of paths."""
    with pytest.raises(InvalidSpecError):
        parse_container_id(text)


def test_id_prefix_is_recognised() -> None:
    """Only what could begin an id is looked up as one."""
    assert is_id_prefix("0f")
    assert not is_id_prefix("")
    assert not is_id_prefix("0F")
    assert not is_id_prefix("web")


@pytest.mark.parametrize("name", ["ab", "web", "web-1.2_x", "0a", "a" * 128])
def test_dockers_names_are_accepted(name: str) -> None:
    """`[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most 128."""
    assert name == check_name(name)


@pytest.mark.parametrize(
    "name", ["", "a", "-ab", ".ab", "a b", "a/b", "ab\n", "äb", "a" * 129, "ab\0", "f" * 64, None, 5]
)
def test_other_names_are_refused(name: object) -> None:
    """Nothing that could be taken for an option, a path or an id."""
    with pytest.raises(InvalidNameError):
        check_name(name)


def test_generated_names_are_valid_and_distinct() -> None:
    """Every number below the bound has a plain name of its own; larger ones add digits."""
    names = [name_from(number) for number in range(plain_names())]

    assert len(set(names)) == plain_names() > 5000
    assert all(check_name(name) and not name[-1].isdigit() for name in names)
    assert name_from(plain_names() + 3) == names[3] + "1"


@pytest.mark.parametrize("name", ["a", "web", "web-1.example.org", "a" * 64, "1a"])
def test_hostnames_are_accepted(name: str) -> None:
    """RFC 1123, and at most what sethostname(2) takes."""
    assert name == check_hostname(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a..b", ".a", "a.", "a b", "a" * 65, "a\n", "ä"])
def test_other_hostnames_are_refused(name: str) -> None:
    """They would end up in /etc/hosts."""
    with pytest.raises(InvalidSpecError, match="hostname"):
        check_hostname(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", UserSpec(user=0)),
        ("1000:1000", UserSpec(user=1000, group=1000)),
        ("4294967294", UserSpec(user=2**32 - 2)),
        ("www-data", UserSpec(user="www-data")),
        ("_apt:staff", UserSpec(user="_apt", group="staff")),
        (1000, UserSpec(user=1000)),
    ],
)
def test_users_are_read(text: str | int, expected: UserSpec) -> None:
    """A name or a number, perhaps with a group."""
    assert expected == parse_user(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+0",
        "007",
        "0x0",
        "4294967295",
        "4294967296",
        "2147483648" * 3,
        "1" * 5000,
        "1:",
        ":1",
        "a:b:c",
        "a b",
        "root\n",
        "ro\0ot",
        "1a",
        "١",
        -1,
        True,
        None,
        1.0,
    ],
)
def test_malformed_user_is_an_error_and_never_a_look_up(text: object) -> None:
    """Numbers out of range must not fall back to a name: that has made people root."""
    with pytest.raises(InvalidUserError):
        parse_user(text)


def test_groups_are_read() -> None:
    """A supplementary group is one name or number."""
    assert (5, "audio") == (parse_group("5"), parse_group("audio"))
    with pytest.raises(InvalidUserError):
        parse_group("a:b")
    with pytest.raises(InvalidUserError):
        parse_group(True)


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("TERM", 15),
        ("SIGTERM", 15),
        ("sigkill", 9),
        ("HUP", signal.SIGHUP),
        ("15", 15),
        (15, 15),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX", 64),
        ("RTMAX-1", 63),
    ],
)
def test_signals_are_read(given: int | str, number: int) -> None:
    """By name, with or without SIG, or by number."""
    assert number == parse_signal(given)


@pytest.mark.parametrize("given", ["", "TREM", "0", "65", 0, 65, -1, True, "RTMIN-1", "RTMIN+31", "RTMAX-31", "RTMIN+"])
def test_other_signals_are_refused(given: int | str) -> None:
    """Signal 0 only tests for existence; it is not one to be sent."""
    with pytest.raises(InvalidSpecError):
        parse_signal(given)
