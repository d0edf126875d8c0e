"""A30: variables of the caller, or of another container, are seen in a container (CVE-2020-14370, CVE-2021-3602)."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import wait
from tests.security.rigs import Rig

NAMES = (
    "CKT_SECRET",
    "HTTP_PROXY",
    "https_proxy",
    "no_proxy",
    "REGISTRY_AUTH_FILE",
    "AWS_SECRET_ACCESS_KEY",
    "LD_PRELOAD_X",
)


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a word that is in the caller's environment only."""
    word = f"secret{secrets.token_hex(16)}"
    for name in NAMES:
        monkeypatch.setenv(name, f"http://user:{word}@127.0.0.1:1/")
    return word


def files_with(word: str, *places: str) -> list[str]:
    """Return the files below directories that contain a word."""
    return [
        str(path)
        for place in places
        for path in Path(place).rglob("*")
        if path.is_file() and not path.is_symlink() and word.encode() in path.read_bytes()
    ]


def environ_of(pid: int) -> bytes:
    """Return a process's environment; empty where it cannot be read."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def test_A30_nothing_of_the_callers_environment_gets_anywhere(rig: Rig, secret: str) -> None:
    """Not into containers and what is executed there, not into monitors, records, logs, inspection or plans."""
    check = ck.Healthcheck(["payload", "env"], interval=0.05)
    run = rig.run("env").stdout
    box = rig.start("sleep", "1000", healthcheck=check, init=True, detach=True, env={"OWN": "1"})
    box.wait(timeout=20, condition=wait.healthy())
    assert box.pid is not None

    executed = box.exec(["payload", "env"], text=True).stdout
    monitor = int(Path(f"/proc/{box.pid}/stat").read_text().rpartition(")")[2].split()[1])
    processes = [environ_of(pid) for pid in (box.pid, monitor, *(process.pid for process in box.top()))]
    described = f"{box.inspect()!r} {box.plan} {box.plan!r} {list(box.logs())!r}"

    assert "OWN=1" in executed
    assert secret not in run + executed + described
    assert not [text for text in processes if secret.encode() in text]
    home = rig.engine.site.home
    assert [] == files_with(secret, home.root, home.runtime)


def test_A30_a_container_sees_nothing_of_another_ones_environment(rig: Rig) -> None:
    """The compiled part that launches share has no variables in it."""
    first = rig.run("env", env={"FIRST": "of the first"}).stdout
    second = rig.run("env", env={"SECOND": "of the second"}).stdout
    third = rig.run("env").stdout

    assert "FIRST=of the first" in first
    assert "of the first" not in second + third
    assert "of the second" not in third


def test_A30_a_commit_keeps_no_variable_of_the_caller(rig: Rig, secret: str) -> None:
    """Neither the image's config nor its history has them."""
    box = rig.start("sleep", "1000", env={"OWN": "1"})

    image = box.commit("committed:1")

    assert secret not in f"{image.inspect()!r} {image.history()!r}"
    assert [] == files_with(secret, rig.engine.site.home.root)
