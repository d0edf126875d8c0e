"""The tar reader (files_tar*.c): what it makes of headers, and that it agrees with other readers or refuses."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.unit.native.archives import (
    DIRECTORY,
    END,
    GNU,
    READER,
    V7,
    Listed,
    Reason,
    Refused,
    Unpacker,
    archive,
    base256,
    directory,
    entry,
    gnu_list,
    hardlink,
    header,
    long_text,
    octal,
    padded,
    pax,
    python_list,
    record,
    seal,
    sparse,
    symlink,
)
from tests.unit.native.harness import HERE, compile_program

pytestmark = pytest.mark.needs_tools("tar")

MIB = 1 << 20
MUTANTS = 250
FUZZ_ROUNDS = 3000
LONG = b"/".join([b"component"] * 30)


def refusal(unpacker: Unpacker, *parts: bytes) -> Reason:
    """Return why an archive is refused."""
    found = unpacker.list(archive(*parts))
    assert isinstance(found, Refused), found
    return found.reason


# ── C1: names ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"/x", b"x"),
        (b"//x", b"x"),
        (b"./x", b"x"),
        (b"a/./b//c", b"a/b/c"),
        (b"...", b"..."),
        (b"..x/y..", b"..x/y.."),
        (b"\xff\xfe", b"\xff\xfe"),
        ("ünï/çødé".encode(), "ünï/çødé".encode()),
        (b"n" * 100, b"n" * 100),
    ],
)
def test_C1_names_become_relative_and_plain(unpacker: Unpacker, name: bytes, expected: bytes) -> None:
    """What leads nowhere is dropped from a name; its bytes stay as they are."""
    assert unpacker.list(archive(entry(name))) == (Listed("file", expected, 0),)


@pytest.mark.parametrize(
    "name", [b"..", b"../x", b"a/../../x", b"a/../x", b"./../x", b"x/..", b"/..", b"", b"/", b".", b"./", b"x/"]
)
def test_C1_names_that_lead_out_or_nowhere_are_refused(unpacker: Unpacker, name: bytes) -> None:
    """A file is not "..", not the root, and has a name."""
    assert refusal(unpacker, entry(name)) is Reason.NAME


@pytest.mark.parametrize("kind", [b"0", b"1", b"2", b"3", b"6"])
def test_C1_the_root_is_a_directory_for_ever(unpacker: Unpacker, kind: bytes) -> None:
    """CVE-2021-29136: an entry for the root with another type."""
    assert refusal(unpacker, directory(b"./"), header(b"/.", kind, link=b"elsewhere")) is Reason.NAME


@pytest.mark.parametrize(
    "name", [b"n" * 256, b"d/" * 2048 + b"x", b"n\0x", b""], ids=["component", "long", "NUL", "empty"]
)
def test_C1_names_of_extensions_that_no_file_can_have_are_refused(unpacker: Unpacker, name: bytes) -> None:
    """Too long a component, too long a path, a NUL, nothing."""
    assert refusal(unpacker, pax({b"path": name}), entry(b"x")) is Reason.NAME


@pytest.mark.parametrize("extension", [pax({b"path": LONG}), long_text(LONG)], ids=["pax", "GNU"])
def test_long_names_come_from_extensions(unpacker: Unpacker, extension: bytes) -> None:
    """Names beyond a hundred bytes; the next entry has its own again."""
    found = unpacker.list(archive(extension, entry(b"short"), entry(b"next")))

    assert found == (Listed("file", LONG, 0), Listed("file", b"next", 0))


def test_a_prefix_is_part_of_a_ustar_name(unpacker: Unpacker) -> None:
    """POSIX splits long names in two."""
    assert unpacker.list(archive(header(b"c", prefix=b"a/b"))) == (Listed("file", b"a/b/c", 0),)


# ── C7: headers ──────────────────────────────────────────────────────────────────────────────────

HOLED = sparse(b"x", 99, [(9, b"12")])
SPARSE = seal(HOLED[:124] + octal(1, 12) + HOLED[136:512])
BAD_HEADERS: dict[str, tuple[bytes, Reason]] = {
    "checksum": (header(b"x", checksum=b"0000000\0"), Reason.HEADER),
    "no checksum": (header(b"x", checksum=bytes(8)), Reason.HEADER),
    "magic": (header(b"x", magic=b"ustaR\00000"), Reason.HEADER),
    "negative size": (header(b"x", size=base256(-512, 12)), Reason.HEADER),
    "size beyond 63 bits": (header(b"x", size=b"\x80" + b"\xff" * 11), Reason.HEADER),
    "half a base-256 marker": (header(b"x", size=b"\xc0" + bytes(11)), Reason.HEADER),
    "size without a digit": (header(b"x", size=b" " * 11), Reason.HEADER),
    "size with a letter": (header(b"x", size=b"0000000001z"), Reason.HEADER),
    "size behind a NUL": (header(b"x", size=b"000\0000001"), Reason.HEADER),
    "negative uid": (header(b"x", uid=base256(-1, 8)), Reason.HEADER),
    "uid that chown ignores": (header(b"x", uid=base256(2**32 - 1, 8)), Reason.HEADER),
    "mode": (header(b"x", mode=b"9999999"), Reason.HEADER),
    "directory with content": (header(b"x", DIRECTORY, size=512) + bytes(512), Reason.HEADER),
    "link with content": (header(b"x", b"1", size=512, link=b"y") + bytes(512), Reason.HEADER),
    "GNU with a prefix": (header(b"x", magic=GNU, prefix=b"p"), Reason.HEADER),
    "V7 with a prefix": (header(b"x", magic=V7, prefix=b"p"), Reason.HEADER),
    "a lone block of zeros": (bytes(512) + entry(b"x"), Reason.HEADER),
    "major number": (header(b"x", b"3", device=(4096, 0)), Reason.TYPE),
    "minor number": (header(b"x", b"4", device=(1, 1 << 20)), Reason.TYPE),
    "type": (header(b"x", b"Q"), Reason.TYPE),
    "sparse without a size": (header(b"x", b"S", magic=GNU), Reason.HEADER),
    "sparse but not GNU": (header(b"x", b"S"), Reason.HEADER),
    "sparse beyond its end": (sparse(b"x", 9, [(5, b"12345")]), Reason.HEADER),
    "sparse backwards": (sparse(b"x", 99, [(50, b"1"), (40, b"1")]), Reason.HEADER),
    "sparse overlapping": (sparse(b"x", 99, [(50, b"12"), (51, b"1")]), Reason.HEADER),
    "sparse going on behind its end": (sparse(b"x", 99, [(50, b"12")], more=b"1"), Reason.HEADER),
    "sparse with less than it says": (SPARSE, Reason.HEADER),
    "sparse for ever": (sparse(b"x", 1 << 30, [(at, b"") for at in range(70000)]), Reason.HEADER),
    "sparse behind pax": (pax({b"a": b"b"}) + sparse(b"x", 9, [(5, b"1")]), Reason.TYPE),
    "multi-volume": (header(b"x", b"M", magic=GNU), Reason.TYPE),
    "incremental": (header(b"x", b"D", magic=GNU), Reason.TYPE),
    "pax sparse": (pax({b"GNU.sparse.map": b"0,1"}) + entry(b"x"), Reason.TYPE),
    "star sparse": (pax({b"SCHILY.realsize": b"9"}) + entry(b"x"), Reason.TYPE),
    "device number aside": (pax({b"SCHILY.devmajor": b"7"}) + header(b"x", b"3", device=(1, 3)), Reason.TYPE),
    "symlink to nothing": (symlink(b"x", b""), Reason.LINK),
    "hard link to nothing": (hardlink(b"x", b""), Reason.LINK),
    "hard link to the root": (hardlink(b"x", b"./"), Reason.LINK),
    "hard link out": (hardlink(b"x", b"a/../../y"), Reason.LINK),
    "record of no length": (pax(b"0 a=b\n") + entry(b"x"), Reason.EXTENSION),
    "record without length": (pax(b"a=b\n") + entry(b"x"), Reason.EXTENSION),
    "record with a zero first": (pax(b"06 a=b\n") + entry(b"x"), Reason.EXTENSION),
    "record too long": (pax(b"99 a=b\n") + entry(b"x"), Reason.EXTENSION),
    "record too short": (pax(b"5 a=b\n") + entry(b"x"), Reason.EXTENSION),
    "record of 2**64 + 6": (pax(b"18446744073709551622 a=b\n") + entry(b"x"), Reason.EXTENSION),
    "record with a negative length": (pax(b"-6 a=b\n") + entry(b"x"), Reason.EXTENSION),
    "record without key": (pax(b"5 =b\n") + entry(b"x"), Reason.EXTENSION),
    "record without =": (pax(b"5 ab\n") + entry(b"x"), Reason.EXTENSION),
    "NUL in a key": (pax({b"a\0b": b"c"}) + entry(b"x"), Reason.EXTENSION),
    "NULs behind the records": (pax(record(b"a", b"b") + bytes(9)) + entry(b"x"), Reason.EXTENSION),
    "a key twice": (pax(record(b"path", b"a") + record(b"path", b"b")) + entry(b"x"), Reason.EXTENSION),
    "pax size, negative": (pax({b"size": b"-1"}) + entry(b"x"), Reason.EXTENSION),
    "pax size beyond 63 bits": (pax({b"size": b"9223372036854775808"}) + entry(b"x"), Reason.EXTENSION),
    "pax size, empty": (pax({b"size": b""}) + entry(b"x"), Reason.EXTENSION),
    "pax size, hexadecimal": (pax({b"size": b"0x0"}) + entry(b"x"), Reason.EXTENSION),
    "pax size of something else": (pax({b"size": b"512"}) + entry(b"x") + bytes(512), Reason.EXTENSION),
    "pax uid that chown ignores": (pax({b"uid": b"4294967295"}) + entry(b"x"), Reason.EXTENSION),
    "pax mtime": (pax({b"mtime": b"1.2.3"}) + entry(b"x"), Reason.EXTENSION),
    "pax mtime without digits": (pax({b"mtime": b"."}) + entry(b"x"), Reason.EXTENSION),
    "charset": (pax({b"hdrcharset": b"EBCDIC"}) + entry(b"x"), Reason.EXTENSION),
    "pax after pax": (pax({b"a": b"b"}) + pax({b"path": b"y"}) + entry(b"x"), Reason.EXTENSION),
    "pax after a long name": (long_text(b"y") + pax({b"path": b"z"}) + entry(b"x"), Reason.EXTENSION),
    "two long names": (long_text(b"y") + long_text(b"z") + entry(b"x"), Reason.EXTENSION),
    "a long name with more behind its NUL": (long_text(b"y\0z") + entry(b"x"), Reason.NAME),
    "global path": (pax({b"path": b"y"}, b"g") + entry(b"x"), Reason.EXTENSION),
    "global size": (pax({b"size": b"0"}, b"g") + entry(b"x"), Reason.EXTENSION),
    "global attribute": (pax({b"SCHILY.xattr.user.a": b"0"}, b"g") + entry(b"x"), Reason.EXTENSION),
    "pax before the end": (pax({b"path": b"y"}), Reason.TRUNCATED),
    "global header before the end": (pax({b"comment": b"c"}, b"g"), Reason.TRUNCATED),
    "long name before the end": (long_text(b"y"), Reason.TRUNCATED),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_C7_a_bad_header_is_refused(unpacker: Unpacker, case: str) -> None:
    """Malformed, ambiguous or unknown: an error that says which, even when what comes before is fine."""
    parts, reason = BAD_HEADERS[case]

    assert refusal(unpacker, entry(b"first", b"content"), parts) is reason


BOMBS: dict[str, tuple[bytes, Reason]] = {
    "1 GiB long name": (header(b"x", b"L", size=1 << 30, magic=GNU) + b"n" * MIB, Reason.NAME),
    "1 GiB of pax": (header(b"x", b"x", size=1 << 30) + b"1" * MIB, Reason.EXTENSION),
    "2**63 - 1 bytes of pax": (header(b"x", b"x", size=base256(2**63 - 1, 12)), Reason.EXTENSION),
    "a million pax keys": (pax(b"".join(b"13 k%06d=\n" % i for i in range(10**6))), Reason.EXTENSION),
    "a megabyte of one-letter keys": (pax(b"6 a=b\n" * (MIB // 6)) * 40, Reason.EXTENSION),
    "a record that says a gigabyte": (pax(b"1000000000 a=b\n"), Reason.EXTENSION),
    "a file of 8 EiB": (header(b"x", size=base256(2**63 - 1, 12)), Reason.TRUNCATED),
    "a file of 9 GiB in octal": (header(b"x", size=b"110000000000"), Reason.TRUNCATED),
    "a file of 9 GiB in pax": (pax({b"size": b"9663676416"}) + header(b"x"), Reason.TRUNCATED),
    "half a header": (entry(b"x") + b"y" * 100, Reason.TRUNCATED),
    "half a file": (header(b"x", size=1024) + bytes(512), Reason.TRUNCATED),
    "a file without its padding": (header(b"x", size=5) + b"12345", Reason.TRUNCATED),
}


@pytest.mark.parametrize("case", BOMBS)
def test_C7_bombs_end_soon_and_small(unpacker: Unpacker, tmp_path: Path, case: str) -> None:
    """An error at once, without memory for what a header only claims."""
    data, reason = BOMBS[case]
    idle = unpacker.unpack(END, tmp_path).accepted
    start = time.monotonic()

    outcome = unpacker.unpack(data, tmp_path)

    assert (outcome.refused, list(tmp_path.glob("k*"))) == (reason, [])
    assert time.monotonic() - start < 10
    assert outcome.memory_kib - idle.memory_kib < 4 << 10


def test_C7_global_headers_count(unpacker: Unpacker, tmp_path: Path) -> None:
    """They cannot go on for ever without an entry."""
    data = pax({b"comment": b"c"}, b"g") * 101

    outcome = unpacker.unpack(data, tmp_path, max_entries=100)

    assert (outcome.refused, outcome.entries) == (Reason.ENTRIES, 100)


# ── C8: other readers ────────────────────────────────────────────────────────────────────────────

SAMPLE = (
    directory(b"./"),
    directory(b"./d/"),
    entry(b"./d/file", b"content" * 99, mode=0o4755, mtime=1_600_000_000),
    hardlink(b"./d/link", b"./d/file"),
    symlink(b"./l", b"../d/file"),
    header(b"./null", b"3", device=(1, 3)),
    header(b"./fifo", b"6"),
)
AGREED: dict[str, bytes] = {
    "ustar": archive(*SAMPLE),
    "GNU": archive(*(seal(part[:257] + GNU + part[265:512]) + part[512:] for part in SAMPLE)),
    "V7": archive(*(seal(part[:257] + V7 + part[265:512]) + part[512:] for part in SAMPLE[:5])),
    "pax": archive(*(pax({b"mtime": b"1.5", b"path": LONG + b"%d" % at}) + part for at, part in enumerate(SAMPLE))),
    "GNU long": archive(long_text(LONG), entry(b"x", b"1"), long_text(LONG, b"K"), symlink(b"l", b"")),
    "git": archive(pax({b"comment": b"0" * 40}, b"g"), entry(b"x", b"1")),
    "old directory": archive(header(b"d/", b"\0", magic=V7)),
    "contiguous": archive(header(b"x", b"7", size=3) + padded(b"abc")),
    "sparse": archive(sparse(b"x", 9000, [(at * 100, b"1" * at) for at in range(1, 40)] + [(9000, b"")]), entry(b"y")),
    "all hole": archive(sparse(b"x", 1 << 30, []), sparse(b"z", 1 << 30, [(1 << 30, b"")])),
    "numbers": archive(header(b"x", uid=base256(70000, 8), mtime=base256(-5, 12), size=octal(3, 12)) + padded(b"abc")),
    "no end": b"".join(SAMPLE),
    "half an end": b"".join(SAMPLE) + bytes(512),
    "more behind the end": archive(*SAMPLE) + entry(b"hidden"),
    "portable": archive(header(b"x", uid=b"", gid=b"")),
    "pax link": archive(pax({b"linkpath": LONG}), symlink(b"x", b"")),
}


@pytest.mark.parametrize("case", AGREED)
def test_C8_all_readers_agree(unpacker: Unpacker, case: str) -> None:
    """What we accept, GNU tar and Python list as the same entries."""
    found = unpacker.list(AGREED[case])

    assert not isinstance(found, Refused), found
    assert (found, found) == (gnu_list(AGREED[case]), python_list(AGREED[case]))


def mutant(data: bytes, chance: random.Random) -> bytes:
    """Return an archive with something changed, most often under a right checksum."""
    changed = bytearray(data)
    at = chance.randrange(len(data) // 512) * 512
    place = at + chance.choice([chance.randrange(512), 0, 100, 108, 124, 135, 156, 157, 257, 263, 329, 345, 475])
    stretch = min(chance.choice([1, 1, 1, 12]), at + 512 - place)
    changed[place : place + stretch] = bytes([chance.choice(b"01234567xgLKSDMV/. \n=-\x80\xff\0")]) * stretch
    if chance.random() < 0.9:
        changed[at : at + 512] = seal(bytes(changed[at : at + 512]))
    return bytes(changed)


def test_C8_changed_archives_are_read_alike_or_refused(unpacker: Unpacker) -> None:
    """Whatever is changed in an archive: we refuse it, or GNU tar and Python see what we see."""
    chance = random.Random(8)
    corpus = [data for case, data in AGREED.items() if case != "more behind the end"]
    accepted = 0

    for number in range(MUTANTS):
        data = mutant(chance.choice(corpus), chance)
        found = unpacker.list(data)
        if isinstance(found, Refused):
            continue
        accepted += 1
        assert (found, found) == (gnu_list(data), python_list(data)), number

    assert MUTANTS / 4 < accepted < MUTANTS


def test_any_bytes_are_read_without_a_fault(session_directory: Path, tmp_path: Path) -> None:
    """Mutated archives through the reader alone, under sanitizers (fuzz_tar.c)."""
    sources: tuple[str | Path, ...] = (HERE / "mutate_tar.c", "fuzz_tar.c", *READER)
    program = compile_program(session_directory / "mutate_tar", sources, ["-DCK_LIBFUZZER"])
    for case, data in AGREED.items():
        (tmp_path / case).write_bytes(data)

    done = subprocess.run(
        [program, str(FUZZ_ROUNDS), "1", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
