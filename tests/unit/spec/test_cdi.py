"""CDI documents → what comes with a device, or an error that names the field."""

from __future__ import annotations

from typing import Any

import pytest

from container_kit._spec.cdi import CdiEdits, join_edits, parse_cdi
from container_kit._spec.devices import Device
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit.errors import ImageError

MINIMAL: dict[str, Any] = {"cdiVersion": "0.6.0", "kind": "vendor.com/net", "devices": [{"name": "eth0"}]}


def document(edits: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a specification of one device with these edits."""
    return {**MINIMAL, "devices": [{"name": "eth0", "containerEdits": edits or {}}], **fields}


def test_a_document_is_read_completely() -> None:
    """Nodes, mounts, variables, groups and hooks, of the device and of all of its kind."""
    edits = {
        "env": ["A=1", "B=x=y"],
        "deviceNodes": [
            {"path": "/dev/net0"},
            {"path": "/dev/disk", "hostPath": "/dev/sda", "type": "b", "major": 8, "minor": 0, "permissions": "r"},
        ],
        "mounts": [
            {"hostPath": "/usr/lib/net", "containerPath": "/lib/net", "options": ["ro", "nosuid", "nodev", "bind"]},
            {"hostPath": "/srv", "containerPath": "/srv", "type": "none", "options": ["rw", "noexec", "rslave"]},
        ],
        "hooks": [{"hookName": "createContainer", "path": "/bin/hook", "args": ["hook", "now"], "timeout": 3}],
        "additionalGids": [0, 44],
    }

    parsed = parse_cdi(document(edits, containerEdits={"env": ["ALL=1"]}, annotations={"by": "hand"}), what="x.json")

    found = parsed.devices["eth0"]
    assert ("vendor.com/net", (("ALL", "1"),)) == (parsed.kind, parsed.edits.env)
    assert (("A", "1"), ("B", "x=y")) == found.env
    assert (
        Device(source=HostPath("/dev/net0"), target=ContainerPath("/dev/net0")),
        Device(
            source=HostPath("/dev/sda"), target=ContainerPath("/dev/disk"), access="r", kind="b", major=8, minor=0
        ),
    ) == found.devices  # fmt: skip
    first, second = found.mounts
    assert (True, True, False, False) == (first.read_only, first.nosuid, first.noexec, first.recursive)
    assert (False, True, True, "rslave") == (second.read_only, second.noexec, second.recursive, second.propagation)
    assert ("44",) == found.groups
    assert ("createContainer /bin/hook now",) == found.skipped_hooks


@pytest.mark.parametrize("version", ["0.3.0", "0.5.0", "0.8.1", "1.0.0", "1.1.0"])
def test_known_versions_are_read(version: str) -> None:
    """From the first that is in use to the last that is known."""
    assert {"eth0": CdiEdits()} == parse_cdi({**MINIMAL, "cdiVersion": version}, what="x.json").devices


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ([], "the document must be an object"),
        ({**MINIMAL, "cdiVersion": "2.0.0"}, "cdiVersion"),
        ({**MINIMAL, "cdiVersion": 1}, "cdiVersion must be a string"),
        ({**MINIMAL, "kind": "vendor.com"}, "kind"),
        ({**MINIMAL, "kind": "vendor.com/net/more"}, "kind"),
        ({**MINIMAL, "devices": []}, "devices must not be empty"),
        ({**MINIMAL, "devices": {}}, "devices must be a list"),
        ({**MINIMAL, "devices": [{"name": "a b"}]}, r"devices\[0\].name"),
        ({**MINIMAL, "devices": [{"name": "a"}, {"name": "a"}]}, "is there twice"),
        ({**MINIMAL, "Devices": []}, "unknown field 'Devices'"),
        (document({"env": ["no value"]}), "env"),
        (document({"env": [7]}), "env"),
        (document({"surprise": 1}), "unknown field 'surprise'"),
        (document({"intelRdt": {"closID": "x"}}), "intelRdt is not supported"),
        (document({"netDevices": [{"hostInterfaceName": "e", "name": "e"}]}), "netDevices is not supported"),
        (document({"deviceNodes": [{"hostPath": "/dev/x"}]}), "deviceNodes"),
        (document({"deviceNodes": [{"path": "/etc/x"}]}), "must be shown below /dev"),
        (document({"deviceNodes": [{"path": "/dev/../etc/x"}]}), "'..'"),
        (document({"deviceNodes": [{"path": "/dev/x", "hostPath": "dev/x"}]}), "absolute"),
        (document({"deviceNodes": [{"path": "/dev/x", "type": "p"}]}), "type"),
        (document({"deviceNodes": [{"path": "/dev/x", "major": -1}]}), "major"),
        (document({"deviceNodes": [{"path": "/dev/x", "minor": True}]}), "minor"),
        (document({"deviceNodes": [{"path": "/dev/x", "permissions": "none"}]}), "access"),
        (document({"mounts": [{"hostPath": "/x", "containerPath": "/proc/x"}]}), "own file systems"),
        (document({"mounts": [{"hostPath": "/x", "containerPath": "x"}]}), "absolute"),
        (document({"mounts": [{"hostPath": "/x", "containerPath": "/x", "type": "tmpfs"}]}), "type is not supported"),
        (document({"mounts": [{"hostPath": "/x", "containerPath": "/x", "options": ["shared"]}]}), "'shared'"),
        (document({"mounts": [{"hostPath": "/x\0", "containerPath": "/x"}]}), "NUL"),
        (document({"additionalGids": ["44"]}), "additionalGids"),
        (document({"additionalGids": [2**32 - 1]}), "additionalGids"),
        (document({"hooks": ["/bin/sh"]}), "hooks must be an object"),
    ],
)
def test_a_wrong_document_is_refused(wrong: object, field: str) -> None:
    """With the name of the field; nothing unknown is passed over."""
    with pytest.raises(ImageError, match=field):
        parse_cdi(wrong, what="x.json")


def test_what_several_devices_bring_is_there_once() -> None:
    """As with the control node that all cards of a vendor have."""
    node = Device(source=HostPath("/dev/ctl"), target=ContainerPath("/dev/ctl"))
    first = CdiEdits(devices=(node,), env=(("A", "1"), ("B", "1")), groups=("44",), skipped_hooks=("hook",))
    second = CdiEdits(devices=(node,), env=(("A", "2"),), groups=("44", "5"), skipped_hooks=("hook",))

    joined = join_edits([first, second])

    expected = CdiEdits(
        devices=(node,), env=(("A", "2"), ("B", "1")), groups=("44", "5"), skipped_hooks=("hook",)
    )  # fmt: skip
    assert expected == joined
