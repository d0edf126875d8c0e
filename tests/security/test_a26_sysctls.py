"""A26: a kernel parameter of the host is set by way of a container (CVE-2022-0811, GHSA-w2j5-3rcx-vx7x)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from container_kit import errors
from tests.security.rigs import Rig

SYSCTLS = {
    "net.ipv4.ip_default_ttl": "42",
    "kernel.msgmax": "4242",
    "fs.mqueue.msg_max": "8",
}
# What other processes of the machine change all the time, and what is another value at each reading.
MOVING = (
    "fs/dentry-state", "fs/file-nr", "fs/inode-nr", "fs/inode-state", "fs/aio-nr", "fs/pipe-user-pages", "fs/quota",
    "kernel/ns_last_pid", "kernel/pty/nr", "kernel/random", "kernel/tainted", "net/netfilter/nf_conntrack_count",
    "kernel/perf_event_max_sample_rate", "net/ipv4/tcp_fastopen_key", "user/", "kernel/keys", "vm/stat_refresh",
    "vm/compact_memory", "vm/drop_caches", "net/ipv4/route/flush", "net/ipv6/route/flush", "fs/binfmt_misc",
)  # fmt: skip
REFUSED = {
    "kernel.core_pattern": "|/bin/evil",
    "kernel.modprobe": "/bin/evil",
    "kernel.hotplug": "/bin/evil",
    "kernel.hostname": "evil",
    "kernel.panic": "1",
    "kernel.shmall.core_pattern": "1",
    "vm.overcommit_memory": "1",
    "fs.file-max": "1",
    "user.max_user_namespaces": "0",
    "dev.tty.legacy_tiocsti": "1",
    "net": "1",
    "net/../kernel/core_pattern": "|/bin/evil",
    "net.ipv4/../../kernel/core_pattern": "|/bin/evil",
    "net.ipv4...kernel.core_pattern": "1",
    "/proc/sys/kernel/core_pattern": "|/bin/evil",
    "net.core.somaxconn=1\nkernel.core_pattern": "|/bin/evil",
    "net.core.somaxconn+kernel.core_pattern": "|/bin/evil",
    "net.core.somaxconn ": "1",
    "": "1",
}
BAD_VALUES = ("1\nkernel.core_pattern=|/bin/evil", "1\0")


def dump() -> dict[str, bytes]:
    """Return every parameter of the host that can be read and does not move by itself."""
    found: dict[str, bytes] = {}
    for directory, _, names in os.walk("/proc/sys"):
        for name in names:
            path = f"{directory}/{name}"
            if not path.removeprefix("/proc/sys/").startswith(MOVING):
                found[path] = read(path)
    return found


def read(path: str) -> bytes:
    """Return a parameter's value, empty where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def test_A26_a_containers_parameters_are_its_own_and_the_hosts_stay(rig: Rig) -> None:
    """Set in its namespaces before its command runs; a dump of the host's is the same before, meanwhile and after."""
    before = dump()
    box = rig.start(sysctls=SYSCTLS)

    inside = {name: box.exec(["payload", "sysctl", name], text=True).stdout.strip() for name in SYSCTLS}
    meanwhile = dump()
    box.remove(force=True)

    assert SYSCTLS == inside
    assert before == meanwhile
    assert before == dump()


def test_A26_a_parameter_of_the_host_is_refused(rig: Rig) -> None:
    """Before anything starts; paths, separators and near misses too."""
    for name, value in REFUSED.items():
        with pytest.raises(errors.InvalidSpecError) as caught:
            rig.run("true", sysctls={name: value})

        assert "sysctls" in caught.value.field, name


def test_A26_a_value_with_a_separator_is_refused(rig: Rig) -> None:
    """It could be read as two."""
    for value in BAD_VALUES:
        with pytest.raises(errors.InvalidSpecError):
            rig.run("true", sysctls={"net.core.somaxconn": value})


def test_A26_parameters_of_a_shared_namespace_are_refused(rig: Rig) -> None:
    """With the host's network, net.* is the host's."""
    with pytest.raises(errors.InvalidSpecError) as caught:
        rig.run("true", sysctls={"net.core.somaxconn": "1"}, network="host")

    assert "would change the host" in caught.value.reason
