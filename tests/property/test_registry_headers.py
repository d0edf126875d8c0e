"""Laws of the headers that registries send: what is written is read, whatever is read is no error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from container_kit._registry.answer_headers import (
    ContentRange,
    next_link,
    parse_content_range,
    parse_retry_after,
    parse_uploaded,
)
from container_kit._registry.challenge import Challenge, parse_challenges
from container_kit._registry.locations import follow, is_same_origin
from container_kit.errors import RegistryError

_TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))


@given(st.integers(0, 10**15), st.integers(1, 10**15), st.none() | st.integers(0, 10**15))
def test_a_content_range_says_which_part(first: int, count: int, more: int | None) -> None:
    """First, last and, where it is known, the whole."""
    last = first + count - 1
    total = None if more is None else last + 1 + more

    found = parse_content_range(f"bytes {first}-{last}/{'*' if total is None else total}")

    assert ContentRange(first=first, last=last, total=total) == found


@given(st.lists(st.tuples(st.sampled_from(["realm", "service", "scope"]), _TEXT), min_size=1, max_size=4))
def test_what_is_quoted_comes_back(parameters: list[tuple[str, str]]) -> None:
    """Whatever the values are."""
    quoted = ", ".join(
        '{}="{}"'.format(name, value.replace("\\", "\\\\").replace('"', '\\"')) for name, value in parameters
    )

    assert (Challenge(scheme="bearer", parameters=tuple(parameters)),) == parse_challenges(f"Bearer {quoted}")


@given(st.text())
def test_any_header_is_read(header: str) -> None:
    """Without an error, as what it is or as nothing."""
    parse_challenges(header)
    parse_content_range(header)
    parse_uploaded(header)
    parse_retry_after(header, 0.0)
    next_link(header)


@given(_TEXT | st.text() | st.from_regex(r"(https?:)?//[a-z@:\[\].0-9]*/?.*"))
def test_where_a_location_leads_is_http_or_refused(location: str) -> None:
    """Never to another scheme, never from https to http, never with a password."""
    try:
        target = follow("https://registry.test/v2/", location)
    except RegistryError:
        return

    assert target.startswith("https://")
    assert "@" not in target.split("/")[2]
    assert is_same_origin(target, target)
