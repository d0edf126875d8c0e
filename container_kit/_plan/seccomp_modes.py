"""Which system call filter a container gets: one of ours, one from a file, or none."""

from __future__ import annotations

from typing import assert_never

from container_kit._plan.ops import FlaggedSeccomp, Seccomp
from container_kit._plan.seccomp import SeccompProfile, compile_seccomp, supported_machines
from container_kit._plan.seccomp_profiles import DEFAULT_PROFILE, DOCKER_PROFILE, STRICT_PROFILE
from container_kit._spec.facts import HostFacts
from container_kit._spec.security import SeccompFile, SeccompMode, Security
from container_kit.errors import UnsupportedHostError


def filter_steps(security: Security, facts: HostFacts) -> tuple[Seccomp | FlaggedSeccomp, ...]:
    """Return the step that installs the filter, if there is to be one.

    Raises:
        InvalidSpecError: a profile from a file makes no sense.
        UnsupportedHostError: there are no filters for this machine.
    """
    profile = _profile_of(security.seccomp)
    if profile is None:
        return ()
    if facts.machine not in supported_machines():
        known = " and ".join(sorted(supported_machines()))
        reason = f"there are filters for {known} only, this is {facts.machine}"
        raise UnsupportedHostError(feature="seccomp", reason=reason, hint="Security(seccomp='unconfined')")
    program = compile_seccomp(profile, machine=facts.machine, capabilities=security.capabilities, kernel=facts.kernel)
    return (FlaggedSeccomp(program=program, flags=profile.flags) if profile.flags else Seccomp(program=program),)


def _profile_of(seccomp: SeccompMode | SeccompFile) -> SeccompProfile | None:
    match seccomp:
        case SeccompFile():
            from container_kit._plan.seccomp_json import parse_seccomp  # few containers bring their own

            return parse_seccomp(seccomp.text, seccomp.path)
        case SeccompMode.DEFAULT:
            return DEFAULT_PROFILE
        case SeccompMode.DOCKER:
            return DOCKER_PROFILE
        case SeccompMode.STRICT:
            return STRICT_PROFILE
        case SeccompMode.UNCONFINED:
            return None
        case _:
            assert_never(seccomp)
