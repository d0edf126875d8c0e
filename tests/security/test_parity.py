"""Parity: what our containers are like beside those of others, each difference with its reason.

`Security.docker()` is held against crun and runc with the configuration that Docker gives them,
and against Docker where it runs; our default against Podman's. The table is printed and written to
build/parity.txt.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import pytest

import container_kit as ck
from tests.security.peers import (
    DOCKER_MASKED,
    DOCKER_READ_ONLY,
    by_docker,
    by_podman,
    by_runtime,
    by_us,
    has_docker,
    is_cover,
    raw_portrait,
    read_portrait,
)
from tests.security.rigs import Rig, existing

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.needs_tools("crun", "podman")]

REPORT = Path(__file__).parents[2] / "build" / "parity.txt"
ABSENT = "–"
PATHS = (
    *DOCKER_MASKED, *DOCKER_READ_ONLY, "/sys/fs/selinux", "/sys/kernel", "/sys/power/state", "/sys/dev/block",
    "/proc/sys/kernel/core_pattern", "/proc/self/mem",
)  # fmt: skip

_NODES = r"mount /dev/(full|null|random|tty|urandom|zero)"
_FILES = r"mount /etc/(hostname|hosts|resolv\.conf)"


@attrs.frozen
class Explanation:
    """Why something is not the same. The three patterns match as a whole: what it is about, our value, theirs."""

    about: str
    ours: str
    theirs: str
    why: str


NO_DEVICES_IN_THE_ROOT = Explanation(
    "mount /", "overlay nodev", r"(overlay|ext4|xfs|btrfs|tmpfs)", "device nodes that an image brings cannot be opened"
)
FILES_IN_MEMORY = Explanation(
    _FILES,
    "tmpfs nodev noexec nosuid",
    ".*",
    "the generated files are in the container's memory, not files of the host",
)
BOUND_NODES = Explanation(
    _NODES,
    "devtmpfs noexec nosuid ro",
    ABSENT,
    "who may make nodes gets the six of the host, in a /dev without devices",
)
NO_NODES_IN_DEV = Explanation(
    "mount /dev", "tmpfs nodev nosuid", "tmpfs nosuid", "so a node made there cannot be opened"
)
NO_CORE = Explanation("device /dev/core", ABSENT, "-> /proc/kcore", "a name for what is hidden anyway")

FOR_RUNC = (NO_DEVICES_IN_THE_ROOT, FILES_IN_MEMORY, BOUND_NODES, NO_NODES_IN_DEV)
FOR_CRUN = (*FOR_RUNC, NO_CORE)
FOR_DOCKER = FOR_RUNC
FOR_PODMAN = (
    NO_DEVICES_IN_THE_ROOT,
    FILES_IN_MEMORY,
    NO_CORE,
    Explanation(
        "limit (NOFILE|NPROC)", "the caller's", r"\d+ \d+", "set by this test: Podman's own take CAP_SYS_RESOURCE"
    ),
    Explanation(
        "mount /dev", "tmpfs nosuid", "tmpfs noexec nosuid", "as Docker: some programs map /dev/zero to execute"
    ),
    Explanation(r"mount /run/\.containerenv", ABSENT, ".+", "Podman's own mark, which tells of the engine"),
    Explanation(
        "path /proc/interrupts", "empty, null device", "contents, .*", "this Podman is older than its being hidden"
    ),
    Explanation(
        "path /sys/dev/block", "entries, read-only", "empty, read-only", "as Docker: names of devices, not contents"
    ),
    Explanation(
        r"setting /proc/sys/net/ipv4/ip_unprivileged_port_start", "0", "1024", "as Docker: nobody needs root for it"
    ),
    Explanation(
        r"setting /proc/sys/net/ipv4/ping_group_range",
        r"0\s2147483647",
        r"[01]\s0",
        "as Docker: ping without raw sockets",
    ),
    Explanation("status Groups", "0 2000", "2000", "as Docker: the primary group is among them (CVE-2022-2995)"),
    Explanation("status NoNewPrivs", "1", "0", "stricter: set-user-ID programs give nothing unless asked for"),
)
PAIRS: dict[tuple[str, str], tuple[Explanation, ...]] = {
    ("docker()", "crun"): FOR_CRUN,
    ("docker()", "runc"): FOR_RUNC,
    ("docker()", "docker"): FOR_DOCKER,
    ("default", "podman"): FOR_PODMAN,
}


@pytest.fixture
def portraits(engine: ck.Engine, image: ck.Image, own_rootfs: Path, tmp_path: Path) -> dict[str, dict[str, str]]:
    """Give what each of them made, by name; without a user namespace, as the others are."""
    rig = Rig(engine, image, "host")
    here = existing(*PATHS)
    payload = own_rootfs / "bin" / "payload"
    inherited = raw_portrait(subprocess.run([payload, "portrait"], capture_output=True, text=True, check=True).stdout)
    outputs = {
        "default": by_us(rig, ck.Security(), here),
        "docker()": by_us(rig, ck.Security.docker(), here),
        "crun": by_runtime("crun", own_rootfs, tmp_path, here),
        "podman": by_podman(own_rootfs, tmp_path, here),
    }
    if shutil.which("runc"):
        outputs["runc"] = by_runtime("runc", own_rootfs, tmp_path, here)
    if has_docker():
        outputs["docker"] = by_docker(own_rootfs, here)
    return {name: read_portrait(output, inherited) for name, output in outputs.items()}


def table(portraits: Mapping[str, Mapping[str, str]]) -> str:
    """Return a line for each name and a column for each of them."""
    names = sorted(
        {name for portrait in portraits.values() for name in portrait}, key=lambda name: (is_cover(name), name)
    )
    rows = [["", *portraits]]
    rows += [[name, *(portrait.get(name, ABSENT) for portrait in portraits.values())] for name in names]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return what is not the same: name → both values."""
    names = [name for name in sorted({*ours, *theirs}) if not is_cover(name)]
    pairs = {name: (ours.get(name, ABSENT), theirs.get(name, ABSENT)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def unexplained(found: Mapping[str, tuple[str, str]], explanations: Sequence[Explanation]) -> list[str]:
    """Return differences without a reason."""
    return [
        f"{name}: ours {ours!r}, theirs {theirs!r}"
        for name, (ours, theirs) in found.items()
        if not any(explains(one, name, ours, theirs) for one in explanations)
    ]


def unused(found: Mapping[str, tuple[str, str]], explanations: Sequence[Explanation]) -> list[str]:
    """Return reasons without a difference."""
    return [
        one.about
        for one in explanations
        if not any(explains(one, name, ours, theirs) for name, (ours, theirs) in found.items())
    ]


def explains(one: Explanation, name: str, ours: str, theirs: str) -> bool:
    """Say whether this is the reason for a difference."""
    pairs = ((one.about, name), (one.ours, ours), (one.theirs, theirs))
    return all(re.fullmatch(pattern, text) for pattern, text in pairs)


def reasons(found: Mapping[str, tuple[str, str]], explanations: Sequence[Explanation]) -> list[str]:
    """Return a line for each difference."""
    width = max((len(name) for name in found), default=0)
    return [
        f"{name.ljust(width)}  {ours} / {theirs}: {one.why}"
        for name, (ours, theirs) in found.items()
        for one in explanations
        if explains(one, name, ours, theirs)
    ]


def test_every_difference_to_other_engines_has_its_reason(portraits: dict[str, dict[str, str]]) -> None:
    """Capabilities, mounts, devices, hidden paths, limits, filter, namespaces: all the same but for what is said."""
    pairs = {pair: explanations for pair, explanations in PAIRS.items() if pair[1] in portraits}
    found = {pair: differences(portraits[pair[0]], portraits[pair[1]]) for pair in pairs}

    lines = [table(portraits)]
    for (ours, theirs), explanations in pairs.items():
        lines += ["", f"{ours} beside {theirs}:", *reasons(found[ours, theirs], explanations)]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join([*lines, ""]))
    print("\n".join(lines))

    assert {pair: [] for pair in pairs} == {pair: unexplained(found[pair], pairs[pair]) for pair in pairs}
    assert {pair: [] for pair in pairs} == {pair: unused(found[pair], pairs[pair]) for pair in pairs}


def test_what_nobody_has_a_reason_for_is_found() -> None:
    """The comparison itself: a difference without a reason, and a reason without a difference."""
    found = differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"})
    reason = Explanation("c", ABSENT, "4", "it is known")

    assert ["b: ours '2', theirs '3'"] == unexplained(found, [reason])
    assert ["d"] == unused(found, [reason, Explanation("d", "1", "2", "it was once")])
