"""Plans as text: for error sentences, for people, for tools."""

from __future__ import annotations

import json

import pytest

from container_kit._plan.decode import STEP_CLASSES
from container_kit._plan.describe import describe, describe_step, plan_to_json
from container_kit._plan.flags import AttachHow, FilterFlag, MountAttr
from container_kit._plan.ops import (
    Attach,
    Exec,
    FlaggedSeccomp,
    Groups,
    Hostname,
    OpenTree,
    ReadOnly,
    Rlimit,
    Seccomp,
    SetMountAttr,
    SlotFile,
    Step,
)
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.paths import ContainerPath, HostPath
from tests.unit.plan.cases import GOLDEN, MOUNTS, launch


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Attach(slot=3, target=ContainerPath("/data"), how=AttachHow.MAKE_DIR), "attach slot 3 at /data (make dir)"),
        (Attach(slot=3, target=ContainerPath("/data")), "attach slot 3 at /data"),
        (
            SetMountAttr(slot=1, attributes=MountAttr.READ_ONLY | MountAttr.NODEV, recursive=True),
            "make slot 1 read only, nodev and all below",
        ),
        (OpenTree(slot=2, source=HostPath("/srv"), recursive=False), "fill slot 2 with host path /srv"),
        (ReadOnly(path=ContainerPath("/a"), recursive=False), "make /a read-only"),
        (SlotFile(slot=1, path="a", mode=0o644, contents=b"secret"), "in slot 1 make file a, mode 0644, 6 bytes"),
        (Hostname(hostname="a"), "set the host name a"),
        (Hostname(hostname="a", domainname="b"), "set the host name a, domain b"),
        (Rlimit(resource=7, soft=5, hard=2**64 - 1), "limit resource 7 to 5, at most unlimited"),
        (Groups(gids=b""), "set supplementary groups none"),
        (Seccomp(program=bytes(80)), "install a system call filter of 10 instructions"),
        (
            FlaggedSeccomp(program=bytes(8), flags=FilterFlag.LOG | FilterFlag.SPEC_ALLOW),
            "install a system call filter of 1 instructions: log, spec allow",
        ),
        (
            Exec(candidates=(ContainerPath("/bin/sh"),), argv=("sh", "-c", "a b"), env=("KEY=secret", "B=2")),
            "execute sh -c 'a b', the first of /bin/sh, environment KEY B",
        ),
    ],
)
def test_step_is_a_sentence(step: Step, text: str) -> None:
    """Fields that say nothing are left out; secrets are never in it."""
    assert text == describe(step)


def test_every_op_has_words_for_each_of_its_fields() -> None:
    """A new op or field that nobody described would be missing from error messages."""
    for step in (step for make in GOLDEN.values() for step in make().steps):
        assert "{" not in describe(step), step
    described = {type(step) for make in GOLDEN.values() for step in make().steps}
    assert {kind.__name__ for kind in set(STEP_CLASSES.values()) - described} <= {"Rlimit", "FlaggedSeccomp"}


def test_failed_attach_says_what_was_to_be_attached() -> None:
    """`attach slot 7` alone would send the reader looking."""
    plan = launch(ContainerConfig(mounts=MOUNTS))
    index = next(i for i, step in enumerate(plan.steps) if isinstance(step, Attach) and step.target == "/data")

    text = describe_step(plan, index)

    assert text == f"attach slot {getattr(plan.steps[index], 'slot', None)} (/srv/data) at /data (make dir)"


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_every_step_can_be_blamed(name: str) -> None:
    """Whatever index C reports, there is a sentence for it."""
    plan = GOLDEN[name]()

    sentences = [describe_step(plan, index) for index in range(len(plan.steps))]

    assert all(sentences)
    assert not any("{" in sentence or "[" in sentence for sentence in sentences)


def test_json_has_an_object_for_each_step() -> None:
    """Numbered as in the text, and without values of the environment."""
    plan = launch(ContainerConfig(env=(("TOKEN", "hunter2"),)))

    text = plan_to_json(plan)

    steps = json.loads(text)
    assert [step["step"] for step in steps] == list(range(1, len(plan.steps) + 1))
    assert steps[-1]["op"] == "Exec"
    assert "TOKEN" in steps[-1]["env"]
    assert "hunter2" not in text
    assert "hunter2" not in str(plan)
    assert "hunter2" not in repr(plan)
