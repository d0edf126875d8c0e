"""The two halves of the wire of ck-files agree: `_native/files.h` and `container_kit/_files/messages.py`."""

from __future__ import annotations

import re
import struct

import pytest

from container_kit._files import messages
from container_kit._files.messages import ArchiveFault, BadReplyError, FileFlag, FileOp, Reply, Request
from container_kit._linux import shim
from tests.unit.native.harness import NATIVE

HEADER = (NATIVE / "files.h").read_text(encoding="utf-8")


def test_ops_have_the_same_numbers() -> None:
    """Every op of the header is in Python, and no other."""
    wanted = {name: int(code) for name, code in re.findall(r"^\s*X\((\w+), (\d+)\)", HEADER, re.MULTILINE)}

    assert wanted == {op.name: op.value for op in FileOp}


def test_flags_have_the_same_numbers() -> None:
    """Every flag of the header is in Python, and no other."""
    wanted = {name: int(code, 16) for name, code in re.findall(r"^\s*CK_FILE_(\w+) = (0x\w+)", HEADER, re.MULTILINE)}

    assert wanted == {flag.name: flag.value for flag in FileFlag}


def test_reasons_have_the_same_numbers_and_words() -> None:
    """Every reason to refuse an archive is in Python and can be told to people."""
    wanted = {name: int(code) for name, code in re.findall(r"^\s*CK_TAR_(\w+) = (\d+)", HEADER, re.MULTILINE)}

    assert wanted == {fault.name: fault.value for fault in ArchiveFault}
    assert set(ArchiveFault) - {ArchiveFault.OK, ArchiveFault.SYSTEM} == set(messages.FAULTS)


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        (messages.REQUEST, "CK_SIZE_OF_FILE_REQUEST"),
        (messages.REPLY, "CK_SIZE_OF_FILE_REPLY"),
        (messages.STATUS, "CK_SIZE_OF_FILE_STATUS"),
    ],
)
def test_structs_have_the_same_size(layout: struct.Struct, name: str) -> None:
    """What the compiler makes of a struct is what Python packs."""
    assert shim.constant(name) == layout.size


def test_limits_are_the_same() -> None:
    """Sizes and special values are those of the header."""
    wanted = {
        "CK_FILE_MAX_PATH": messages.MAX_PATH,
        "CK_FILE_MAX_TEXT": messages.MAX_TEXT,
        "CK_FILE_ANY_TIME": messages.ANY_TIME,
        "CK_REPLY_MORE": messages.MORE,
    }

    assert wanted == {name: shim.constant(name) for name in wanted}


def test_fields_are_in_the_order_of_the_header() -> None:
    """A request and a reply, field by field."""
    request = Request(op=FileOp.PACK, flags=FileFlag.LAYER, a=1, b=2, c=3, d=4, path=b"p", other=b"")
    reply = struct.pack("=iIIIIIQQQ", 5, 6, 7, 2, 8, 0, 9, 10, 11) + b"xy"

    assert struct.pack("=IIQQQQII", 14, 0x10, 1, 2, 3, 4, 2, 1) + b"p\0\0" == request.encode()
    assert Reply(error=5, reason=6, flags=7, step=8, a=9, b=10, c=11, text=b"xy") == Reply.decode(reply)
    with pytest.raises(BadReplyError):
        Reply.decode(reply + b"z")
