"""Contents of the files that a container gets in /etc: hosts, hostname, resolv.conf (hosts(5), resolv.conf(5))."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from container_kit._spec.paths import ContainerPath

HOSTS: Final = ContainerPath("/etc/hosts")
HOSTNAME: Final = ContainerPath("/etc/hostname")
RESOLV_CONF: Final = ContainerPath("/etc/resolv.conf")
ALL: Final = frozenset({HOSTS, HOSTNAME, RESOLV_CONF})

_FIXED = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def hosts_file(*, hostname: str, domainname: str = "", extra: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return /etc/hosts.

    Args:
        hostname: the container's own; it gets 127.0.1.1, as on a Debian host without a fixed address.
        domainname: makes the full name the first one of that line.
        extra: more (name, address) pairs, before the container's own name.
    """
    names = f"{hostname}.{domainname} {hostname}" if domainname else hostname
    lines = "".join(f"{address}\t{name}\n" for name, address in extra)
    return f"{_FIXED}{lines}127.0.1.1\t{names}\n".encode()


def hostname_file(hostname: str) -> bytes:
    """Return /etc/hostname."""
    return f"{hostname}\n".encode()
