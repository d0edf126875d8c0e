"""Whether the host can keep what a container's security promises; asked before anything is made.

A profile holds entirely or the container does not start. For a sandbox everything that the
host lacks is said at once, with what to do about each, and which of it a caller may waive.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from container_kit._linux import kernel
from container_kit._runtime.cgroup_places import find_missing
from container_kit._runtime.own_ids import find_lack
from container_kit._runtime.security_labels import check_labels
from container_kit._runtime.site import Site
from container_kit._spec.container_config import ContainerConfig
from container_kit.errors import UnsupportedHostError

_FEATURE = "Security.untrusted()"


@attrs.frozen(kw_only=True)
class Lack:
    """Something that a sandbox needs and this host has not; `waiver` is its name in `waive`, if it has one."""

    reason: str
    remedy: str
    waiver: str = ""


def check(site: Site, config: ContainerConfig) -> None:
    """Raise unless the host has what the config's security asks for.

    Raises:
        UnsupportedHostError: says what is missing, all of it for a sandbox.
    """
    security = config.security
    if security.apparmor is not None or security.selinux is not None:
        check_labels(security)
    if security.sandbox is None:
        lack = find_lack(site, config)
        if lack is not None:
            raise UnsupportedHostError(feature=lack.name, reason=lack.reason, hint=lack.remedy)
        return
    lacks = tuple(_lacks(site, config))
    if lacks:
        raise _refusal(lacks, security.sandbox.waived)


def _lacks(site: Site, config: ContainerConfig) -> Iterator[Lack]:
    for missing in find_missing(site, config):
        waiver = missing.controller if missing.controller in ("memory", "pids") else ""
        yield Lack(reason=missing.reason, remedy=missing.remedy, waiver=waiver)
    yield from _user_namespace(site, config)
    yield from _filters()


def _user_namespace(site: Site, config: ContainerConfig) -> Iterator[Lack]:
    lack = find_lack(site, config)
    if lack is not None:
        yield Lack(reason=lack.reason, remedy=lack.remedy, waiver="userns")


def _filters() -> Iterator[Lack]:
    if "errno" not in kernel.seccomp_actions():
        yield Lack(reason="the kernel has no system call filters", remedy="use a kernel with CONFIG_SECCOMP_FILTER")


def _refusal(lacks: tuple[Lack, ...], waived: tuple[str, ...]) -> UnsupportedHostError:
    remedies = list(dict.fromkeys(lack.remedy for lack in lacks if lack.remedy))
    waivers = tuple(dict.fromkeys(lack.waiver for lack in lacks))
    if all(waivers):
        names = ", ".join(repr(name) for name in (*waived, *waivers))
        remedies.append(f"or accept to be without: Security.untrusted(waive=[{names}])")
    return UnsupportedHostError(
        feature=_FEATURE,
        reason="; ".join(dict.fromkeys(lack.reason for lack in lacks)),
        hint="; ".join(remedies),
    )
