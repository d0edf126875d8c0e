"""Law: a CDI document is a specification or an ImageError, whatever is in it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from container_kit._spec.cdi import parse_cdi
from container_kit.errors import ImageError

KEYS = (
    "env deviceNodes mounts hooks additionalGids path hostPath containerPath type major minor permissions options "
    "hookName args timeout uid gid fileMode intelRdt netDevices name unknown"
).split()
scalars = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    | st.sampled_from(["/dev/x", "/x", "c", "b", "rw", "ro", "A=1", "/dev/../x"])
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
)


def record(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects that have some of these fields, and sometimes another value in one of them."""
    return st.fixed_dictionaries({}, optional={key: value | values for key, value in fields.items()})


paths = st.sampled_from(["/dev/a", "/dev/b/c", "/lib", "/dev", "x", ""])
nodes = record(
    path=paths, hostPath=paths, type=st.sampled_from("cbup"), major=st.integers(0, 9), permissions=st.just("rw")
)
mounts = record(hostPath=paths, containerPath=paths, options=st.lists(st.sampled_from(["ro", "bind", "rslave", "x"])))
edits = record(
    env=st.lists(st.sampled_from(["A=1", "B=", "C", "=D"])),
    deviceNodes=st.lists(nodes, max_size=3),
    mounts=st.lists(mounts, max_size=3),
    hooks=st.lists(record(hookName=st.just("x"), path=paths), max_size=2),
    additionalGids=st.lists(st.integers(0, 2**33), max_size=3),
)
devices = st.lists(record(name=st.sampled_from(["0", "a.b", "-"]), containerEdits=edits), max_size=3)
documents = record(
    cdiVersion=st.just("0.6.0"), kind=st.just("vendor.com/card"), devices=devices, containerEdits=edits
)  # fmt: skip


@given(documents | values)
def test_a_document_is_read_or_refused(document: object) -> None:
    """No other error comes out of it, and what is read is within bounds."""
    try:
        parsed = parse_cdi(document, what="x.json")
    except ImageError:
        return

    every = [parsed.edits, *parsed.devices.values()]
    assert all(node.target.startswith("/dev/") for one in every for node in one.devices)
