"""Story: what makes no sense is refused before anything is made, by an error that names the field and what to try."""

from __future__ import annotations

import math
from typing import Any

import pytest

import container_kit as ck
from container_kit import errors

TRUE = ["payload", "true"]


def refusal(engine: ck.Engine, image: ck.Image, **options: Any) -> errors.InvalidSpecError:
    """Return the error that these options of `run` give."""
    with pytest.raises(errors.InvalidSpecError) as caught:
        ck.run(image, TRUE, engine=engine, **options)
    return caught.value


@pytest.mark.parametrize("command", [[], None, [""]], ids=["empty", "none", "an empty word"])
def test_nothing_to_run_is_refused(engine: ck.Engine, image: ck.Image, command: list[str] | None) -> None:
    """Neither the caller nor the image says what to run."""
    with pytest.raises(errors.InvalidCommandError) as caught:
        ck.run(image, command, engine=engine)

    assert "command" == caught.value.field
    assert "pass a command" == caught.value.hint


def test_a_command_that_is_one_string_is_refused_with_the_remedy(engine: ck.Engine, image: ck.Image) -> None:
    """Splitting it would be guessing: it is a TypeError that says what to write instead."""
    line: Any = "echo hi"

    with pytest.raises(TypeError) as caught:
        ck.run(image, line, engine=engine)

    assert isinstance(caught.value, errors.InvalidCommandError)
    assert "ck.shell('echo hi')" in (caught.value.hint or "")


@pytest.mark.parametrize(("word", "field"), [(b"bytes", "command[1]"), (7, "command[1]"), ("a\0b", "command[1]")])
def test_a_command_of_anything_but_text_is_refused(engine: ck.Engine, image: ck.Image, word: Any, field: str) -> None:
    """The error says which word it is."""
    with pytest.raises(errors.InvalidCommandError) as caught:
        ck.run(image, ["payload", word], engine=engine)

    assert field == caught.value.field


@pytest.mark.parametrize("user", [-1, 2**32 - 1, 2**32, 10**20, "007", "+0", "0x0", "1:", ":1", "1:-1", "a b", "a\0"])
def test_a_user_that_is_no_number_and_no_name_is_refused(engine: ck.Engine, image: ck.Image, user: int | str) -> None:
    """Out of range or oddly written never becomes a look-up by name, nor uid 0 (CVE-2024-40635)."""
    error = refusal(engine, image, user=user)

    assert isinstance(error, errors.InvalidUserError)
    assert error.field in ("user", "group")
    assert "1000:1000" in (error.hint or "")


def test_a_line_of_passwd_that_is_named_like_a_number_makes_nobody_root(engine: ck.Engine, own_rootfs: Any) -> None:
    """The image has a user called 4294967296 with uid 0; asking for that number is an error all the same."""
    with open(own_rootfs / "etc" / "passwd", "a") as passwd:
        passwd.write("4294967296:x:0:0::/root:/bin/sh\n-1:x:0:0::/root:/bin/sh\n")

    error = refusal(engine, ck.Image.from_directory(own_rootfs), user="4294967296")

    assert isinstance(error, errors.InvalidUserError)
    assert "4294967294" in error.reason


@pytest.mark.parametrize("user", ["stranger", "root:strangers"])
def test_a_user_whom_the_image_does_not_know_is_refused(engine: ck.Engine, image: ck.Image, user: str) -> None:
    """The name is in the error, and a hint where names come from."""
    error = refusal(engine, image, user=user)

    assert isinstance(error, errors.InvalidUserError)
    assert user.rpartition(":")[2] == error.value
    assert "the image's /etc/" in (error.hint or "")


@pytest.mark.parametrize("path", ["relative", "", "/etc/../x", "/a\0b"])
def test_a_working_directory_that_is_no_path_is_refused(engine: ck.Engine, image: ck.Image, path: str) -> None:
    """It must be absolute, without `..` and NUL."""
    assert "working_dir" == refusal(engine, image, working_dir=path).field


def test_a_relative_bind_source_is_refused(engine: ck.Engine, image: ck.Image) -> None:
    """What it is relative to would be a guess."""
    with pytest.raises(errors.InvalidMountError) as caught:
        ck.run(image, TRUE, mounts=[ck.Mount.bind("data", "/data")], engine=engine)

    assert ("mount source", "data") == (caught.value.field, caught.value.value)
    assert "absolute" in (caught.value.hint or "")


def test_a_missing_bind_source_is_refused(engine: ck.Engine, image: ck.Image, tmp_path: Any) -> None:
    """It is not made unless that was asked for."""
    missing = tmp_path / "missing"

    error = refusal(engine, image, mounts=[ck.Mount.bind(missing, "/data")])

    assert ("mount source", str(missing)) == (error.field, error.value)
    assert "create_source=True" in (error.hint or "")
    assert not missing.exists()


@pytest.mark.parametrize("again", ["/data", "/data/", "//data/."])
def test_two_mounts_at_one_place_are_refused(engine: ck.Engine, image: ck.Image, tmp_path: Any, again: str) -> None:
    """However the second one is written."""
    error = refusal(engine, image, mounts=[ck.Mount.bind(tmp_path, "/data"), ck.Mount.tmpfs(again)])

    assert isinstance(error, errors.InvalidMountError)
    assert ("mounts", "/data") == (error.field, error.value)


def test_a_tmpfs_over_a_bind_is_refused(engine: ck.Engine, image: ck.Image, tmp_path: Any) -> None:
    """The two options are one set of targets."""
    error = refusal(engine, image, mounts=[ck.Mount.bind(tmp_path, "/data")], tmpfs=["/data"])

    assert ("mounts", "/data") == (error.field, error.value)


@pytest.mark.parametrize("target", ["/", "/proc", "/proc/sys", "/sys", "/dev", "relative", "/a/../b"])
def test_a_mount_over_the_containers_own_file_systems_is_refused(tmp_path: Any, target: str) -> None:
    """What later steps write to /proc must be the kernel's (CVE-2019-16884, CVE-2019-19921)."""
    with pytest.raises(errors.InvalidMountError) as caught:
        ck.Mount.bind(tmp_path, target)

    assert ("mount target", target) == (caught.value.field, caught.value.value)


NAMES = ["", "a", "-a", "a b", "a/b", "../a", "x" * 129, "a\0", "a\n", "f" * 64, "ü", 5]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_outside_the_grammar_is_refused(engine: ck.Engine, image: ck.Image, name: Any) -> None:
    """Names become words of paths and logs."""
    error = refusal(engine, image, name=name)

    assert isinstance(error, errors.InvalidNameError)
    assert ("name", name) == (error.field, error.value)
    assert error.hint


@pytest.mark.parametrize("hostname", ["", "-a", "a b", "a\n", "x" * 65, "ü"], ids=repr)
def test_a_host_name_outside_the_grammar_is_refused(engine: ck.Engine, image: ck.Image, hostname: str) -> None:
    """RFC 1123, and sethostname(2)'s 64 characters."""
    assert "hostname" == refusal(engine, image, hostname=hostname).field


BAD_VALUES: list[tuple[str, Any]] = [
    ("env", {"A\0": "x"}),
    ("env", {"A": "x\0"}),
    ("env", {"A\nB": "x"}),
    ("env", {"": "x"}),
    ("env", ["NO_VALUE"]),
    ("env", {"A": 5}),
    ("labels", {"a\nb": ""}),
    ("labels", {"a": "\0"}),
    ("env_file", "/nowhere/at/all"),
    ("env_file", "/dev/zero"),
    ("stop_signal", "SIGNOTHING"),
    ("stop_timeout", -1),
    ("stop_timeout", math.nan),
    ("ulimits", {"nofile": (5, 4)}),
    ("ulimits", {"nothing": 4}),
    ("sysctls", {"kernel.panic": "1"}),
    ("sysctls", {"../kernel": "1"}),
    ("sysctls", {"net.ipv4.ip_forward": "1\n"}),
    ("shm_size", "plenty"),
    ("extra_hosts", {"a": "1.2.3"}),
    ("extra_hosts", {"a\n": "1.2.3.4"}),
    ("network", "bridge"),
    ("groups", ["-1"]),
    ("tmpfs", {"/x": "size=much"}),
    ("init", "yes"),
    ("mounts", ["/a:/b"]),
    ("security", "none"),
    ("timeout", -1),
    ("timeout", math.nan),
    ("timeout", "soon"),
    ("input", 5),
    ("detach", True),
    ("tty", True),
]


@pytest.mark.parametrize(("option", "value"), BAD_VALUES, ids=repr)
def test_a_value_that_cannot_be_is_refused_by_its_name(
    engine: ck.Engine, image: ck.Image, option: str, value: Any
) -> None:
    """NUL, newline, out of range, of another type: the error's field begins with the option's name."""
    error = refusal(engine, image, **{option: value})

    assert error.field.startswith(option), error
    assert error.reason


def test_an_unknown_option_is_refused_and_its_neighbours_named(engine: ck.Engine, image: ck.Image) -> None:
    """A misspelt keyword is a TypeError, as with any function."""
    error = refusal(engine, image, working_dri="/tmp")

    assert isinstance(error, errors.UnknownOptionError)
    assert isinstance(error, TypeError)
    assert ("working_dri", ("working_dir",)) == (error.value, error.near)


@pytest.mark.parametrize("given", [5, None], ids=repr)
def test_an_image_that_is_none_is_refused(engine: ck.Engine, given: Any) -> None:
    """The hint says how to come by one."""
    with pytest.raises(errors.InvalidSpecError) as caught:
        ck.run(given, TRUE, engine=engine)

    assert "image" == caught.value.field
    assert "Image.host()" in (caught.value.hint or "")


def test_an_image_by_name_is_not_found(engine: ck.Engine) -> None:
    """Without asking a registry; the hint says where to look."""
    with pytest.raises(errors.ImageNotFoundError) as caught:
        ck.run("alpine:3.20", TRUE, pull="never", engine=engine)

    assert "alpine:3.20" == caught.value.name
    assert "Image.list" in (caught.value.hint or "")


def test_a_pull_policy_that_there_is_not(engine: ck.Engine) -> None:
    """The error lists those that there are."""
    with pytest.raises(errors.InvalidSpecError) as caught:
        ck.run("alpine:3.20", TRUE, pull="sometimes", engine=engine)  # type: ignore[call-overload]

    assert "pull" == caught.value.field
    assert "missing" in caught.value.reason


@pytest.mark.parametrize("path", ["/nowhere/at/all", "/etc/passwd"])
def test_an_image_directory_that_is_none_is_refused(path: str) -> None:
    """Missing, or a file."""
    with pytest.raises(errors.ImageError) as caught:
        ck.Image.from_directory(path)

    assert path == caught.value.image
    assert caught.value.hint
