"""From `user[:group]` and an image's passwd and group files to numbers (passwd(5), group(5)).

Docker's rules. A text of digits is an id and never a name; whatever looks like a number
and is not a valid id is an error, never a look-up: falling back has made people root
(CVE-2024-40635, CVE-2026-46680). The primary group is always among the supplementary
ones: without it, files that *deny* a group would let the process in (CVE-2022-2995).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from container_kit._spec.identity import Identity
from container_kit._spec.users import LARGEST_ID, parse_group, parse_user
from container_kit.errors import InvalidUserError


@attrs.frozen
class _Account:
    name: str
    uid: int
    gid: int
    home: str


@attrs.frozen
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def resolve_identity(user: str | None, groups: Sequence[str], passwd: bytes, group: bytes) -> Identity:
    """Return who a user is inside an image.

    Args:
        user: `name`, `uid`, `name:group`, `uid:gid` …; None or empty is uid 0, no group is the user's own.
        groups: further supplementary groups, names or gids.
        passwd: the image's /etc/passwd; lines that make no sense are skipped.
        group: the image's /etc/group.

    Raises:
        InvalidUserError: malformed, out of range, or a name that the files do not have.
    """
    wanted_user, wanted_group = _split(user or "")
    account = _find_account(wanted_user, passwd)
    known_groups = tuple(_groups_in(group))
    if wanted_group is not None:
        gid = _find_gid(wanted_group, known_groups, field="user")
        implied: Iterable[int] = ()
    else:
        gid = account.gid
        implied = (known.gid for known in known_groups if account.name and account.name in known.members)
    extra = [_find_gid(parse_group(one), known_groups, field="groups") for one in groups]
    return Identity(
        uid=account.uid, gid=gid, groups=tuple(dict.fromkeys((gid, *implied, *extra))), home=account.home or "/"
    )


def _split(text: str) -> tuple[int | str, int | str | None]:
    # Docker reads "1:" as "1", and ":1" as uid 0 with gid 1.
    user, _, group = text.partition(":")
    spec = parse_user(f"{user or '0'}:{group}" if group else user or "0")
    return spec.user, spec.group


def _find_account(wanted: int | str, passwd: bytes) -> _Account:
    for account in _accounts_in(passwd):
        if wanted in (account.uid, account.name):
            return account
    if isinstance(wanted, str):
        hint = "give a numeric id, or a name from the image's /etc/passwd"
        raise InvalidUserError(field="user", value=wanted, reason="the image has no user of this name", hint=hint)
    return _Account(name="", uid=wanted, gid=0, home="/")


def _find_gid(wanted: int | str, groups: tuple[_Group, ...], *, field: str) -> int:
    if isinstance(wanted, int):
        return wanted
    for group in groups:
        if group.name == wanted:
            return group.gid
    hint = "give a numeric id, or a name from the image's /etc/group"
    raise InvalidUserError(field=field, value=wanted, reason="the image has no group of this name", hint=hint)


def _accounts_in(passwd: bytes) -> Iterator[_Account]:
    for name, fields in _lines_of(passwd, 6):
        uid, gid = _id_in(fields[2]), _id_in(fields[3])
        if uid is not None and gid is not None:
            yield _Account(name, uid, gid, fields[5])


def _groups_in(group: bytes) -> Iterator[_Group]:
    for name, fields in _lines_of(group, 4):
        gid = _id_in(fields[2])
        if gid is not None:
            yield _Group(name, gid, tuple(member.strip() for member in fields[3].split(",") if member.strip()))


def _lines_of(text: bytes, least: int) -> Iterator[tuple[str, list[str]]]:
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        fields = line.split(":")
        if len(fields) >= least and fields[0] and "\0" not in line:
            yield fields[0], fields


def _id_in(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > LARGEST_ID:
        return None
    return int(text)
