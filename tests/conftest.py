"""What all tests share: skips by probing the host, short temporary directories, an engine, the leak oracle."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.ledger import Ledger, take_ledger, wait_for_balance
from tests.probes import PROBES, probe_root, temporary_base
from tests.rootfs import make_rootfs

if TYPE_CHECKING:
    from container_kit.engine import Engine

TESTS = Path(__file__).parent
LEAK_CHECKED = (TESTS / "integration", TESTS / "e2e", TESTS / "security")


# ── skips ────────────────────────────────────────────────────────────────────────────────────────


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --no-skips."""
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails: this host must offer everything")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose marks ask for what the host does not have."""
    for mark in item.iter_markers():
        if mark.name in PROBES:
            reason = PROBES[mark.name](*mark.args)
            if reason:
                pytest.skip(f"{mark.name}: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn skips into failures under --no-skips."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but --no-skips is set: {report.longrepr}"
    return report


# ── directories ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def session_directory() -> Iterator[Path]:
    """Give a directory that an overlay can use and that container users can traverse; gone after the run."""
    place = Path(tempfile.mkdtemp(prefix="ckt", dir=temporary_base()))
    place.chmod(0o755)

    yield place

    remove_tree(place)


def remove_tree(place: Path) -> None:
    """Remove a directory although ids of containers own some of it."""
    if not probe_root():
        shutil.rmtree(place)
        return
    mapped = ["--map-root-user", "--map-auto"]
    for mapping in (mapped, mapped[:1]):
        command = ["unshare", "--user", *mapping, "rm", "-rf", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
    shutil.rmtree(place)


_numbers = itertools.count(1)


@pytest.fixture
def tmp_path(session_directory: Path) -> Path:
    """Give an empty directory with a short name and mode 0755, in place of pytest's own."""
    place = session_directory / str(next(_numbers))
    place.mkdir()
    place.chmod(0o755)
    return place


@pytest.fixture(scope="session")
def payload_rootfs(session_directory: Path) -> Path:
    """Give a root file system for containers: see tests/rootfs.py. Not to be written to."""
    root = session_directory / "rootfs"
    root.mkdir()
    make_rootfs(root)
    return root


# ── leaks ────────────────────────────────────────────────────────────────────────────────────────


@attrs.define
class LedgerWatch:
    """The ledger of one test, open for directories that come up during it."""

    territory: Path
    firewall: bool
    watched: list[Path]

    def watch(self, directory: Path) -> None:
        """Demand that nothing is left below this directory at the end."""
        self.watched.append(directory)

    def read(self) -> Ledger:
        """Take the ledger now."""
        return take_ledger([self.territory], self.watched, firewall=self.firewall)


@pytest.fixture(autouse=True)
def ledger(request: pytest.FixtureRequest) -> Iterator[LedgerWatch | None]:
    """Fail a test of integration, e2e or security that leaves anything behind; elsewhere do nothing."""
    if not any(place in request.path.parents for place in LEAK_CHECKED):
        yield None
        return
    territory: Path = request.getfixturevalue("session_directory")
    firewall = request.node.get_closest_marker("needs_net_admin") is not None
    watch = LedgerWatch(territory, firewall, [])
    before = watch.read()

    yield watch

    left = wait_for_balance(before, watch.read)
    if left:
        pytest.fail("\n".join(["this test changed what it should have left alone:", *left]), pytrace=False)


# ── the engine ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def engine(tmp_path: Path, ledger: LedgerWatch | None) -> Iterator[Engine]:
    """Give an engine of its own to a test; its containers are removed afterwards and must leave nothing."""
    from container_kit.container import Container
    from container_kit.engine import Engine

    engine = Engine(root=tmp_path / "s", runtime=str(tmp_path / "r"))
    if ledger is not None:
        ledger.watch(Path(engine.site.home.containers))
        ledger.watch(Path(engine.site.home.runtime))

    yield engine

    try:
        for container in Container.list(all=True, engine=engine):
            container.remove(force=True, missing_ok=True)  # one whose owner has just ended may be going by itself
    finally:
        engine.close()


@pytest.fixture(autouse=True)
def steady_umask() -> Iterator[None]:
    """Give every test the usual umask; a test may set its own, and the next must not see it."""
    before = os.umask(0o022)

    yield

    os.umask(before)
