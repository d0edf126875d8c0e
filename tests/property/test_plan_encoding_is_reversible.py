"""Law: decode(encode(steps)) == steps, for every step that can be written down."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from container_kit._plan.decode import STEP_CLASSES, decode_steps
from container_kit._plan.encode import encode_steps
from container_kit._plan.ops import Step
from tests.property.strategies import steps, steps_of


def _value_of(step: Step) -> tuple[object, ...]:
    # Steps compare by their bytes, which would prove nothing here.
    return type(step), repr(step), attrs.astuple(step, recurse=False)


@given(st.lists(steps, max_size=20))
def test_decoding_undoes_encoding(plan: list[Step]) -> None:
    """Any sequence of any steps."""
    decoded = decode_steps(encode_steps(plan), len(plan))

    assert [_value_of(step) for step in plan] == [_value_of(step) for step in decoded]


@pytest.mark.parametrize("step_class", STEP_CLASSES.values(), ids=lambda kind: kind.__name__)
def test_every_class_survives_the_wire(step_class: type[Step]) -> None:
    """Each class by itself, so that none is left to chance."""

    @given(steps_of(step_class))
    def law(step: Step) -> None:
        (decoded,) = decode_steps(step.encoded, 1)
        assert _value_of(step) == _value_of(decoded)

    law()


@given(steps, st.data())
def test_truncated_step_is_an_error_and_never_another_step(step: Step, data: st.DataObject) -> None:
    """No prefix of a step's bytes is a step."""
    encoded = step.encoded
    size = data.draw(st.integers(0, len(encoded) - 1))

    with pytest.raises(ValueError, match=r"wanted|says|left"):
        decode_steps(encoded[:size], 1)


@given(steps)
def test_steps_are_aligned_and_say_their_size(step: Step) -> None:
    """C walks from one step to the next by the size in the header."""
    encoded = step.encoded

    assert len(encoded) % 4 == 0
    assert int.from_bytes(encoded[4:8], "little") == len(encoded)


@given(steps, steps)
def test_steps_are_equal_when_their_fields_are(one: Step, other: Step) -> None:
    """Same class and fields, same bytes; and the other way round."""
    assert (one == other) == (_value_of(one) == _value_of(other))
    assert one == attrs.evolve(one)
    assert hash(one) == hash(attrs.evolve(one))
