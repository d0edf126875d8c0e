"""libseccomp as an oracle: the filters it makes of rules.

The bindings belong to the distribution's own Python. So this file is two things: what tests
call, and the program that runs there, which reads requests as JSON and answers likewise.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

PYTHON = "/usr/bin/python3"


def reference_programs(requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what libseccomp makes of each request.

    A request has `abis` (names of seccomp.Arch; the filter is for these only), `default` (an action), and `rules`:
    [action, name, [[argument, comparison, value, second value], …]]. An action is [name, number].
    An answer has `program` (hexadecimal) and `unknown`: names that this libseccomp does not have.
    """
    done = subprocess.run([PYTHON, __file__], input=json.dumps(requests), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def reference_numbers(abi: str, names: Sequence[str]) -> dict[str, int]:
    """Return the numbers of calls, where libseccomp knows that the ABI has them."""
    (answer,) = reference_programs([{"resolve": abi, "names": list(names)}])
    numbers: dict[str, int] = answer["numbers"]
    return numbers


def _answer(seccomp: Any, request: dict[str, Any]) -> dict[str, Any]:  # the bindings have no types
    if "resolve" in request:
        abi = getattr(seccomp.Arch, request["resolve"])
        found = {name: _resolved(seccomp, abi, name) for name in request["names"]}
        return {"numbers": {name: number for name, number in found.items() if number >= 0}}
    made = seccomp.SyscallFilter(_action(seccomp, request["default"]))
    abis = [getattr(seccomp.Arch, abi) for abi in request["abis"]]
    for abi in abis:
        if not made.exist_arch(abi):
            made.add_arch(abi)
    if seccomp.system_arch() % 2**32 not in [abi % 2**32 for abi in abis]:
        made.remove_arch(seccomp.Arch.NATIVE)
    if len(request["rules"]) > 32:
        made.set_attr(seccomp.Attr.CTL_OPTIMIZE, 2)  # as runc does
    unknown: list[str] = []
    for action, name, conditions in request["rules"]:
        if _is_unknown(seccomp, name):
            unknown.append(name)
        elif action != request["default"]:  # as runc does; libseccomp refuses them
            arguments = [_argument(seccomp, condition) for condition in conditions]
            made.add_rule(_action(seccomp, action), name, *arguments)
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return {"program": file.read().hex(), "unknown": unknown}


def _is_unknown(seccomp: Any, name: str) -> bool:
    return _resolved(seccomp, seccomp.Arch.NATIVE, name) == -1  # other negative numbers: on other machines


def _resolved(seccomp: Any, abi: Any, name: str) -> int:
    try:
        return int(seccomp.resolve_syscall(abi, name))
    except RuntimeError:
        return -1


def _action(seccomp: Any, action: list[Any]) -> Any:
    name, number = action
    made = getattr(seccomp, name)
    return made(number) if name in ("ERRNO", "TRACE") else made


def _argument(seccomp: Any, condition: list[Any]) -> Any:
    number, compare, value, second = condition
    return seccomp.Arg(number, getattr(seccomp, compare), value, second)


if __name__ == "__main__":
    import seccomp  # type: ignore[import-not-found]  # of the distribution's Python

    json.dump([_answer(seccomp, request) for request in json.load(sys.stdin)], sys.stdout)
