"""Story: a container is given devices of the host, and has no others."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path
from typing import Literal, Unpack

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._linux.device_nodes import find_all_nodes
from container_kit._spec.options import ContainerOptions

# A node that every host has; and the number of one that is nobody's (devices.txt: experimental use), so that
# opening it says ENXIO when the filter lets it pass.
KMSG = "/dev/kmsg"
NOBODY, ALLOWED, REFUSED = (60, 1), "ENXIO", "EPERM"


@pytest.fixture
def node(tmp_path: Path) -> str:
    """Give a device of the host."""
    os.mknod(tmp_path / "node", 0o666 | stat.S_IFCHR, os.makedev(*NOBODY))
    return f"{tmp_path}/node:/dev/node"


def shell(engine: ck.Engine, host: ck.Image, script: str, **options: Unpack[ContainerOptions]) -> str:
    """Return what a script in a container prints."""
    done = ck.run(host, ["sh", "-c", script], engine=engine, text=True, **options)
    return done.stdout + done.stderr


def number(info: os.stat_result) -> str:
    """Return the number of a device as stat(1) prints it."""
    return f"{os.major(info.st_rdev):x}:{os.minor(info.st_rdev):x}"


def test_a_device_is_shown_by_its_name_or_another(engine: ck.Engine, image: ck.Image) -> None:
    """In /dev, with directories made as needed; an exec sees the same."""
    box = ck.start(image, ["payload", "sleep", "99"], devices=[KMSG, f"{KMSG}:/dev/logs/kernel:rw"], engine=engine)
    info = os.stat(KMSG)
    here = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"

    shown = box.exec(["payload", "stat", KMSG, "/dev/logs/kernel"], text=True).stdout.splitlines()

    assert ["char", "char"] == [line.split()[0] for line in shown]
    assert [here, here] == [line.split()[5] for line in shown]


@pytest.mark.needs_root
def test_a_device_can_be_opened_at_first_and_after_each_start(engine: ck.Engine, image: ck.Image, node: str) -> None:
    """By the container's command, by an exec, after a restart by the monitor and after another start."""
    looks = ["payload", "open", "r", "/dev/node"]
    box = ck.start(image, looks, devices=[node], restart="on-failure:1", detach=True, engine=engine)
    box.wait()
    box.start()
    box.wait()
    sleeper = ck.start(image, ["payload", "sleep", "99"], devices=[node], engine=engine)

    logged = [line.text for line in box.logs()]
    executed = sleeper.exec(looks, text=True).stdout

    assert [ALLOWED] * 4 == logged
    assert f"{ALLOWED}\n" == executed


@pytest.mark.needs_root
@pytest.mark.needs_device_filters
@pytest.mark.parametrize("userns", ["host", pytest.param("auto", marks=pytest.mark.needs_idmapped_mounts)])
@pytest.mark.parametrize(
    ("access", "answers"),
    [("r", [ALLOWED, REFUSED]), ("w", [REFUSED, ALLOWED]), ("m", [REFUSED, REFUSED]), ("rw", [ALLOWED, ALLOWED])],
)
def test_access_is_what_was_given(
    engine: ck.Engine, image: ck.Image, node: str, access: str, answers: list[str], userns: Literal["host", "auto"]
) -> None:
    """Held by the device filter; the mode of the node would let everybody do more."""
    os.chmod(node.partition(":")[0], 0o666)
    given, security = [f"{node}:{access}"], ck.Security(userns=userns)
    box = ck.start(image, ["payload", "sleep", "99"], devices=given, security=security, engine=engine)

    said = [box.exec(["payload", "open", mode, "/dev/node"], text=True).stdout.strip() for mode in "rw"]

    assert answers == said


@pytest.mark.needs_root
def test_the_host_keeps_its_node_as_it_is(engine: ck.Engine, host: ck.Image) -> None:
    """Root in the container can neither change its mode nor its owner: the inode is the host's."""
    before = os.stat(KMSG)

    said = shell(engine, host, f"chmod 777 {KMSG}; chown 1:1 {KMSG}; rm {KMSG}; echo over", devices=[KMSG])

    after = os.stat(KMSG)
    assert said.count("Read-only file system") == 2
    assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)


@pytest.mark.needs_root
def test_a_directory_stands_for_all_devices_below_it(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """As for /dev/dri: with its subdirectories, and without what is no device itself."""
    cards = tmp_path / "cards"
    (cards / "by-path").mkdir(parents=True)
    (cards / "README").write_text("no device")
    (cards / "link").symlink_to("card0")
    for name, minor in (("card0", 3), ("by-path/card1", 5)):
        os.mknod(cards / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    command = ["payload", "stat", "/dev/cards/card0", "/dev/cards/by-path/card1"]

    shown = ck.run(image, command, devices=[f"{cards}:/dev/cards"], engine=engine, text=True).stdout
    listed = ck.run(image, ["payload", "ls", "/dev/cards"], devices=[f"{cards}:/dev/cards"], engine=engine, text=True)

    assert ["1:3", "1:5"] == [line.split()[5] for line in shown.splitlines()]
    assert ["by-path", "card0"] == listed.stdout.split()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/dev/no-such-device", "no such file"),
        ("/etc/passwd:/dev/x", "is no device"),
        ("/proc/self/fdinfo:/dev/x", "is a directory without devices"),
        ("/etc/passwd", "must be shown below /dev"),
        (f"{KMSG}:/etc/kmsg", "must be shown below /dev"),
        (f"{KMSG}:rx", "access must be some of"),
    ],
)
def test_what_is_no_device_is_refused(engine: ck.Engine, image: ck.Image, name: str, reason: str) -> None:
    """Before anything is made, and the error names it."""
    with pytest.raises(errors.InvalidSpecError, match=reason) as refusal:
        ck.Container.create(image, ["payload", "true"], devices=[name], engine=engine)

    assert "devices" == refusal.value.field


def test_a_device_that_went_away_is_missed_at_the_next_start(
    engine: ck.Engine, image: ck.Image, tmp_path: Path
) -> None:
    """Its name is looked up at each start, so that what has another number after a boot is found."""
    link = tmp_path / "device"
    link.symlink_to(KMSG)
    command = ["payload", "stat", "/dev/x"]
    box = ck.Container.create(image, command, devices=[f"{link}:/dev/x"], detach=True, engine=engine)
    link.unlink()

    with pytest.raises(errors.InvalidSpecError, match="no such file"):
        box.start()
    link.symlink_to("/dev/zero")
    box.start()
    box.wait()

    assert "1:5" in next(iter(box.logs())).text.split()


@pytest.mark.needs_user
def test_a_user_cannot_be_given_less_than_reading_and_writing(engine: ck.Engine, image: ck.Image) -> None:
    """Nothing but a device filter could hold that, and a user has none: refused, not ignored."""
    with pytest.raises(errors.UnsupportedHostError, match="access 'r' to a device"):
        ck.run(image, ["payload", "true"], devices=[f"{KMSG}:r"], engine=engine)


def test_a_privileged_container_has_every_device_of_the_host(engine: ck.Engine, host: ck.Image) -> None:
    """For root all of them, as nodes of its own; for a user those that it can open."""
    security = ck.Security.privileged()
    nodes = ["/dev/null", *(node.source for node in find_all_nodes("caller" if os.geteuid() else "root"))]

    said = shell(engine, host, f"stat -c '%f %t:%T %n' {' '.join(nodes)}", security=security)

    expected = {(f"{info.st_mode:x}", number(info), node) for node in nodes for info in [os.stat(node)]}
    shown = {tuple(line.split()) for line in said.splitlines()}
    assert expected == shown


@pytest.mark.needs_root
def test_a_privileged_container_can_open_them(engine: ck.Engine, host: ck.Image) -> None:
    """There is no filter, and nodes it makes itself can be opened; removing one there leaves the host's."""
    script = f"mknod /dev/own c {NOBODY[0]} {NOBODY[1]}; true </dev/own; rm {KMSG} && echo removed"

    said = shell(engine, host, script, security=ck.Security.privileged())

    assert "No such device or address" in said
    assert said.startswith("removed\n")
    assert Path(KMSG).is_char_device()


@pytest.mark.needs_root
def test_a_device_of_a_vendor_brings_what_its_specification_says(
    engine: ck.Engine, image: ck.Image, node: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A CDI name among the devices: node, mount, variable and group; hooks are not run, and that is said."""
    (tmp_path / "library").write_text("of the vendor")
    document = {
        "cdiVersion": "0.7.0",
        "kind": "vendor.test/card",
        "devices": [
            {
                "name": "0",
                "containerEdits": {"deviceNodes": [{"path": "/dev/card0", "hostPath": node.partition(":")[0]}]},
            }
        ],
        "containerEdits": {
            "env": ["CARDS=1"],
            "mounts": [{"hostPath": str(tmp_path / "library"), "containerPath": "/lib/card", "options": ["ro"]}],
            "hooks": [{"hookName": "createContainer", "path": "/bin/vendor", "args": ["vendor", "update-cache"]}],
            "additionalGids": [4321],
        },
    }
    (tmp_path / "cdi").mkdir()
    (tmp_path / "cdi/vendor.json").write_text(json.dumps(document))
    engine.site.cdi_directories = (str(tmp_path / "cdi"),)

    with caplog.at_level(logging.WARNING, logger="container_kit.cdi"):
        box = ck.start(image, ["payload", "sleep", "99"], devices=["vendor.test/card=0"], engine=engine)
    opened = box.exec(["payload", "open", "r", "/dev/card0"], text=True).stdout
    read = box.exec(["payload", "cat", "/lib/card"], text=True).stdout
    variable = box.exec(["payload", "env", "CARDS"], text=True).stdout
    groups = ck.run(image, ["payload", "id"], devices=["vendor.test/card=0"], engine=engine, text=True).stdout

    assert (f"{ALLOWED}\n", "of the vendor") == (opened, read)
    assert "1" in variable
    assert "4321" in groups
    assert "/bin/vendor update-cache" in caplog.text
