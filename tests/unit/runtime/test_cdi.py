"""Files of the Container Device Interface: which one counts, and what is done about damaged ones."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from container_kit._runtime.cdi import apply_cdi, find_edits
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.devices import Device
from container_kit.errors import InvalidSpecError, UnsupportedHostError


@pytest.fixture
def shelves(tmp_path: Path) -> tuple[str, str]:
    """Give two directories for specifications; the second has priority."""
    low, high = tmp_path / "low", tmp_path / "high"
    low.mkdir()
    high.mkdir()
    return str(low), str(high)


def put(directory: str, name: str, *devices: str, kind: str = "vendor.com/card", **edits: Any) -> None:
    """Write a specification; each device says its own name and its file's in a variable."""
    listed = [{"name": one, "containerEdits": {"env": [f"CARD_{one}={name}"]}} for one in devices]
    document = {"cdiVersion": "0.6.0", "kind": kind, "devices": listed, "containerEdits": edits}
    Path(directory, name).write_text(json.dumps(document))


def test_a_device_is_found_in_its_file_and_brings_what_all_of_its_kind_bring(shelves: tuple[str, str]) -> None:
    """Once and first, however many of them are asked for."""
    put(
        shelves[0],
        "a.json",
        "0",
        "1",
        env=["ALL=1", "CARD_0=all"],
        hooks=[{"hookName": "createRuntime", "path": "/bin/x"}],
    )
    put(shelves[0], "b.json", "0", kind="other.com/card")

    found = find_edits(["vendor.com/card=0", "vendor.com/card=1", "vendor.com/card=0"], shelves)

    assert {"ALL": "1", "CARD_0": "a.json", "CARD_1": "a.json"} == dict(found.env)
    assert ("createRuntime /bin/x",) == found.skipped_hooks


def test_the_last_directory_wins(shelves: tuple[str, str]) -> None:
    """For the devices that it defines: the others are still there."""
    put(shelves[0], "a.json", "0", "1")
    put(shelves[1], "z.json", "0")

    found = find_edits(["vendor.com/card=0", "vendor.com/card=1"], shelves)

    assert (("CARD_0", "z.json"), ("CARD_1", "a.json")) == found.env


def test_two_files_of_one_directory_contradict_each_other(shelves: tuple[str, str]) -> None:
    """Only about what both define, and the error names both."""
    put(shelves[0], "a.json", "0", "1")
    put(shelves[0], "b.json", "0")

    with pytest.raises(InvalidSpecError, match=r"is defined twice: in .*a\.json and .*b\.json"):
        find_edits(["vendor.com/card=0"], shelves)
    other = find_edits(["vendor.com/card=1"], shelves)

    assert (("CARD_1", "a.json"),) == other.env


def test_an_unknown_device_is_an_error_that_names_the_known_ones(shelves: tuple[str, str]) -> None:
    """And the directories."""
    put(shelves[0], "a.json", "0")

    with pytest.raises(InvalidSpecError, match=shelves[0]) as refusal:
        find_edits(["vendor.com/card=9"], [*shelves, "/nowhere"])

    assert "there are vendor.com/card=0" == refusal.value.hint


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "brackets do not match"),
        (b"[]", "not a JSON object"),
        (b'{"kind": "a", "kind": "b"}', "twice"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 5000 + b"]" * 5000, "nested deeper"),
        (b'{"x": "' + b"y" * (1 << 20) + b'"}', "larger than"),
        (b'{"cdiVersion": "0.6.0", "kind": "vendor.com/card", "devices": 7}', "devices must be a list"),
    ],
)
def test_a_damaged_file_is_named_when_the_device_may_be_in_it(
    shelves: tuple[str, str], content: bytes, reason: str
) -> None:
    """It keeps nobody from the devices in other files."""
    Path(shelves[1], "broken.json").write_bytes(content)
    put(shelves[0], "a.json", "0")

    with pytest.raises(InvalidSpecError, match=reason) as refusal:
        find_edits(["vendor.com/card=9"], shelves)
    found = find_edits(["vendor.com/card=0"], shelves)

    assert f"{shelves[1]}/broken.json" == refusal.value.value
    assert (("CARD_0", "a.json"),) == found.env


def test_what_is_no_regular_file_is_not_waited_for(shelves: tuple[str, str]) -> None:
    """A fifo, a directory, a link that leads nowhere."""
    os.mkfifo(f"{shelves[1]}/a.json")
    Path(shelves[1], "b.json").mkdir()
    Path(shelves[1], "c.json").symlink_to("nothing")

    with pytest.raises(InvalidSpecError) as refusal:
        find_edits(["vendor.com/card=0"], shelves)

    assert str(refusal.value.value).startswith(shelves[1])


def test_a_node_has_to_be_what_its_specification_says(shelves: tuple[str, str]) -> None:
    """Otherwise the host's driver is not the one that was described."""
    put(shelves[0], "a.json", "0", deviceNodes=[{"path": "/dev/card", "hostPath": "/dev/zero", "major": 1, "minor": 9}])
    put(shelves[0], "b.json", "0", kind="good.com/card", deviceNodes=[{"path": "/dev/card", "hostPath": "/dev/zero"}])

    with pytest.raises(InvalidSpecError, match="is c 1:5; its specification says c 1:9"):
        find_edits(["vendor.com/card=0"], shelves)
    found = find_edits(["good.com/card=0"], shelves)

    assert [("c", 1, 5)] == [(node.kind, node.major, node.minor) for node in found.devices]


def test_a_config_gets_what_it_has_not_got_already(shelves: tuple[str, str]) -> None:
    """The same device named twice is one; another one in its place contradicts it."""
    put(shelves[0], "a.json", "0", deviceNodes=[{"path": "/dev/card", "hostPath": "/dev/zero"}], env=["A=vendor"])
    same = ContainerConfig(
        env=(("A", "mine"), ("B", "mine")), devices=(Device(source="/dev/zero", target="/dev/card"),)
    )
    other = ContainerConfig(devices=(Device(source="/dev/full", target="/dev/card"),))

    applied = apply_cdi(same, ["vendor.com/card=0"], shelves)
    with pytest.raises(InvalidSpecError, match="is given twice"):
        apply_cdi(other, ["vendor.com/card=0"], shelves)

    assert same.devices == applied.devices
    assert {"A": "vendor", "B": "mine", "CARD_0": "a.json"} == dict(applied.env)


def test_without_PyYAML_a_yaml_file_is_an_error_that_says_how_to_get_it(
    shelves: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only when the device may be in it."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    Path(shelves[0], "a.yaml").write_text("cdiVersion: 0.6.0\n")
    put(shelves[0], "b.json", "0")

    with pytest.raises(UnsupportedHostError, match="PyYAML is not installed") as refusal:
        find_edits(["vendor.com/card=9"], shelves)
    found = find_edits(["vendor.com/card=0"], shelves)

    assert "pip install 'container-kit[cdi]'" == refusal.value.hint
    assert (("CARD_0", "b.json"),) == found.env


@pytest.mark.needs_yaml
def test_a_yaml_file_is_read(shelves: tuple[str, str]) -> None:
    """As JSON is."""
    text = "cdiVersion: 0.6.0\nkind: vendor.com/card\ndevices:\n- name: '0'\n  containerEdits: {env: [A=1]}\n"
    Path(shelves[0], "a.yaml").write_text(text)

    assert (("A", "1"),) == find_edits(["vendor.com/card=0"], shelves).env


@pytest.mark.needs_yaml
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [x, x]\nb: [*a, *a]\n", "has aliases"),
        ("[" * 3000, "nested too deep"),
        ("a: [1, 2", "no valid YAML"),
        ("!!python/object/apply:os.system [true]", "no valid YAML"),
        ("- 2001-01-01\n", "must be an object"),
        ("\0", "no valid YAML"),
        ("? [1]\n: 2\n", "no valid YAML"),
        ("a: " + "9" * 5000, "no valid YAML"),
        ("a" * (1 << 20) + "a", "larger than"),
    ],
)
def test_hostile_yaml_is_refused(shelves: tuple[str, str], text: str, reason: str) -> None:
    """Aliases that multiply, depth, tags that make objects: an error that names the file."""
    Path(shelves[0], "a.yaml").write_text(text)

    with pytest.raises(InvalidSpecError, match=reason) as refusal:
        find_edits(["vendor.com/card=0"], shelves)

    assert f"{shelves[0]}/a.yaml" == refusal.value.value
