"""A15, A16: supplementary groups that are missing, and numbers of users that become others.

CVE-2016-3697, CVE-2022-2990, CVE-2022-2995, CVE-2022-36109, CVE-2023-25173, CVE-2024-40635, CVE-2026-30892,
CVE-2026-46680.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.security.rigs import Rig, error_of, inside_ids

# user → uid, gid, supplementary groups; tests/rootfs.py has the accounts.
KNOWN: dict[str, tuple[int, int, set[int]]] = {
    "app": (1000, 1000, {6, 29, 1000, 2000}),
    "1000": (1000, 1000, {6, 29, 1000, 2000}),
    "app:users": (1000, 100, {100}),
    "1000:100": (1000, 100, {100}),
    "other": (1001, 100, {29, 100}),
    "54321": (54321, 0, {0}),
    "54321:54322": (54321, 54322, {54322}),
    "root": (0, 0, {0, 2000}),
    "65534": (65534, 65534, {65534}),
}


@pytest.mark.needs_subids
@pytest.mark.parametrize("user", KNOWN)
def test_A15_the_groups_are_those_of_the_image_with_the_primary_one(rig: Rig, user: str) -> None:
    """By run and by exec; the ids are read from outside as well, and none is the caller's."""
    uid, gid, groups = KNOWN[user]
    box = rig.start(user=user)
    assert box.pid is not None

    inside = box.exec(["payload", "id"], user=user, text=True).stdout.split()

    listed = ",".join(str(group) for group in [gid, *sorted(groups - {gid})])
    assert [f"uid={uid}", f"euid={uid}", f"gid={gid}", f"egid={gid}"] == inside[:4]
    assert {int(one) for one in listed.split(",")} == {int(one) for one in inside[4].split("=")[1].split(",")}
    assert ({uid}, {gid}) == (inside_ids(box.pid, "uid"), inside_ids(box.pid, "gid"))


@pytest.mark.needs_subids
@pytest.mark.parametrize("way", ["run", "exec"])
def test_A15_a_file_that_denies_a_group_denies_it(rig: Rig, way: str) -> None:
    """Mode 0604: everybody but the group may read; its members cannot get around it by leaving it out."""
    box = rig.start()
    box.exec(["payload", "write", "/srv/denied", "secret"], check=True)
    box.exec(["payload", "chown", "0", "6", "/srv/denied"], check=True)
    box.path("/srv/denied").chmod(0o604)

    answers = {
        user: box.exec(["payload", "open", "r", "/srv/denied"], user=user, text=True).stdout.strip()
        for user in ("app", "1000", "other", "54321:6")
    }

    assert {"app": "EACCES", "1000": "EACCES", "other": "ok", "54321:6": "EACCES"} == answers


OUT_OF_RANGE = (
    "-1", "-2", "4294967295", "4294967296", "100000000000000000000", "18446744073709551616", "9" * 5000,
    "007", "00", "+0", "+1", "0x0", "0b0", "0o0", "1e3", "1.0", " 0", "0 ", "0\n", "٠", "1:-1", "1:4294967295", "1:+0",
    "0:0:0", "0:0x0",
)  # fmt: skip


@pytest.mark.parametrize("way", ["run", "exec", "image"])
def test_A16_a_number_that_is_no_id_is_an_error_and_never_a_name(rig: Rig, own_rootfs: Path, way: str) -> None:
    """The image has accounts named like these numbers, all with uid 0: not one is looked up."""
    names = [text for text in OUT_OF_RANGE if ":" not in text and "\n" not in text]
    lines = "".join(f"{name}:x:0:0::/root:/bin/sh\n" for name in names)
    with open(own_rootfs / "etc" / "passwd", "a", encoding="utf-8") as passwd:
        passwd.write(lines)
    box = rig.start(image=ck.Image.from_directory(own_rootfs))
    ways: dict[str, Callable[[str], object]] = {
        "run": lambda user: rig.run("id", image=ck.Image.from_directory(own_rootfs), user=user),
        "exec": lambda user: box.exec(["payload", "id"], user=user),
        "image": lambda user: rig.run(
            "id", image=ck.Image.from_directory(own_rootfs, config=ck.ImageConfig(user=user))
        ),
    }

    answers = {text: error_of(partial(ways[way], text)) for text in OUT_OF_RANGE}

    assert [] == [text[:30] for text, error in answers.items() if not isinstance(error, errors.InvalidSpecError)]


@pytest.mark.needs_subids
@pytest.mark.parametrize(("number", "uid"), [("0", 0), ("1", 1), ("1000", 1000), ("65535", 65535)])
def test_A16_a_number_is_that_number_even_if_an_account_is_named_like_it(
    rig: Rig, own_rootfs: Path, number: str, uid: int
) -> None:
    """Asserted from outside: the process has that uid in its user namespace."""
    passwd = own_rootfs / "etc" / "passwd"
    passwd.write_text(f"{number}:x:7:7::/:/bin/sh\n" + passwd.read_text())
    box = rig.start(image=ck.Image.from_directory(own_rootfs), user=number)
    assert box.pid is not None

    assert {uid} == inside_ids(box.pid, "uid")


@pytest.mark.needs_subids
@pytest.mark.parametrize(("user", "ids"), [("1:", (1, 1)), (":1", (0, 1)), ("", (0, 0))])
def test_A16_half_an_entry_of_an_image_is_what_docker_makes_of_it(
    rig: Rig, own_rootfs: Path, user: str, ids: tuple[int, int]
) -> None:
    """A missing half is the account's group, or root's number; a caller who writes such a thing is told of it."""
    box = rig.start(image=ck.Image.from_directory(own_rootfs, config=ck.ImageConfig(user=user)))
    assert box.pid is not None

    assert ({ids[0]}, {ids[1]}) == (inside_ids(box.pid, "uid"), inside_ids(box.pid, "gid"))
    if user:
        assert isinstance(error_of(lambda: rig.run("id", user=user)), errors.InvalidUserError)


@pytest.mark.parametrize("uid", [2**31, 2**31 - 1, 2**32 - 2])
def test_A16_a_large_number_is_itself_or_an_error(rig: Rig, uid: int) -> None:
    """It never wraps to another: root of the host can have it, a user namespace has not so many."""
    boxes: list[ck.Container] = []

    error = error_of(lambda: boxes.append(rig.start(user=uid)))

    assert error is None or (isinstance(error, errors.InvalidUserError) and "user namespace" in error.reason)
    assert [{uid} for _ in boxes] == [inside_ids(box.pid or 0, "uid") for box in boxes]
