"""What a process writes about itself in the host's /proc, and when."""

from __future__ import annotations

from container_kit._plan.ops import JoinNamespaces, ProcessFile
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.resources import Resources
from tests.unit.plan.cases import LABELLED, execute, launch

FILES = (
    ("oom_score_adj", b"500"),
    ("attr/apparmor/exec", b"exec box"),
    ("attr/exec", b"a:b:c:s0"),
)


def test_a_container_says_who_it_is_before_anything_else() -> None:
    """While nothing but the host's /proc can be seen, and with memory of its own: the monitor's score stays."""
    plan = launch(LABELLED)

    first = [(step.path, step.contents) for step in plan.gather[:3] if isinstance(step, ProcessFile)]
    assert list(FILES) == first
    assert plan.own_memory


def test_a_further_process_says_the_same_before_it_joins() -> None:
    """It is a child of the monitor and inherits nothing of the container's."""
    plan = execute(config=LABELLED)

    assert [ProcessFile, ProcessFile, ProcessFile, JoinNamespaces] == [type(step) for step in plan.gather[:4]]
    assert plan.own_memory


def test_by_default_nothing_is_written() -> None:
    """What the caller has is inherited, and memory is shared: the fast way."""
    for plan in (launch(), execute()):
        assert not any(isinstance(step, ProcessFile) for step in plan.gather)
        assert not plan.own_memory


def test_a_score_of_zero_is_written() -> None:
    """Zero is a wish like any other: the caller's own may be higher."""
    plan = launch(ContainerConfig(resources=Resources(oom_score_adj=0)))

    assert ProcessFile(path="oom_score_adj", contents=b"0") == plan.gather[0]
