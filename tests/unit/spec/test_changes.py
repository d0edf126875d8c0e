"""Docker's `--change`: instructions that edit a config, and the words they are made of."""

from __future__ import annotations

import pytest

from container_kit._spec.changes import apply_changes
from container_kit._spec.dockerfile_words import expand_word, split_words
from container_kit._spec.healthcheck import Healthcheck
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.oci_config import OciConfig, edit_oci_config, new_oci_config
from container_kit._spec.platform import parse_platform
from container_kit.errors import InvalidSpecError

EMPTY = new_oci_config(parse_platform("amd64"))


def changed(*changes: str, image: OciConfig = EMPTY) -> ImageConfig:
    """Return how processes run after some changes."""
    return apply_changes(image, changes).config


def test_commands_are_lists_or_text_for_the_shell() -> None:
    """What looks like a list but is none is text."""
    bash = edit_oci_config(EMPTY, command_shell=["/bin/bash", "-ec"])

    assert changed('CMD ["a", "b c"]').command == ("a", "b c")
    assert changed("cmd echo $HOME 'x'").command == ("/bin/sh", "-c", "echo $HOME 'x'")
    assert changed("CMD [ -f x ]").command == ("/bin/sh", "-c", "[ -f x ]")
    assert changed("CMD [1]").command == ("/bin/sh", "-c", "[1]")
    assert changed("CMD x", image=bash).command == ("/bin/bash", "-ec", "x")
    assert changed("CMD a", "CMD []").command == ()


def test_entrypoint_takes_the_old_command_away() -> None:
    """The arguments were another program's; those that are given in the same edit stay."""
    image = apply_changes(EMPTY, ['CMD ["old"]'])

    assert changed('ENTRYPOINT ["e"]', image=image).command == ()
    assert changed('CMD ["new"]', 'ENTRYPOINT ["e"]', image=image).command == ("new",)
    assert changed('ENTRYPOINT ["e"]', 'CMD ["new"]', image=image).entrypoint == ("e",)


def test_environment_is_set_and_used() -> None:
    """Variables of one instruction do not see each other."""
    image = apply_changes(EMPTY, ["ENV A=1 B='2 3' C=\"4 $A\"", "ENV OLD form with  blanks", "ENV A=5 D=${A}x"])

    assert image.config.env == (
        ("A", "5"), ("B", "2 3"), ("C", "4 "), ("OLD", "form with  blanks"), ("D", "1x"),
    )  # fmt: skip


def test_labels_users_directories_signals() -> None:
    """A relative directory is below the present one."""
    config = changed(
        "ENV HOME=/srv NAME=app",
        'LABEL org.example.a="x y" b=2',
        "USER $NAME:1",
        "WORKDIR $HOME",
        "WORKDIR sub/dir",
        "STOPSIGNAL SIGINT",
    )

    assert config.labels == (("b", "2"), ("org.example.a", "x y"))
    assert config.user == "app:1"
    assert config.working_dir == "/srv/sub/dir"
    assert config.stop_signal == 2
    assert changed("WORKDIR x").working_dir == "/x"


def test_ports_volumes_and_triggers_are_added() -> None:
    """Each once."""
    image = apply_changes(
        EMPTY,
        [
            "EXPOSE 80 53/UDP 8000-8002/tcp",
            "EXPOSE 80/tcp",
            "VOLUME /a /b/",
            'VOLUME ["/b", "/c d"]',
            "ONBUILD RUN x y",
        ],
    )

    assert image.exposed_ports == ("53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp")
    assert image.volumes == ("/a", "/b", "/c d")
    assert image.on_build == ("RUN x y",)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("HEALTHCHECK NONE", Healthcheck.none()),
        ("HEALTHCHECK CMD curl x", Healthcheck.shell("curl x")),
        ('HEALTHCHECK CMD ["curl", "x"]', Healthcheck(("curl", "x"))),
        (
            "HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=2h --start-interval=1.5s --retries=7 CMD x",
            Healthcheck.shell("x", interval=90.0, timeout=0.5, start_period=7200.0, start_interval=1.5, retries=7),
        ),
        ("HEALTHCHECK --interval=0s --retries=0 CMD x", Healthcheck.shell("x")),
    ],
)
def test_healthcheck_has_options_and_a_command(change: str, expected: Healthcheck) -> None:
    """Durations as Go writes them; zero is the default."""
    assert expected == changed(change).healthcheck


def test_instruction_may_go_on_over_lines() -> None:
    """Comments and empty lines are nothing."""
    assert changed("ENV A=1 \\\n  B=2\n\n# CMD x\n").env == (("A", "1"), ("B", "2"))
    assert changed("").command == ()


def test_changes_are_part_of_the_document() -> None:
    """And no change leaves it as it is."""
    assert b'"Cmd":["a"]' in apply_changes(EMPTY, ['CMD ["a"]']).raw
    assert apply_changes(EMPTY, []) is EMPTY


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("RUN x", "no instruction that changes a config"),
        ("FROM x", "no instruction that changes a config"),
        ("CMDX", "no instruction that changes a config"),
        ("ENV", "NAME=VALUE"),
        ("ENV A", "NAME=VALUE"),
        ("ENV A=1 B", "NAME=VALUE"),
        ("ENV =1", "must not be empty"),
        ("ENV A='1", "quote that is not closed"),
        ('ENV A="1', "quote that is not closed"),
        ("ENV A=${B", "other than"),
        ("ENV A=${B:?x}", "other than"),
        ("ENV A=${}", "variable without a name"),
        ("LABEL", "NAME=VALUE"),
        ("EXPOSE x", "must be a port"),
        ("EXPOSE 8080:80", "must be a port"),
        ("EXPOSE 0", "must be a port"),
        ("EXPOSE 65536", "must be a port"),
        ("EXPOSE 9-8", "must be a port"),
        ("VOLUME", "names no volume"),
        ("VOLUME rel", "absolute"),
        ("VOLUME /a/../b", r"'\.\.'"),
        ("USER", "takes one word"),
        ("USER a b", "takes one word"),
        ("WORKDIR", "names no directory"),
        ("STOPSIGNAL SIGNONE", "is not a signal"),
        ("ONBUILD", "must be an instruction other than"),
        ("ONBUILD ONBUILD RUN x", "must be an instruction other than"),
        ("HEALTHCHECK", "must be NONE, or CMD"),
        ("HEALTHCHECK x", "must be NONE, or CMD"),
        ("HEALTHCHECK NONE x", "must be NONE, or CMD"),
        ("HEALTHCHECK CMD", "must be NONE, or CMD"),
        ("HEALTHCHECK --interval=5 CMD x", "must be a duration"),
        ("HEALTHCHECK --interval=1us CMD x", "healthcheck interval"),
        ("HEALTHCHECK --retries=-1 CMD x", "no option of HEALTHCHECK"),
        ("HEALTHCHECK --other=1 CMD x", "no option of HEALTHCHECK"),
        ("CMD a\0", "NUL"),
    ],
)
def test_wrong_instruction_is_refused(change: str, reason: str) -> None:
    """As an error of ours, whatever is wrong."""
    with pytest.raises(InvalidSpecError, match=reason):
        changed("ENV X=1", change)


def test_error_says_which_change_it_was() -> None:
    """By its number; and one string is no sequence."""
    with pytest.raises(InvalidSpecError) as caught:
        changed("CMD a", "EXPOSE x")
    with pytest.raises(InvalidSpecError, match="sequence of strings"):
        apply_changes(EMPTY, "CMD a")

    assert caught.value.field == "changes[1]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  a  b\t", ["a", "b"]),
        ("a'b c'd \"e f\" g\\ h", ["a'b c'd", '"e f"', "g\\ h"]),
        ('"a \\" b"', ['"a \\" b"']),
        ("a\\", ["a\\"]),
    ],
)
def test_blanks_separate_words_except_in_quotes(text: str, words: list[str]) -> None:
    """Quotes stay for the expansion."""
    assert words == split_words(text, "x")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("$A-${A}", "1-1"),
        ("$A1", ""),
        ('\\$A \'$A\' "$A" "\\$A"', "$A $A 1 $A"),
        ("${N:-d} ${N-d} ${E:-d} ${E-d} ${A:-d}", "d d d  1"),
        ("${N:+d} ${E:+d} ${E+d} ${A:+d}", "  d d"),
        ("${N:-${A}'}'x}y", "1}xy"),
        ("$ $. {}", "$ $. {}"),
        ('"a\\b"', "a\\b"),
        ("a\\bc\\", "abc"),
    ],
)
def test_word_is_expanded_as_by_docker(word: str, expected: str) -> None:
    """A is 1, E is empty, N is not there."""
    assert expected == expand_word(word, {"A": "1", "E": ""}, "x")


def test_expansions_are_nested_only_so_deep() -> None:
    """Never as deep as Python recurses; one after the other there may be many."""
    assert expand_word("${N:-x}" * 100, {}, "x") == "x" * 100
    with pytest.raises(InvalidSpecError, match="nested too deep"):
        expand_word("${N:-" * 100_000, {}, "x")
