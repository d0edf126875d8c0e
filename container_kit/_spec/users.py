"""Who to run as, as it is written: `name`, `uid`, `name:group`, `uid:gid`.

Only the text is parsed here; names are looked up in the image's /etc/passwd by the
plan. Digits are always a number and never a name: falling back to a look-up when a
number is out of range has made people root (CVE-2024-40635, CVE-2026-46680).
"""

from __future__ import annotations

import re

import attrs

from container_kit.errors import InvalidUserError

# 2**32-1 means "unchanged" to setresuid(2).
LARGEST_ID = 2**32 - 2
_NAME = re.compile(r"[a-zA-Z_.][a-zA-Z0-9_.@-]*\$?", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]*", re.ASCII)


@attrs.frozen(kw_only=True)
class UserSpec:
    """A user and perhaps a group, each a number or a name to look up."""

    user: int | str
    group: int | str | None = None


def parse_user(text: object) -> UserSpec:
    """Return what `USER` or `user=` says, or raise `InvalidUserError`."""
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise InvalidUserError(field="user", value=text, reason="must be text or a number")
    user, colon, group = str(text).partition(":")
    return UserSpec(user=_one(user, "user"), group=_one(group, "group") if colon else None)


def parse_group(text: object) -> int | str:
    """Return one supplementary group: a gid or a name."""
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise InvalidUserError(field="groups", value=text, reason="must be text or a number")
    return _one(str(text), "groups")


def _one(text: str, field: str) -> int | str:
    if _NUMBER.fullmatch(text):
        # Compare lengths first: converting an endless string of digits takes endless time.
        if len(text) > 10 or int(text) > LARGEST_ID:
            raise InvalidUserError(field=field, value=text, reason=f"ids end at {LARGEST_ID}")
        return int(text)
    if len(text) > 256 or not _NAME.fullmatch(text):
        reason = "must be a name, or a number without sign, prefix or leading zeros"
        raise InvalidUserError(field=field, value=text, reason=reason)
    return text
