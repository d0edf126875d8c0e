"""Laws of the small grammars: what is accepted is safe, and printing is the inverse of parsing."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from container_kit._spec.healthcheck import RestartPolicy, parse_restart_policy
from container_kit._spec.ids import check_hostname, check_name, is_id_prefix, new_id_from, parse_container_id
from container_kit._spec.names import name_from
from container_kit._spec.options import parse_env_file
from container_kit._spec.paths import parse_container_path
from container_kit._spec.signals import parse_signal
from container_kit._spec.sizes import parse_size
from container_kit._spec.users import LARGEST_ID, parse_user
from container_kit.errors import InvalidSpecError


def near(alphabet: str) -> st.SearchStrategy[str]:
    """Return any text, and text made of the characters that matter to a grammar."""
    return st.text(max_size=40) | st.text(alphabet=alphabet, max_size=8)


ANY = near("./ab-_:09+x\n\0é")


@given(text=ANY)
@example(text="//..//a")
def test_accepted_container_path_is_absolute_and_cannot_climb(text: str) -> None:
    """And normalising it again changes nothing."""
    try:
        path = parse_container_path(text, "path")
    except InvalidSpecError:
        return

    assert path.startswith("/")
    assert "\0" not in path
    assert not {"..", "."} & set(path.split("/"))
    assert path == "/" or "" not in path[1:].split("/")
    assert path == parse_container_path(path, "path")


@given(text=ANY)
def test_accepted_name_is_one_safe_word(text: str) -> None:
    """It can be part of a path, of a command line and of a host name's neighbourhood."""
    try:
        name = check_name(text)
    except InvalidSpecError:
        return

    assert name.isascii()
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
    assert name[0].isalnum()
    assert 2 <= len(name) <= 128


@given(text=near("a0-. #\n"))
def test_accepted_hostname_fits_on_a_line_of_etc_hosts(text: str) -> None:
    """No blank, no newline, no comment sign."""
    try:
        name = check_hostname(text)
    except InvalidSpecError:
        return

    assert [name] == name.split()
    assert "#" not in name
    assert len(name) <= 64


@given(number=st.integers(0, 10**9))
def test_generated_name_is_always_valid(number: int) -> None:
    """Whatever number it is made from."""
    assert check_name(name_from(number))


@given(entropy=st.binary(min_size=32, max_size=32))
def test_every_id_is_an_id_and_begins_with_its_prefixes(entropy: bytes) -> None:
    """What is generated is accepted."""
    container = new_id_from(entropy)

    assert container == parse_container_id(container)
    assert all(is_id_prefix(container[:length]) for length in (1, 12, 64))


@given(number=st.integers(0, 2**20), unit=st.sampled_from(["", "k", "m", "g", "t"]))
def test_size_with_unit_is_the_number_times_a_power_of_1024(number: int, unit: str) -> None:
    """In every spelling."""
    expected = number << 10 * ["", "k", "m", "g", "t"].index(unit)

    assert {expected} == {parse_size(f"{number}{unit}{end}") for end in ("", "b", "ib", "B")}
    assert expected == parse_size(f"{number} {unit.upper()}")


@given(text=near("-9kp.b ") | st.integers(-(2**70), 2**70).map(str))
def test_accepted_size_is_a_sane_number(text: str) -> None:
    """Never negative, never beyond what the kernel takes."""
    try:
        size = parse_size(text)
    except InvalidSpecError:
        return

    assert 0 <= size < 2**63


@given(number=st.integers(-(2**70), 2**70))
def test_number_is_a_uid_or_an_error(number: int) -> None:
    """Nothing in between: no wrapping around, no name."""
    if 0 <= number <= LARGEST_ID:
        assert parse_user(str(number)).user == parse_user(number).user == number
    else:
        with pytest.raises(InvalidSpecError):
            parse_user(str(number))


@given(text=near("01:a+"))
def test_user_with_digits_only_is_never_a_name(text: str) -> None:
    """A name has something else in it."""
    try:
        user = parse_user(text)
    except InvalidSpecError:
        return

    for part in (user.user, user.group):
        assert part is None or isinstance(part, int) or not part[0].isdigit()


@given(maximum=st.integers(0, 10**6))
def test_restart_policy_survives_its_text(maximum: int) -> None:
    """Parsing is the inverse of printing."""
    policy = RestartPolicy.on_failure(maximum)

    assert policy == parse_restart_policy(str(policy))


@given(text=ANY | st.integers(-100, 100))
def test_accepted_signal_is_one_of_linux(text: str | int) -> None:
    """1 to 64."""
    try:
        number = parse_signal(text)
    except InvalidSpecError:
        return

    assert 1 <= number <= 64


@given(env=st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text(alphabet="ab= #\"'\t")))
def test_environment_file_gives_back_what_was_written(env: dict[str, str]) -> None:
    """A value is everything up to the end of the line."""
    text = "".join(f"{key}={value}\n" for key, value in env.items())

    assert tuple(env.items()) == parse_env_file(text)
