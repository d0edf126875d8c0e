"""A5, A6: a mount's target becomes a symlink between the look and the mount (CVE-2021-30465, CVE-2024-45310)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import container_kit as ck
from tests.security.rigs import Rig, error_of, exchange, is_refusal, make_share, mount_table, record, swapping

STARTS = 15
SOAKED_STARTS = 3000

TARGETS: dict[str, Callable[[Path], ck.Mount]] = {
    "a directory": lambda _: ck.Mount.tmpfs("/share/target"),
    "a nested directory": lambda _: ck.Mount.tmpfs("/share/target/below/that"),
    "a file": lambda tmp: ck.Mount.bind(tmp / "file", "/share/target/file"),
    "a bind": lambda tmp: ck.Mount.bind(tmp / "shown", "/share/target/empty"),
}
LEADS_TO = {
    "the root": "/",
    "the host's canary": "{canary}",
    "above the root": "../../../../..{canary}",
    "proc": "/proc",
}


def prepare(tmp_path: Path, canary: Path, leads_to: str) -> Path:
    """Make a shared directory with a target and a symlink to exchange it with, and what is mounted there."""
    share = make_share(tmp_path / "share")
    make_share(share / "target")
    (share / "link").symlink_to(LEADS_TO[leads_to].format(canary=canary))
    (tmp_path / "file").write_text("shown")
    (tmp_path / "shown").mkdir()
    return share


def race(rig: Rig, share: Path, mount: ck.Mount, starts: int) -> list[str]:
    """Start containers with a mount below what is being exchanged; return their mount tables, "" for a refusal."""
    tables: list[str] = []
    mounts = [ck.Mount.bind(share, "/share"), mount]
    with swapping(rig, share, "target", "link"):
        for _ in range(starts):
            seen = len(tables)
            error = error_of(lambda: tables.append(rig.run("mounts", mounts=mounts).stdout))
            assert is_refusal(error), error
            tables.extend([""] * (seen + 1 - len(tables)))
    return tables


def assert_nothing_got_out(rig: Rig, tmp_path: Path, canary: Path, kind: str, leads_to: str, starts: int) -> None:
    """Race and compare the host with what it was."""
    share = prepare(tmp_path, canary, leads_to)
    before, mounts_before = record(canary), mount_table()

    tables = race(rig, share, TARGETS[kind](tmp_path), starts)

    assert starts == len(tables)
    assert any(tables), "no container could be started"
    assert before == record(canary)
    assert mounts_before == mount_table()
    assert not [
        line for table in tables for line in table.splitlines() if "//deleted" in line or "(unreachable)" in line
    ]


@pytest.mark.parametrize("leads_to", ["the host's canary", "above the root"])
@pytest.mark.parametrize("kind", ["a directory", "a file"])
def test_A5_a_mount_whose_target_is_swapped_with_a_symlink_stays_inside(
    rig: Rig, tmp_path: Path, canary: Path, kind: str, leads_to: str
) -> None:
    """Two containers share a directory, one exchanges the other's target: the host's mounts and files stay."""
    assert_nothing_got_out(rig, tmp_path, canary, kind, leads_to, STARTS)


@pytest.mark.parametrize("leads_to", ["above the root"])
@pytest.mark.parametrize("kind", ["a nested directory", "a bind"])
def test_A6_missing_directories_are_not_made_where_a_swapped_symlink_leads(
    rig: Rig, tmp_path: Path, canary: Path, kind: str, leads_to: str
) -> None:
    """Nothing new appears on the host outside of what is shared."""
    assert_nothing_got_out(rig, tmp_path, canary, kind, leads_to, STARTS)


@pytest.mark.soak
@pytest.mark.parametrize("kind", TARGETS)
def test_A5_A6_three_thousand_starts_stay_inside(rig: Rig, tmp_path: Path, canary: Path, kind: str) -> None:
    """The same for longer."""
    assert_nothing_got_out(rig, tmp_path, canary, kind, "above the root", SOAKED_STARTS)


@pytest.mark.parametrize("leads_to", LEADS_TO)
@pytest.mark.parametrize("kind", TARGETS)
def test_A5_A6_a_target_that_is_a_symlink_already_resolves_inside(
    rig: Rig, tmp_path: Path, canary: Path, kind: str, leads_to: str
) -> None:
    """Without a race: refused, or mounted at the place inside that the link names there."""
    share = prepare(tmp_path, canary, leads_to)
    exchange(share / "target", share / "link")
    before, mounts_before = record(canary), mount_table()

    error = error_of(lambda: rig.run("true", mounts=[ck.Mount.bind(share, "/share"), TARGETS[kind](tmp_path)]))

    assert is_refusal(error), error
    assert before == record(canary)
    assert mounts_before == mount_table()
