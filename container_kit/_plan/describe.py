"""Plans as text and as JSON: for people, for error sentences and for golden tests.

One generic rule serves all steps: a step is its words, with the fields filled in. Values
of the environment never appear, they may be secrets; contents of files appear as sizes.
"""

from __future__ import annotations

import enum
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from container_kit._plan.ops import NewFilesystem, NewMappedOverlay, NewOverlay, OpenSubtree, OpenTree, Step

_CAPABILITY_DIGITS = 11

# {field} is filled in; a part in […] is left out when its only field is empty or false.
_WORDS: Final[Mapping[str, str]] = {
    "NewFilesystem": "fill slot {slot} with a new {fstype}[ ({attributes})][, options {options}]",
    "NewOverlay": "fill slot {slot} with an overlay of {lowers}, upper {upper}, work {work}, "
    "by {form}[, options {options}]",
    "OpenTree": "fill slot {slot} with host path {source}[ {recursive:and all below}]",
    "OpenSubtree": "fill slot {slot} with {path} of slot {of}",
    "SetMountAttr": "make slot {slot} {attributes}[ {recursive:and all below}]",
    "SlotDir": "in slot {slot} make directory {path}, mode {mode}",
    "SlotFile": "in slot {slot} make file {path}, mode {mode}, {contents}",
    "SlotNode": "in slot {slot} make device {path}, mode {mode}, {major}:{minor}",
    "SlotSymlink": "in slot {slot} make symlink {path} to {target}",
    "WriteProc": "in slot {slot} write {path}, {contents}",
    "LoopbackUp": "bring the loopback interface up",
    "JoinNamespaces": "join the container's namespaces: {namespaces}",
    "ParentDeathSignal": "ask for signal {signal} when the monitor dies",
    "StartSession": "start a session",
    "ProcessFile": "write {path} of this process, {contents}",
    "MakeUserNamespace": "fill slot {slot} with a new user namespace[, uids {uid_map}][, gids {gid_map}]",
    "RaiseLimit": "let resource {resource} be limited to {hard}",
    "NewMappedOverlay": "fill slot {slot} with an overlay of {lowers}[ {map_lowers:(id-mapped)}], upper {upper} "
    "and work {work} id-mapped by slot {namespace}, by {form}[, options {options}]",
    "EnterUserNamespace": "go on in a child in the user namespace of slot {slot}, with new namespaces: {namespaces}",
    "SlotTarget": "in slot {slot} make {path}[ {directory:a directory}] where it is missing",
    "Pivot": "make slot {slot} the root",
    "Attach": "attach slot {slot} at {target}[ ({how})]",
    "MakeDir": "make directory {path}, mode {mode}, owner {uid}:{gid}",
    "Mask": "hide {path} behind slot {null} or slot {empty}",
    "ReadOnly": "make {path} read-only[ {recursive:and all below}]",
    "ReadOnlyRoot": "make the root read-only",
    "Hostname": "set the host name {hostname}[, domain {domainname}]",
    "Rlimit": "limit resource {resource} to {soft}, at most {hard}",
    "BoundingSet": "keep capabilities {capabilities} in the bounding set",
    "Groups": "set supplementary groups {gids}",
    "Gid": "become gid {gid}",
    "Uid": "become uid {uid}",
    "Capabilities": "set capabilities {effective}[, ambient {ambient}]",
    "NoNewPrivs": "give up gaining privileges",
    "Seccomp": "install a system call filter of {program}",
    "FlaggedSeccomp": "install a system call filter of {program}: {flags}",
    "Terminal": "open a terminal of {devpts}, {rows} rows, {columns} columns",
    "Chdir": "change to directory {path}",
    "NullStdio": "use the container's /dev/null as stdio",
    "Umask": "set the umask {mask}",
    "ForkInit": "stay behind as init[ ({flags})], go on in a child",
    "Ready": "wait until the monitor has recorded this process",
    "EnterPidNamespace": "go on in a child inside the pid namespace",
    "SessionKeyring": "start a session keyring",
    "Exec": "execute {argv}, the first of {candidates}, environment {env}",
}


class Plan(Protocol):
    """Anything that is a list of steps."""

    @property
    def steps(self) -> Sequence[Step]:
        """All steps in order."""
        ...


def describe_plan(steps: Sequence[Step]) -> str:
    """Return a numbered line for each step, numbered from 1 as in error messages."""
    width = len(str(len(steps)))
    return "\n".join(f"{number:>{width}} {describe(step)}" for number, step in enumerate(steps, start=1))


def describe_step(plan: Plan, index: int) -> str:
    """Return what a step of a plan does; the slot it is about is explained by what fills it.

    Args:
        plan: the plan.
        index: the step's number on the wire, from 0.
    """
    step = plan.steps[index]
    text = describe(step)
    slot = getattr(step, "slot", None)
    origin = next((_origin(other) for other in plan.steps[:index] if getattr(other, "slot", None) == slot), "")
    return text.replace(f"slot {slot}", f"slot {slot} ({origin})", 1) if slot is not None and origin else text


def describe(step: Step) -> str:
    """Return what a step does, in words."""
    pieces: list[str] = []
    for part in _WORDS[type(step).__name__].replace("]", "[").split("["):
        pieces.append(_filled(part, step, optional=len(pieces) % 2 == 1))
    return "".join(pieces)


def plan_to_json(plan: Plan) -> str:
    """Return a plan as a JSON list of objects, `op` and the fields, in the words of `describe`."""
    return json.dumps(
        [
            {"step": number, "op": type(step).__name__, **{key: _shown(step, key) for key in _names(step)}}
            for number, step in enumerate(plan.steps, start=1)
        ],
        indent=1,
        ensure_ascii=False,
    )


def _names(step: Step) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(type(step)))


def _filled(part: str, step: Step, *, optional: bool) -> str:
    text = part
    for name in _names(step):
        value = getattr(step, name)
        if optional and not value and f"{{{name}" in part:
            return ""
        text = text.replace(f"{{{name}}}", _shown(step, name))
        start = text.find(f"{{{name}:")
        if start >= 0:
            end = text.index("}", start)
            text = text[:start] + text[start + len(name) + 2 : end] + text[end + 1 :]
    return text


def _shown(step: Step, name: str) -> str:
    value = getattr(step, name)
    show = _SHOWN.get(name)
    if show is not None:
        return show(value)
    return str(value)


def _joined(value: tuple[str, ...]) -> str:
    return " ".join(value)


def _origin(step: Step) -> str:
    match step:
        case NewFilesystem():
            return step.fstype
        case NewOverlay() | NewMappedOverlay():
            return "overlay"
        case OpenTree():
            return step.source
        case OpenSubtree():
            return step.path
        case _:
            return ""


def _flags(value: enum.IntFlag) -> str:
    return ", ".join(str(flag.name).lower().replace("_", " ") for flag in type(value) if flag & value)


def _octal(value: int) -> str:
    return f"{value:04o}"


def _size(value: bytes) -> str:
    return f"{len(value)} bytes"


def _capabilities(value: int) -> str:
    return f"{value:#0{_CAPABILITY_DIGITS + 2}x}"


def _gids(value: bytes) -> str:
    numbers = [int.from_bytes(value[start : start + 4], "little") for start in range(0, len(value), 4)]
    return " ".join(map(str, numbers)) or "none"


def _id_map(value: bytes) -> str:
    return ", ".join(":".join(line.split()) for line in value.decode("ascii").splitlines())


def _limit(value: int) -> str:
    return "unlimited" if value == 2**64 - 1 else str(value)


_SHOWN: Final[Mapping[str, Callable[[Any], str]]] = {
    "uid_map": _id_map,
    "gid_map": _id_map,
    "lowers": _joined,
    "options": _joined,
    "candidates": _joined,
    "attributes": _flags,
    "how": _flags,
    "namespaces": _flags,
    "flags": _flags,
    "form": lambda value: str(value.name).lower(),
    "mode": _octal,
    "mask": _octal,
    "contents": _size,
    "capabilities": _capabilities,
    "effective": _capabilities,
    "ambient": _capabilities,
    "gids": _gids,
    "soft": _limit,
    "hard": _limit,
    "program": lambda value: f"{len(value) // 8} instructions",
    "argv": shlex.join,
    "env": lambda value: " ".join(item.partition("=")[0] for item in value) or "empty",
}
