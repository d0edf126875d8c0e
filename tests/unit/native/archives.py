"""Tar archives block by block, good and bad; and what the unpacker and other readers make of them."""

from __future__ import annotations

import enum
import errno
import io
import os
import posixpath
import re
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from tests.probes import probe_root
from tests.unit.native.harness import HERE, NATIVE, compile_program

READER: tuple[str | Path, ...] = tuple(sorted(path.name for path in NATIVE.glob("files_tar*.c")))
UNPACKER: tuple[str | Path, ...] = (
    HERE / "unpack_driver.c",
    *READER,
    *sorted(path.name for path in NATIVE.glob("files_unpack*.c")),
    "removal.c",
    "resolve.c",
    "monitor_format.c",
)

BLOCK = 512
END = bytes(2 * BLOCK)
EVERYTHING = 2**63
USTAR, GNU, V7 = b"ustar\00000", b"ustar  \0", bytes(8)
DIRECTORY, HARDLINK, SYMLINK, CHARACTER, BLOCKDEV, FIFO = b"5", b"1", b"2", b"3", b"4", b"6"
SECONDS = 30


class Flag(enum.IntFlag):
    """CK_FILE_* of files.h, those of UNPACK."""

    LAYER = 0x10
    USER_XATTR = 0x20
    OWNER = 0x40
    NO_OWNER = 0x80
    NO_DEVICES = 0x100
    REPLACE = 0x200
    NO_SET_ID = 0x2000
    KEEP_KIND = 0x4000


ROOT = not probe_root()
LAYER = Flag.LAYER if ROOT else Flag.LAYER | Flag.NO_OWNER | Flag.NO_DEVICES | Flag.USER_XATTR  # what this user can


class Reason(enum.IntEnum):
    """CK_TAR_* of files.h."""

    OK = 0
    HEADER = 1
    EXTENSION = 2
    TRUNCATED = 3
    NAME = 4
    LINK = 5
    BYTES = 6
    ENTRIES = 7
    WHITEOUT = 8
    TYPE = 9
    SYSTEM = 10


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


def octal(number: int, size: int) -> bytes:
    """Return a number as a field of a header."""
    return b"%0*o\0" % (size - 1, number)


def base256(number: int, size: int) -> bytes:
    """Return a number as GNU tar writes those that are too large or negative."""
    return bytes([0xFF if number < 0 else 0x80]) + number.to_bytes(size - 1, "big", signed=True)


def seal(block: bytes) -> bytes:
    """Return a header with the right checksum."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def header(
    name: bytes,
    kind: bytes = b"0",
    *,
    size: int | bytes = 0,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 0,
    link: bytes = b"",
    magic: bytes = USTAR,
    device: tuple[int, int] | None = None,
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """Return one header block; fields given as bytes are put there as they are."""
    numbers = ((mode, 8), (uid, 8), (gid, 8), (size, 12), (mtime, 12))
    fields = [octal(value, width) if isinstance(value, int) else value.ljust(width, b"\0") for value, width in numbers]
    major, minor = (octal(part, 8) for part in device) if device is not None else (bytes(8), bytes(8))
    owner = bytes(64)
    block = name.ljust(100, b"\0") + b"".join(fields) + bytes(8) + kind + link.ljust(100, b"\0") + magic + owner
    block = (block + major + minor + prefix).ljust(BLOCK, b"\0")
    assert len(block) == BLOCK, "a field is too long"
    return seal(block) if checksum is None else block[:148] + checksum + block[156:]


def padded(content: bytes) -> bytes:
    """Return content filled up to whole blocks."""
    return content + bytes(-len(content) % BLOCK)


def entry(
    name: bytes,
    content: bytes = b"",
    *,
    mode: int = 0o644,
    mtime: int | bytes = 0,
    uid: int | bytes = 0,
    magic: bytes = USTAR,
) -> bytes:
    """Return a regular file."""
    return header(name, size=len(content), mode=mode, mtime=mtime, uid=uid, magic=magic) + padded(content)


def directory(name: bytes, mode: int = 0o755, *, mtime: int = 0) -> bytes:
    """Return a directory."""
    return header(name, DIRECTORY, mode=mode, mtime=mtime)


def symlink(name: bytes, target: bytes) -> bytes:
    """Return a symbolic link."""
    return header(name, SYMLINK, link=target, mode=0o777)


def hardlink(name: bytes, target: bytes) -> bytes:
    """Return a hard link."""
    return header(name, HARDLINK, link=target)


def record(key: bytes, value: bytes) -> bytes:
    """Return one pax record with the length that it says it has."""
    rest = b" " + key + b"=" + value + b"\n"
    size = len(rest)
    while len(str(size)) + len(rest) != size:
        size = len(str(size)) + len(rest)
    return b"%d%s" % (size, rest)


def pax(records: Mapping[bytes, bytes] | bytes, kind: bytes = b"x") -> bytes:
    """Return a pax header."""
    body = records if isinstance(records, bytes) else b"".join(record(*pair) for pair in records.items())
    return header(b"PaxHeaders/x", kind, size=len(body)) + padded(body)


def long_text(text: bytes, kind: bytes = b"L") -> bytes:
    """Return GNU tar's header for a long name (L) or link (K)."""
    return header(b"././@LongLink", kind, size=len(text) + 1, magic=GNU) + padded(text + b"\0")


def sparse(name: bytes, size: int, segments: Sequence[tuple[int, bytes]], *, more: bytes = b"\0") -> bytes:
    """Return a file with holes as old GNU tar writes it."""
    pairs = [octal(at, 12) + octal(len(data), 12) for at, data in segments]
    content = b"".join(data for _, data in segments)
    block = header(name, b"S", size=len(content), magic=GNU)
    rest = pairs[4:]
    first = b"".join(pairs[:4]).ljust(96, b"\0") + (b"\1" if rest else more) + octal(size, 12)
    blocks = seal((block[:386] + first).ljust(BLOCK, b"\0"))
    while rest:
        taken, rest = rest[:21], rest[21:]
        blocks += (b"".join(taken).ljust(504, b"\0") + (b"\1" if rest else b"\0")).ljust(BLOCK, b"\0")
    return blocks + padded(content)


def archive(*parts: bytes) -> bytes:
    """Return a whole archive."""
    return b"".join(parts) + END


# ── reading ──────────────────────────────────────────────────────────────────────────────────────

KINDS = ("file", "hardlink", "symlink", "directory", "character", "block", "fifo")


@attrs.frozen(order=True)
class Listed:
    """An entry, as far as readers can be compared."""

    kind: str
    name: bytes
    size: int
    link: bytes = b""


@attrs.frozen
class Refused:
    """An archive that was not read to its end."""

    reason: Reason
    name: bytes = b""


@attrs.frozen(kw_only=True)
class Outcome:
    """What unpacking came to."""

    error: int
    reason: Reason
    name: bytes
    entries: int
    bytes: int
    devices: int
    memory_kib: int  # resident at most, sanitizers included

    @property
    def refused(self) -> Reason:
        """The reason; an archive that was accepted fails the test."""
        assert self.error == (errno.EBADMSG if self.reason is not Reason.SYSTEM else self.error) != 0, self
        return self.reason

    @property
    def accepted(self) -> Outcome:
        """Fail the test unless all went well."""
        assert (self.error, self.reason) == (0, Reason.OK), (os.strerror(self.error), self)
        return self


@attrs.frozen
class Unpacker:
    """The driver program."""

    program: Path

    def _run(self, *arguments: str | bytes | Path, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [self.program, *arguments], input=stdin, capture_output=True, check=False, timeout=SECONDS
        )
        assert b"Sanitizer" not in done.stderr, done.stderr.decode(errors="replace")
        assert b"runtime error" not in done.stderr, done.stderr.decode(errors="replace")
        return done

    def list(self, data: bytes) -> tuple[Listed, ...] | Refused:
        """Return the entries of an archive, or why it was refused."""
        done = self._run("list", stdin=data)
        if done.returncode != 0:
            _, reason, name = done.stderr.removesuffix(b"\n").split(b" ", 2)
            return Refused(Reason(int(reason)), name)
        fields = done.stdout.split(b"\0")[:-1]
        return tuple(_listed(*fields[at : at + 3]) for at in range(0, len(fields), 3))

    def unpack(
        self,
        data: bytes | Iterable[bytes],
        into: Path,
        flags: Flag = LAYER,
        *,
        root: tuple[Path, str] | None = None,
        owner: tuple[int, int] = (0, 0),
        max_bytes: int = EVERYTHING,
        max_entries: int = EVERYTHING,
    ) -> Outcome:
        """Unpack into a directory; `root` is the tree in which names resolve, and the directory's path there."""
        whole = data if isinstance(data, bytes) else b"".join(data)
        numbers = (int(flags), max_bytes, max_entries, *owner)
        done = self._run(into, *map(str, numbers), *(root or ()), stdin=whole)
        assert done.returncode == 0, done
        line, name = done.stdout.removesuffix(b"\n").split(b"\n", 1)
        error, reason, entries, size, devices, memory = map(int, line.split())
        return Outcome(
            error=error,
            reason=Reason(reason),
            name=name,
            entries=entries,
            bytes=size,
            devices=devices,
            memory_kib=memory,
        )


def build_unpacker(output: Path, *, flags: Sequence[str] = ()) -> Unpacker:
    """Compile the driver with the unpacker's sources."""
    return Unpacker(compile_program(output, UNPACKER, ["-D_GNU_SOURCE", *flags]))


def _listed(numbers: bytes, name: bytes, link: bytes) -> Listed:
    kind, *_, size, _mtime, _ns = map(int, numbers.split())
    return Listed(KINDS[kind], name, size, link)


# ── other readers ────────────────────────────────────────────────────────────────────────────────

PYTHON_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.LNKTYPE: "hardlink",
    tarfile.SYMTYPE: "symlink",
    tarfile.DIRTYPE: "directory",
    tarfile.CHRTYPE: "character",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
    tarfile.GNUTYPE_SPARSE: "file",
}
GNU_KINDS = {
    "-": "file",
    "C": "file",
    "S": "file",
    "h": "hardlink",
    "l": "symlink",
    "d": "directory",
    "c": "character",
    "b": "block",
    "p": "fifo",
}
GNU_LINE = re.compile(rb"(.)\S* +\S+ +(\d+|\d+,\d+) \S+ \S+ (.*)", re.DOTALL)


def normal(name: bytes) -> bytes:
    """Return a name the way our reader hands it out."""
    return posixpath.normpath(b"/" + name).lstrip(b"/")


def python_list(data: bytes) -> tuple[Listed, ...] | None:
    """Return what Python's tarfile sees, which is never asked to extract; None when it refuses."""
    found: list[Listed] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            for member in tar:
                kind = PYTHON_KINDS.get(member.type, "?")
                name = member.name.encode(errors="surrogateescape")
                link = member.linkname.encode(errors="surrogateescape")
                found.append(_comparable(kind, name, member.size, link))
    except (tarfile.TarError, ValueError, UnicodeError, EOFError, OverflowError):
        return None
    return tuple(found)


def gnu_list(data: bytes) -> tuple[Listed, ...] | None:
    """Return what GNU tar sees; None when it complains."""
    command = ["tar", "--numeric-owner", "--quoting-style=escape", "-tvf", "-"]
    done = subprocess.run(command, input=data, capture_output=True, check=False, env={"LC_ALL": "C", "TZ": "UTC"})
    lenient = b"Blanks in header" in done.stderr  # portable archives have them; GNU tar warns and reads on
    if (done.returncode != 0 and not lenient) or b"Unexpected" in done.stderr or b"implausibly" in done.stderr:
        return None
    found: list[Listed] = []
    for line in done.stdout.splitlines():
        match = GNU_LINE.fullmatch(line)
        assert match is not None, line
        kind = GNU_KINDS.get(match[1].decode(), "?")
        arrow = {"symlink": b" -> ", "hardlink": b" link to "}.get(kind)
        name, _, link = match[3].partition(arrow) if arrow else (match[3], b"", b"")
        size = int(match[2]) if b"," not in match[2] else 0
        found.append(_comparable(kind, _unescape(name), size, _unescape(link)))
    return tuple(found)


def _unescape(text: bytes) -> bytes:
    return text.decode("unicode_escape").encode("latin-1")


def _comparable(kind: str, name: bytes, size: int, link: bytes) -> Listed:
    linked = {"symlink": link, "hardlink": normal(link)}.get(kind, b"")
    return Listed(kind, normal(name), size if kind == "file" else 0, linked)
