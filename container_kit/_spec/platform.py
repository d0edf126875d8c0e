"""Platforms: the operating system and processor that an image is for, and which image of several fits.

Names and rules are containerd's (platforms/database.go, compare.go), which are GOOS and
GOARCH. The variant says which generation of a processor is needed: an older generation
runs on a newer one, not the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import attrs

from container_kit._spec.text import check_line
from container_kit.errors import InvalidSpecError

T = TypeVar("T")

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_OS_VERSION = re.compile(r"([^()]*)\(([^()]*)\)")
_SYSTEMS = {"macos": "darwin"}
# Other names → GOARCH and the variant that the name implies.
_ARCHITECTURES: Mapping[str, tuple[str, str | None]] = {
    "i386": ("386", None),
    "i486": ("386", None),
    "i586": ("386", None),
    "i686": ("386", None),
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
    "loongarch64": ("loong64", None),
}
# GOOS values that somebody may give alone.
_KNOWN_SYSTEMS = frozenset(
    "linux darwin windows freebsd netbsd openbsd solaris aix android illumos plan9 wasip1".split()
)


@attrs.frozen(kw_only=True)
class Platform:
    """An operating system, an architecture and perhaps a variant: `linux/arm64/v8`.

    `unknown` stands for what is not meant to be run, as build tools use it. Use
    `parse_platform` for what people write: it knows other names of the same things.
    """

    os: str
    architecture: str
    variant: str | None = None
    os_version: str | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("os", "architecture", "variant", "os_version"):
            value = getattr(self, name)
            if value is not None and not _WORD.fullmatch(value):
                reason = "must be letters, digits, '_', '.' or '-'"
                raise InvalidSpecError(field=f"platform {name}", value=value, reason=reason, hint=_HINT)

    def __str__(self) -> str:
        system = f"{self.os}({self.os_version})" if self.os_version else self.os
        return "/".join(part for part in (system, self.architecture, self.variant) if part)


_HINT = "a platform is 'linux/amd64' or 'linux/arm/v7'"
UNKNOWN_PLATFORM = Platform(os="unknown", architecture="unknown")


def parse_platform(text: str) -> Platform:
    """Return the platform of `os/architecture[/variant]`, or of an architecture alone, which is Linux's.

    Names that others use, such as `x86_64` and `aarch64`, become GOARCH's.

    Raises:
        InvalidSpecError: it is anything else.
    """
    parts = check_line(text, "platform").split("/")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise InvalidSpecError(field="platform", value=text, reason="must be os/architecture[/variant]", hint=_HINT)
    if len(parts) == 1:
        if parts[0].lower() in _KNOWN_SYSTEMS:
            raise InvalidSpecError(field="platform", value=text, reason="names no architecture", hint=_HINT)
        parts = ["linux", parts[0]]
    versioned = _OS_VERSION.fullmatch(parts[0])
    system, version = (versioned[1], versioned[2]) if versioned else (parts[0], None)
    return _normalised(system, parts[1], parts[2] if len(parts) == 3 else None, version)


def read_platform(*, os: str, architecture: str, variant: str, os_version: str) -> Platform:
    """Return the platform that a document of an image declares; a word that cannot be is `unknown`.

    One odd entry must not make the others unusable, and what is unknown is never chosen. Absent is "".
    """
    try:
        return _normalised(os, architecture, variant or None, os_version or None)
    except InvalidSpecError:
        return UNKNOWN_PLATFORM


def host_platform(machine: str) -> Platform:
    """Return the platform of this Linux host, from what `platform.machine()` says (uname(2))."""
    return _normalised("linux", machine, None, None)


def choose_platform(wanted: Platform, candidates: Sequence[T], key: Callable[[T], Platform | None]) -> T | None:
    """Return what fits a platform best, the first of equals, or None.

    Args:
        wanted: what it is to run on.
        candidates: what there is.
        key: returns the platform of one of them; None never fits.
    """
    best: T | None = None
    best_rank: _Rank | None = None
    for candidate in candidates:
        platform = key(candidate)
        rank = None if platform is None else _rank(wanted, platform)
        if rank is not None and (best_rank is None or rank > best_rank):
            best, best_rank = candidate, rank
    return best


def runs_on(wanted: Platform, offered: Platform) -> bool:
    """Say whether what is made for `offered` runs on `wanted`."""
    return _rank(wanted, offered) is not None


_Rank: TypeAlias = tuple[int, int, int]  # 1 for the processor's own code, 0 for its 32-bit mode; then the generation
_Generation: TypeAlias = tuple[int, int]
_VARIANT = re.compile(r"v?(\d{1,3})(?:\.(\d{1,3}))?", re.ASCII)
_OLDEST = {"amd64": (1, 0), "arm": (7, 0), "arm64": (8, 0)}  # what no variant means
_NARROW = {"amd64": "386", "arm64": "arm"}


def _rank(wanted: Platform, offered: Platform) -> _Rank | None:
    if wanted.os != offered.os or (wanted.os_version and wanted.os_version != offered.os_version):
        return None
    if wanted.architecture == offered.architecture:
        return _rank_of_same(wanted, offered)
    if _NARROW.get(wanted.architecture) != offered.architecture:
        return None
    generation = _generation(offered) or (0, 0)
    return (0, generation[0], generation[1]) if generation <= (8, 0) else None


def _rank_of_same(wanted: Platform, offered: Platform) -> _Rank | None:
    limit, generation = _generation(wanted), _generation(offered)
    if limit is None or generation is None:  # no generations that could be compared
        return (1, 0, 0) if offered.variant in (None, wanted.variant) else None
    if wanted.architecture == "arm64" and (limit[0], generation[0]) == (9, 8):
        limit = (8, limit[1] + 5)  # Armv9.N is Armv8.(N+5) and more
    elif wanted.architecture == "arm64" and limit[0] != generation[0]:
        return None
    return (1, generation[0], generation[1]) if generation <= limit else None


def _generation(platform: Platform) -> _Generation | None:
    oldest = _OLDEST.get(platform.architecture)
    if oldest is None or platform.variant is None:
        return oldest
    found = _VARIANT.fullmatch(platform.variant)
    return (int(found[1]), int(found[2] or 0)) if found else None


def _normalised(system: str, architecture: str, variant: str | None, version: str | None) -> Platform:
    name, implied = _ARCHITECTURES.get(architecture.lower(), (architecture.lower(), None))
    if variant and _VARIANT.fullmatch(variant.lower()):
        variant = f"v{variant.lower().removeprefix('v')}"
    system = _SYSTEMS.get(system.lower(), system.lower())
    return Platform(os=system, architecture=name, variant=variant or implied, os_version=version)
