"""Users by name and number: Docker's rules, and the numbers that must never become names."""

from __future__ import annotations

import pytest

from container_kit._plan.identity import resolve_identity
from container_kit._spec.identity import Identity
from container_kit.errors import InvalidUserError

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
app:x:1000:1001:App:/home/app:/bin/sh
nohome:x:1002:1002::
broken line
toolarge:x:4294967295:1:x:/:/bin/sh
-1:x:0:0::/root:/bin/sh
2147483648:x:0:0::/root:/bin/sh
4294967296:x:0:0::/root:/bin/sh
100000000000000000000:x:0:0::/root:/bin/sh
+0:x:0:0::/root:/bin/sh
0x0:x:0:0::/root:/bin/sh
007:x:0:0::/root:/bin/sh
"""
GROUP = b"""root:x:0:
daemon:x:1:daemon
wheel:x:10:root,app
docker:x:20:app
app:x:1001:
empty:x:bad:app
"""


def resolve(user: str | None, *groups: str) -> Identity:
    """Look a user up in the files above."""
    return resolve_identity(user, groups, PASSWD, GROUP)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (None, Identity(uid=0, gid=0, groups=(0, 10), home="/root")),
        ("", Identity(uid=0, gid=0, groups=(0, 10), home="/root")),
        ("root", Identity(uid=0, gid=0, groups=(0, 10), home="/root")),
        ("app", Identity(uid=1000, gid=1001, groups=(1001, 10, 20), home="/home/app")),
        ("1000", Identity(uid=1000, gid=1001, groups=(1001, 10, 20), home="/home/app")),
        ("app:docker", Identity(uid=1000, gid=20, groups=(20,), home="/home/app")),
        ("app:77", Identity(uid=1000, gid=77, groups=(77,), home="/home/app")),
        ("1234", Identity(uid=1234, gid=0, groups=(0,), home="/")),
        ("1234:5678", Identity(uid=1234, gid=5678, groups=(5678,), home="/")),
        ("1000:", Identity(uid=1000, gid=1001, groups=(1001, 10, 20), home="/home/app")),
        (":20", Identity(uid=0, gid=20, groups=(20,), home="/root")),
        ("4294967294", Identity(uid=4294967294, gid=0, groups=(0,), home="/")),
        ("2147483648", Identity(uid=2147483648, gid=0, groups=(0,), home="/")),
    ],
)
def test_user_is_resolved_as_docker_does(user: str | None, expected: Identity) -> None:
    """Names and numbers, with and without a group; the primary group is always a supplementary one."""
    assert expected == resolve(user)


@pytest.mark.parametrize(
    "user",
    ["-1", "4294967295", "4294967296", "100000000000000000000", "007", "+0", "0x0", "1:-1", "1:4294967296", "1:2:3"],
)
def test_strange_number_is_an_error_even_where_a_name_looks_like_it(user: str) -> None:
    """The passwd file above has root accounts with such names: falling back to a look-up would give root."""
    with pytest.raises(InvalidUserError):
        resolve(user)


@pytest.mark.parametrize(("user", "groups"), [("nobody", ()), ("app:nogroup", ()), ("app", ("nogroup",))])
def test_name_that_the_image_does_not_know_is_an_error(user: str, groups: tuple[str, ...]) -> None:
    """The error says what to do instead."""
    with pytest.raises(InvalidUserError, match="numeric id"):
        resolve(user, *groups)


def test_account_out_of_range_in_the_image_is_no_account() -> None:
    """An id that setresuid(2) reads as "unchanged" would leave the process root."""
    with pytest.raises(InvalidUserError):
        resolve("toolarge")


def test_further_groups_come_last_and_once() -> None:
    """Names and numbers may be mixed; duplicates count once."""
    assert resolve("app", "docker", "99", "wheel").groups == (1001, 10, 20, 99)


def test_line_without_a_home_means_the_root_directory() -> None:
    """HOME is never empty."""
    assert resolve("1002").home == "/"


def test_image_without_files_has_numbers_only() -> None:
    """A `scratch` image has no /etc/passwd."""
    assert resolve_identity(None, (), b"", b"") == Identity(uid=0, gid=0, groups=(0,), home="/")
    with pytest.raises(InvalidUserError):
        resolve_identity("root", (), b"", b"")


def test_files_that_are_not_text_do_no_harm() -> None:
    """An image's files are whatever somebody put there."""
    noise = bytes(range(256)) * 10

    assert resolve_identity("5", (), noise, noise) == Identity(uid=5, gid=0, groups=(0,), home="/")


def test_home_with_a_nul_is_not_used() -> None:
    """It would end up in the environment."""
    assert resolve_identity("5", (), b"evil:x:5:5::/a\0b:/bin/sh\n", b"").home == "/"
