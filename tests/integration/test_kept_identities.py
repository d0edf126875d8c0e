"""Who a user is, is remembered, and looked up again when an account file may say something else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._runtime import accounts
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit._spec.root_filesystem import OverlayLayers, RootFilesystem
from tests.e2e.worlds import run_in

ACCOUNT = "app:x:{}:0::/:/bin/sh\n"


def rewrite(file: Path, uid: int) -> None:
    """Change an account file in place so that its inode, size and modification time stay what they were."""
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # the kernel's clock advances in ticks
        file.write_text(ACCOUNT.format(uid))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns)


@pytest.mark.needs_subids
def test_a_running_container_is_looked_at_again(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """A change is seen although the file has its size and its time."""
    passwd = tmp_path / "passwd"
    passwd.write_text(ACCOUNT.format(1))
    mounts = [ck.Mount.bind(passwd, "/etc/passwd")]
    with ck.start(image, ["payload", "sleep", "1000"], mounts=mounts, engine=engine) as box:
        before = box.exec(["payload", "id"], user="app", text=True)

        rewrite(passwd, 9)

        after = box.exec(["payload", "id"], user="app", text=True)
    assert "uid=1 " in before.stdout
    assert "uid=9 " in after.stdout


@pytest.mark.parametrize("link", [False, True])
def test_a_layer_is_looked_at_again(engine: ck.Engine, tmp_path: Path, link: bool) -> None:
    """The same before a launch, also where the file's name is a symlink."""
    accounts_file = tmp_path / "layer/etc/passwd"
    accounts_file.parent.mkdir(parents=True)
    if link:
        accounts_file.symlink_to("accounts")
    accounts_file.write_text(ACCOUNT.format(1))
    lowers = (HostPath(str(tmp_path / "layer")),)
    root = RootFilesystem(overlays=(OverlayLayers(target=ContainerPath("/"), lowers=lowers),))
    before = accounts.find_identity(engine.site, "0" * 64, root, "app", ())

    rewrite(accounts_file, 9)

    after = accounts.find_identity(engine.site, "0" * 64, root, "app", ())
    assert (1, 9) == (before.uid, after.uid)


# Two processes with one pid and different roots, whose account files cannot be told apart by their stamps.
REUSED_PID = """
from types import SimpleNamespace
from container_kit._linux.processes import read_process_id
from container_kit._runtime import accounts
accounts.stamps_beneath = lambda root, paths: "the same"
site = SimpleNamespace(identities={})

def rooted(uid, pid):
    root = f"{place}/{uid}"
    os.makedirs(f"{root}/etc", exist_ok=True)
    with open(f"{root}/etc/passwd", "w") as file:
        file.write(f"app:x:{uid}:0::/:/bin/sh\\n")
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(pid - 1))
    come, said = os.pipe()
    child = os.fork()
    if child == 0:
        os.chroot(root)
        os.write(said, b"there")
        os.kill(os.getpid(), 19)
    assert b"there" == os.read(come, 5)
    assert pid == child
    return child

def end(pid):
    os.kill(pid, 9)
    os.waitpid(pid, 0)

PID = 1000
rooted(1, PID)
first = read_process_id(PID)
before = accounts.find_identity_inside(site, read_process_id(PID), "app", ()).uid
end(PID)
rooted(9, PID)
while read_process_id(PID) == first:  # start times are counted in ticks
    end(PID)
    rooted(9, PID)
after = accounts.find_identity_inside(site, read_process_id(PID), "app", ()).uid
end(PID)
print(json.dumps([before, after]))
"""


@pytest.mark.needs_userns
def test_a_reused_pid_is_another_container(tmp_path: Path, payload_rootfs: Path) -> None:
    """What is remembered of a container is not found by the pid alone."""
    world = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]

    assert [1, 9] == run_in(world, REUSED_PID, tmp_path, payload_rootfs)
