"""What `Security.untrusted()` makes of a config."""

from __future__ import annotations

from typing import Any

import pytest

from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.devices import parse_device
from container_kit._spec.log_config import LogConfig
from container_kit._spec.mounts import Mount
from container_kit._spec.resources import Resources
from container_kit._spec.sandbox import enclosed
from container_kit._spec.security import Security
from container_kit._spec.ulimits import Ulimit
from container_kit.errors import InvalidSpecError


def untrusted(**options: Any) -> ContainerConfig:
    """Return an untrusted container's config as it was asked for."""
    options.setdefault("security", Security.untrusted())
    return ContainerConfig(command=("true",), **options)


def test_other_profiles_change_nothing() -> None:
    """The very same config."""
    config = ContainerConfig(command=("true",))

    assert enclosed(config) is config


def test_root_becomes_read_only_with_scratch_space_of_bounded_size() -> None:
    """Three directories in memory; what fills them is bounded."""
    config = enclosed(untrusted(security=Security.untrusted(scratch="8m")))

    assert config.read_only
    assert {mount.target: mount.size_bytes for mount in config.mounts} == dict.fromkeys(
        ("/tmp", "/var/tmp", "/run"), 8 << 20
    )
    assert config.shm_size <= 16 << 20


def test_scratch_space_of_ones_own_stays() -> None:
    """A tmpfs that was asked for is not replaced."""
    own = Mount.tmpfs("/tmp", size="1m")

    config = enclosed(untrusted(mounts=(own,)))

    assert [mount for mount in config.mounts if mount.target == "/tmp"] == [own]


def test_memory_processes_and_time_are_bounded() -> None:
    """No swap beside the memory."""
    config = enclosed(untrusted(security=Security.untrusted(memory="64m", pids=9, time_limit=2)))

    assert config.resources == Resources(memory="64m", memory_swap="64m", pids=9)
    assert config.time_limit == 2


def test_limits_that_were_asked_for_win() -> None:
    """They are the caller's."""
    config = enclosed(untrusted(resources=Resources(memory="1g", memory_swap="1g", cpus=1), time_limit=5.0))

    assert config.resources == Resources(memory="1g", memory_swap="1g", cpus=1, pids=128)
    assert config.time_limit == 5.0


def test_what_is_waived_is_not_asked_of_the_host() -> None:
    """The caller said so."""
    config = enclosed(untrusted(security=Security.untrusted(waive=["memory", "pids"])))

    assert config.resources == Resources()


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("network", {"network": "host"}),
        ("mounts", {"mounts": (Mount.bind("/srv", "/srv"),)}),
        ("devices", {"devices": (parse_device("/dev/fuse"),)}),
        ("resources", {"resources": Resources(memory=-1)}),
        ("resources", {"resources": Resources(pids=-1)}),
    ],
)
def test_what_contradicts_the_promise_is_refused(field: str, options: dict[str, Any]) -> None:
    """Instead of one of the two being forgotten."""
    with pytest.raises(InvalidSpecError, match=r"Security\.untrusted\(\)") as caught:
        untrusted(**options)

    assert caught.value.field == field


def test_more_memory_brings_no_swap() -> None:
    """A bound of the caller's own is one for memory and swap together, as the sandbox's is."""
    config = enclosed(untrusted(resources=Resources(memory="1g")))

    assert config.resources == Resources(memory="1g", memory_swap="1g", pids=128)


def test_what_is_waived_may_be_unbounded() -> None:
    """The caller said so."""
    config = enclosed(untrusted(security=Security.untrusted(waive=["pids"]), resources=Resources(pids=-1)))

    assert config.resources.pids == -1


@pytest.mark.parametrize(("waive", "more"), [((), {"nproc": 128}), (("userns",), {})])
def test_each_process_is_limited(waive: tuple[Any, ...], more: dict[str, int]) -> None:
    """No core files, few descriptors; processes are counted a second time where the ids are the container's own."""
    config = enclosed(untrusted(security=Security.untrusted(waive=waive)))

    assert {"core": 0, "nofile": 1024, **more} == {limit.name: limit.hard for limit in config.ulimits}


def test_limits_of_the_callers_own_stay() -> None:
    """What is given goes before the sandbox's own figures."""
    config = enclosed(untrusted(ulimits=(Ulimit("nofile", 10), Ulimit("fsize", 5)), resources=Resources(pids=7)))

    assert {"core": 0, "nofile": 10, "fsize": 5, "nproc": 7} == {limit.name: limit.hard for limit in config.ulimits}


def test_output_is_bounded_without_asking() -> None:
    """The log of an untrusted container is the default one: a few files of a bounded size."""
    config = enclosed(untrusted())

    assert config.log == LogConfig()
    assert config.log.max_bytes * config.log.max_files <= 64 << 20


@pytest.mark.parametrize("bounds", [{"pids": 0}, {"memory": 0}, {"scratch": "0"}, {"time_limit": 0.0}])
def test_a_bound_of_nothing_is_refused(bounds: dict[str, Any]) -> None:
    """Zero means no limit to some kernels' files and no container to others."""
    with pytest.raises(InvalidSpecError):
        enclosed(untrusted(security=Security.untrusted(**bounds)))
