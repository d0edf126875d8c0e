"""The directory layout, and whose directories are trusted."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from container_kit._state.home import Home, find_runtime_parent, make_private
from container_kit.errors import InvalidSpecError, RootDirectoryError

ID = "ab" * 32
BOOT = "12345678-9abc-def0-1234-56789abcdef0"


def home_in(path: Path, *, boot_id: str = BOOT) -> Home:
    """Return a home with both directories below `path`."""
    return Home.at(str(path / "root"), boot_id=boot_id, runtime_parent=str(path / "run"))


def test_paths_are_those_of_the_design(tmp_path: Path) -> None:
    """One place knows them, the documents describe them."""
    home = home_in(tmp_path)
    root, runtime = f"{tmp_path}/root", str(home.runtime)

    assert f"{root}/state.sqlite" == home.database
    assert f"{root}/containers/{ID}" == home.container_dir(ID)
    assert f"{root}/containers/{ID}/log" == home.log_file(ID)
    assert f"{root}/layers" == home.layers
    assert f"{root}/layers/sha256-{ID}" == home.layer_dir(f"sha256:{ID}")
    assert f"{root}/images" == home.images
    assert f"{root}/ingest" == home.ingest
    assert f"{root}/locks/remove" == home.lock_file("remove")
    assert f"{runtime}/{ID}" == home.container_runtime_dir(ID)
    assert f"{runtime}/{ID}/state" == home.state_file(ID)
    assert f"{runtime}/{ID}/control.sock" == home.control_socket(ID)


def test_runtime_directory_is_named_after_root_and_boot(tmp_path: Path) -> None:
    """After a reboot another one is used; dashes in the boot's id do not matter."""
    home = home_in(tmp_path)
    digest = hashlib.sha256(f"{tmp_path}/root".encode()).hexdigest()[:16]

    assert f"{tmp_path}/run/{digest}-12345678" == home.runtime
    assert home == home_in(tmp_path, boot_id=BOOT.replace("-", ""))
    assert home.runtime != home_in(tmp_path, boot_id="f" * 32).runtime


def test_two_names_of_one_root_are_one_home(tmp_path: Path) -> None:
    """A symlink to the root leads to the same runtime directory."""
    (tmp_path / "root").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "root")

    through = Home.at(str(tmp_path / "link"), boot_id=BOOT, runtime_parent=str(tmp_path / "run"))

    assert home_in(tmp_path) == through


@pytest.mark.parametrize("container", ["", "..", "../" + "a" * 61, "web", "A" * 64])
def test_nothing_but_an_id_becomes_part_of_a_path(tmp_path: Path, container: str) -> None:
    """Otherwise `..` would be a container."""
    with pytest.raises(InvalidSpecError):
        home_in(tmp_path).container_dir(container)
    with pytest.raises(InvalidSpecError):
        home_in(tmp_path).container_runtime_dir(container)


@pytest.mark.parametrize("umask", [0o000, 0o777, 0o022])
def test_directories_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Only the owner may enter; making them twice is fine."""
    home = home_in(tmp_path)

    before = os.umask(umask)
    try:
        home.make()
        home.make()
    finally:
        os.umask(before)

    made = [
        home.root,
        home.containers,
        home.layers,
        home.images,
        home.ingest,
        home.locks,
        os.path.dirname(home.runtime),
        home.runtime,
    ]
    assert {0o40700} == {os.stat(path).st_mode for path in made}


def test_symlink_in_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    """Somebody else may have put it there to have us write elsewhere."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "victim")

    with pytest.raises(RootDirectoryError, match="not a directory"):
        home_in(tmp_path).make()

    assert [] == list((tmp_path / "victim").iterdir())


def test_file_in_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    """The error names the path."""
    (tmp_path / "root").write_text("")

    with pytest.raises(RootDirectoryError) as caught:
        home_in(tmp_path).make()

    assert f"{tmp_path}/root" == caught.value.path


def test_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    """Others could exchange what is in it."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o777)

    with pytest.raises(RootDirectoryError, match="0777") as caught:
        home_in(tmp_path).make()

    assert "chmod" in (caught.value.hint or "")


@pytest.mark.needs_root
def test_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    """In /tmp anybody can be first."""
    planted = tmp_path / "run"
    planted.mkdir(mode=0o700)
    os.chown(planted, 12345, 12345)

    with pytest.raises(RootDirectoryError, match="12345"):
        home_in(tmp_path).make()


def test_impossible_place_is_a_typed_error(tmp_path: Path) -> None:
    """Below a file there are no directories."""
    (tmp_path / "file").write_text("")

    with pytest.raises(RootDirectoryError, match="cannot be made"):
        make_private(str(tmp_path / "file" / "below"))
    with pytest.raises(RootDirectoryError, match="cannot be made"):
        Home.at(str(tmp_path / "file" / "a" / "b"), boot_id=BOOT, runtime_parent=str(tmp_path)).make()


def test_runtime_parent_is_the_users_own(tmp_path: Path) -> None:
    """Root's is in /run, a user's below XDG_RUNTIME_DIR if that is really theirs."""
    me = os.geteuid() or 54321
    theirs = str(tmp_path)

    assert find_runtime_parent(0, theirs) == "/run/container_kit"
    assert find_runtime_parent(me, "relative") == f"/tmp/container_kit-{me}"
    assert find_runtime_parent(me, str(tmp_path / "missing")) == f"/tmp/container_kit-{me}"
    if os.geteuid() == 0:
        os.chown(tmp_path, me, me)
    assert find_runtime_parent(me, theirs) == f"{theirs}/container_kit"
    assert find_runtime_parent(me + 1, theirs) != f"{theirs}/container_kit"
