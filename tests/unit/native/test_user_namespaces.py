"""A user namespace for one container, id-mapped layers, and the process that goes on (ops_userns.c, ops_overlay.c)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from container_kit._plan.ops import (
    EnterUserNamespace,
    MakeUserNamespace,
    Namespace,
    NewMappedOverlay,
    OpenTree,
    Pivot,
    RaiseLimit,
    Rlimit,
    SlotTarget,
    Step,
)
from container_kit._spec.facts import OverlayForm
from container_kit._spec.paths import HostPath
from tests.unit.native.harness import SIX, Driver, Launch, attach, proc, run_payload

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_idmapped_mounts]

NAMESPACE = 9
MAP = b"0 600000 65536\n"
OTHERS = 70000  # an id that has no place in the map
RLIMIT_MSGQUEUE = 12


def mapped(rootfs: Path, *, form: OverlayForm = OverlayForm.FD, map_lowers: bool = True) -> NewMappedOverlay:
    """Return the step that makes the root, of two layers."""
    empty = rootfs.parent / "empty"
    empty.mkdir(exist_ok=True)
    lowers = (HostPath(str(empty)), HostPath(str(rootfs)))
    return NewMappedOverlay(
        slot=0, lowers=lowers, upper="upper", work="work", form=form, namespace=NAMESPACE, map_lowers=map_lowers
    )


def run(driver: Driver, *first: Step, end: tuple[Step, ...]) -> Launch:
    """Run a plan in two stages: the namespace, these steps, and what comes inside."""
    made = MakeUserNamespace(slot=NAMESPACE, uid_map=MAP, gid_map=MAP)
    entered = EnterUserNamespace(slot=NAMESPACE, namespaces=SIX)
    return driver.run(
        (made, *first, entered, proc(), Pivot(slot=0), attach(1, "/proc"), *end), namespaces=Namespace.MOUNT
    )


@pytest.mark.parametrize("form", list(OverlayForm))
def test_what_root_inside_writes_is_roots_on_disk(driver: Driver, payload_rootfs: Path, form: OverlayForm) -> None:
    """In every form; what is in the layers belongs to root inside as well."""
    launch = run(driver, mapped(payload_rootfs, form=form), end=run_payload("write", "/etc/passwd", "text"))
    seen = run(driver, mapped(payload_rootfs, form=form), end=run_payload("stat", "/bin/payload", "/etc/passwd"))

    written = driver.directory / "upper/etc/passwd"
    assert (0, 0) == (launch.state, launch.joined_status)
    assert ("text", 0) == (written.read_text(), written.stat().st_uid)
    assert [["0", "0"], ["0", "0"]] == [line.split()[2:4] for line in seen.lines]


def test_ids_beyond_the_map_and_lowers_that_are_not_mapped_are_nobodys(driver: Driver, own: Path) -> None:
    """Root inside has no power over what belongs to nobody."""
    os.chown(own / "etc/group", OTHERS, OTHERS)

    launch = run(driver, mapped(own), end=run_payload("stat", "/etc/group", "/etc/passwd"))
    unmapped = run(driver, mapped(own, map_lowers=False), end=run_payload("open", "w", "/etc/passwd"))

    assert [["65534", "65534"], ["0", "0"]] == [line.split()[2:4] for line in launch.lines]
    assert "EACCES\n" == unmapped.stdout


@pytest.fixture
def own(payload_rootfs: Path, tmp_path: Path) -> Path:
    """Give a directory with the files of the payload that these tests look at."""
    place = tmp_path / "own"
    for name in ("bin/payload", "etc/passwd", "etc/group"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes((payload_rootfs / name).read_bytes())
        (place / name).chmod((payload_rootfs / name).stat().st_mode)
    (place / "proc").mkdir()
    return place


def test_mount_points_are_made_beneath_the_tree_only(driver: Driver, own: Path, tmp_path: Path) -> None:
    """A symlink of the tree leads nowhere else; what is there stays as it is."""
    (own / "out").symlink_to(tmp_path / "outside")
    tree = OpenTree(slot=0, source=HostPath(str(own)), recursive=False)
    targets = [
        SlotTarget(slot=0, path=path, directory=directory)
        for path, directory in (("/made", True), ("/out/of/it", True), ("/a/file", False), ("/etc/passwd", False))
    ]

    launch = run(driver, tree, *targets, end=run_payload("true"))

    assert (0, 0) == (launch.state, launch.joined_status)
    assert not (tmp_path / "outside").exists()
    assert (own / f"{tmp_path}/outside/of/it".lstrip("/")).is_dir()
    assert (own / "made").is_dir()
    assert ((own / "a/file").read_bytes(), (own / "etc/passwd").stat().st_size > 0) == (b"", True)


def test_a_limit_is_raised_where_it_is_lower(driver: Driver, payload_rootfs: Path) -> None:
    """The hard one only; a higher one stays. To raise it takes CAP_SYS_RESOURCE, so here it is lowered first."""
    first = Rlimit(resource=RLIMIT_MSGQUEUE, soft=1000, hard=2000)
    steps = (first, RaiseLimit(resource=RLIMIT_MSGQUEUE, hard=1500), RaiseLimit(resource=RLIMIT_MSGQUEUE, hard=2000))

    launch = run(driver, mapped(payload_rootfs), *steps, end=run_payload("rlimit", str(RLIMIT_MSGQUEUE)))

    assert ["1000 2000"] == launch.lines


@pytest.mark.parametrize("text", [b"", b"nonsense", b"0 0 0\n", b"0 600000 65536\n1 700000 5\n"])
def test_a_map_that_the_kernel_refuses_is_an_error(driver: Driver, text: bytes) -> None:
    """And nothing waits for it for ever."""
    launch = driver.run((MakeUserNamespace(slot=1, uid_map=text, gid_map=MAP),), namespaces=Namespace.MOUNT)

    assert (0, errno.EINVAL) == (launch.step, launch.error)
