r"""Containers as a library: images, containers, volumes and networks without a daemon or root.

    >>> import container_kit as ck
    >>> ck.run(ck.Image.host(), ["echo", "hello"], text=True).stdout
    'hello\n'

Names are loaded when they are first used, so importing this package costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for True; importing typing would cost more than all the rest
if TYPE_CHECKING:
    from container_kit import errors as errors
    from container_kit import wait as wait
    from container_kit._images.describe import HistoryItem as HistoryItem
    from container_kit._images.describe import ImageInspection as ImageInspection
    from container_kit._images.removal import ImageUsage as ImageUsage
    from container_kit._images.removal import Pruned as Pruned
    from container_kit._registry.results import SearchResult as SearchResult
    from container_kit._runtime.logs import LogLine as LogLine
    from container_kit._runtime.top import ProcessInfo as ProcessInfo
    from container_kit._spec.capability import Capability as Capability
    from container_kit._spec.devices import Device as Device
    from container_kit._spec.events import Event as Event
    from container_kit._spec.healthcheck import Healthcheck as Healthcheck
    from container_kit._spec.healthcheck import RestartPolicy as RestartPolicy
    from container_kit._spec.image_config import ImageConfig as ImageConfig
    from container_kit._spec.log_config import LogConfig as LogConfig
    from container_kit._spec.mounts import Mount as Mount
    from container_kit._spec.options import ContainerOptions as ContainerOptions
    from container_kit._spec.options import ProcessOptions as ProcessOptions
    from container_kit._spec.platform import Platform as Platform
    from container_kit._spec.progress import Progress as Progress
    from container_kit._spec.registries import Mirror as Mirror
    from container_kit._spec.registries import Registries as Registries
    from container_kit._spec.resources import Resources as Resources
    from container_kit._spec.security import SeccompMode as SeccompMode
    from container_kit._spec.security import Security as Security
    from container_kit._spec.stats import DeviceTraffic as DeviceTraffic
    from container_kit._spec.stats import InterfaceTraffic as InterfaceTraffic
    from container_kit._spec.stats import Pressure as Pressure
    from container_kit._spec.stats import Stall as Stall
    from container_kit._spec.stats import Stats as Stats
    from container_kit._spec.ulimits import Ulimit as Ulimit
    from container_kit._trees.changes import Change as Change
    from container_kit._trees.tree_paths import TreePath as TreePath
    from container_kit.completed import Completed as Completed
    from container_kit.container import Container as Container
    from container_kit.engine import (
        Engine as Engine,
    )
    from container_kit.engine import (
        default_engine as default_engine,
    )
    from container_kit.engine import (
        set_default_engine as set_default_engine,
    )
    from container_kit.errors import ContainerKitError as ContainerKitError
    from container_kit.image import Image as Image
    from container_kit.inspection import Inspection as Inspection
    from container_kit.process import (
        DEVNULL as DEVNULL,
    )
    from container_kit.process import (
        PIPE as PIPE,
    )
    from container_kit.process import (
        STDOUT as STDOUT,
    )
    from container_kit.process import (
        Exited as Exited,
    )
    from container_kit.process import (
        Process as Process,
    )
    from container_kit.process import (
        Stderr as Stderr,
    )
    from container_kit.process import (
        Stdout as Stdout,
    )
    from container_kit.progress_bars import progress as progress
    from container_kit.shortcuts import run as run
    from container_kit.shortcuts import shell as shell
    from container_kit.shortcuts import start as start

__version__ = "0.1.0"

# public name → the module that has it
_HOMES = {
    "Capability": "_spec.capability",
    "Change": "_trees.changes",
    "Completed": "completed",
    "Container": "container",
    "ContainerKitError": "errors",
    "ContainerOptions": "_spec.options",
    "DEVNULL": "process",
    "Device": "_spec.devices",
    "DeviceTraffic": "_spec.stats",
    "Engine": "engine",
    "Event": "_spec.events",
    "Exited": "process",
    "Healthcheck": "_spec.healthcheck",
    "HistoryItem": "_images.describe",
    "Image": "image",
    "ImageConfig": "_spec.image_config",
    "ImageInspection": "_images.describe",
    "ImageUsage": "_images.removal",
    "Inspection": "inspection",
    "InterfaceTraffic": "_spec.stats",
    "LogConfig": "_spec.log_config",
    "LogLine": "_runtime.logs",
    "Mirror": "_spec.registries",
    "Mount": "_spec.mounts",
    "PIPE": "process",
    "Platform": "_spec.platform",
    "Pressure": "_spec.stats",
    "Process": "process",
    "ProcessInfo": "_runtime.top",
    "ProcessOptions": "_spec.options",
    "Progress": "_spec.progress",
    "Pruned": "_images.removal",
    "Registries": "_spec.registries",
    "Resources": "_spec.resources",
    "RestartPolicy": "_spec.healthcheck",
    "STDOUT": "process",
    "SearchResult": "_registry.results",
    "SeccompMode": "_spec.security",
    "Security": "_spec.security",
    "Stall": "_spec.stats",
    "Stats": "_spec.stats",
    "Stderr": "process",
    "Stdout": "process",
    "TreePath": "_trees.tree_paths",
    "Ulimit": "_spec.ulimits",
    "default_engine": "engine",
    "progress": "progress_bars",
    "run": "shortcuts",
    "set_default_engine": "engine",
    "shell": "shortcuts",
    "start": "shortcuts",
}
_MODULES = ("errors", "wait")

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Capability",
    "Change",
    "Completed",
    "Container",
    "ContainerKitError",
    "ContainerOptions",
    "Device",
    "DeviceTraffic",
    "Engine",
    "Event",
    "Exited",
    "Healthcheck",
    "HistoryItem",
    "Image",
    "ImageConfig",
    "ImageInspection",
    "ImageUsage",
    "Inspection",
    "InterfaceTraffic",
    "LogConfig",
    "LogLine",
    "Mirror",
    "Mount",
    "Platform",
    "Pressure",
    "Process",
    "ProcessInfo",
    "ProcessOptions",
    "Progress",
    "Pruned",
    "Registries",
    "Resources",
    "RestartPolicy",
    "SearchResult",
    "SeccompMode",
    "Security",
    "Stall",
    "Stats",
    "Stderr",
    "Stdout",
    "TreePath",
    "Ulimit",
    "default_engine",
    "errors",
    "progress",
    "run",
    "set_default_engine",
    "shell",
    "start",
    "wait",
]


def __getattr__(name: str) -> object:
    import importlib

    if name in _HOMES:
        value: object = getattr(importlib.import_module(f"container_kit.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"container_kit.{name}")
    else:
        raise AttributeError(f"module 'container_kit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
