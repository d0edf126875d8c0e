"""References: Docker's grammar and its normalisation."""

from __future__ import annotations

import pytest

from container_kit._spec.digest import parse_digest
from container_kit._spec.reference import Reference, parse_reference
from container_kit.errors import InvalidReferenceError

HEX = "a" * 64
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("team/app", "docker.io/team/app:latest", "team/app:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("index.docker.io/library/debian:1", "docker.io/library/debian:1", "debian:1"),
        ("library/debian:1", "docker.io/library/debian:1", "debian:1"),
        (f"debian@{DIGEST}", f"docker.io/library/debian@{DIGEST}", f"debian@{DIGEST}"),
        (f"debian:12@{DIGEST}", f"docker.io/library/debian:12@{DIGEST}", f"debian:12@{DIGEST}"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("127.0.0.1:5000/debian:test", "127.0.0.1:5000/debian:test", "127.0.0.1:5000/debian:test"),
        ("registry.example.org/a/b/c", "registry.example.org/a/b/c:latest", "registry.example.org/a/b/c:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("[2001:db8::1]/x:1", "[2001:db8::1]/x:1", "[2001:db8::1]/x:1"),
        ("Registry/x:1", "Registry/x:1", "Registry/x:1"),
        ("a__b-c--d/e.f_g", "docker.io/a__b-c--d/e.f_g:latest", "a__b-c--d/e.f_g:latest"),
        # Where the short form would mean something else, the long one is the familiar one.
        ("docker.io/localhost/x", "docker.io/localhost/x:latest", "docker.io/localhost/x:latest"),
        ("docker.io/foo.bar/x", "docker.io/foo.bar/x:latest", "docker.io/foo.bar/x:latest"),
        ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        (f"docker.io/library/{DIGEST}", f"docker.io/library/{DIGEST}", f"library/{DIGEST}"),
    ],
)
def test_reference_has_a_canonical_and_a_familiar_form(text: str, canonical: str, familiar: str) -> None:
    """Both are read as the same reference."""
    reference = parse_reference(text)

    assert (canonical, familiar) == (reference.canonical, reference.familiar)
    assert str(reference) == canonical
    assert reference == parse_reference(canonical) == parse_reference(familiar)


def test_parts_of_a_reference() -> None:
    """The port is no tag."""
    expected = Reference(registry="h:5000", repository="team/app", tag="1", digest=parse_digest(DIGEST))

    assert expected == parse_reference(f"h:5000/team/app:1@{DIGEST}")
    assert expected.name == "h:5000/team/app"


def test_latest_is_only_added_where_nothing_else_is_said() -> None:
    """A digest says enough."""
    assert parse_reference("x").tag == "latest"
    assert parse_reference("x", default_tag=False).tag is None
    assert parse_reference("x", default_tag=False).canonical == "docker.io/library/x"
    assert parse_reference(f"x@{DIGEST}").tag is None


def test_tag_and_digest_are_replaced_one_at_a_time() -> None:
    """Each leaves the other alone, and is checked."""
    reference = parse_reference(f"x:1@{DIGEST}")

    assert reference.with_tag("2").canonical == f"docker.io/library/x:2@{DIGEST}"
    assert reference.with_digest(None).canonical == "docker.io/library/x:1"
    with pytest.raises(InvalidReferenceError):
        reference.with_tag("-x")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("Debian", "lower case.*write 'debian'"),
        ("team/App:1", "lower case.*write 'team/app'"),
        ("https://registry.example.org/x", "has a scheme.*leave out 'https'"),
        ("docker://x", "has a scheme"),
        (HEX, "is an image's id"),
        (DIGEST, "is an image's id"),
        (f"{HEX}:tag", "looks like an image's id"),
        ("x:", "invalid tag"),
        ("x:.1", "invalid tag"),
        ("x:1\n", "invalid tag"),
        (f"x:{'a' * 129}", "invalid tag"),
        ("x@", "its digest names no algorithm"),
        ("x@sha256:12", "its digest must be 64"),
        (f"x@{DIGEST}@{DIGEST}", "its digest must be 64"),
        ("a" * 256, "longer than 255"),
        ("a" * 1025, "longer than 1024"),
        ("x/", "must be parts"),
        ("/x", "must be parts"),
        ("x//y", "must be parts"),
        ("../x", "must be parts|must be a host name"),
        ("x/../y", "must be parts"),
        ("a..b", "must be parts"),
        ("a___b", "must be parts"),
        ("-x", "must be parts"),
        ("x y", "must be parts"),
        ("x\0", "must be parts"),
        ("é", "must be parts"),
        ("h:0/x", "must be a host name"),
        ("h:65536/x", "must be a host name"),
        ("h:port/x", "must be a host name"),
        ("-h.example/x", "must be a host name"),
        ("[::g]/x", "must be a host name"),
        ("user@h.example/x", "before the registry"),
    ],
)
def test_what_is_no_reference_is_refused(text: str, reason: str) -> None:
    """With what is wrong, and where it helps with what to write."""
    with pytest.raises(InvalidReferenceError, match=reason):
        parse_reference(text)


@pytest.mark.parametrize("text", ["user:secret@h.example/x", "https://user:secret@h.example/x:1"])
def test_password_in_a_reference_is_refused_and_not_shown(text: str) -> None:
    """Errors end up in logs."""
    with pytest.raises(InvalidReferenceError, match="before the registry") as caught:
        parse_reference(text)

    assert "secret" not in str(caught.value) + repr(caught.value)


def test_longest_reference_is_taken() -> None:
    """255 characters of repository, 128 of tag."""
    reference = parse_reference(f"r.example/{'a' * 255}:{'b' * 128}")

    assert len(reference.repository) == 255


def test_text_of_another_type_is_refused() -> None:
    """As an error of ours."""
    with pytest.raises(InvalidReferenceError, match="must be a string"):
        parse_reference(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("registry", "repository"), [("docker.io", "debian"), ("foo", "x"), ("index.docker.io", "library/x"), ("a/b", "x")]
)
def test_value_that_would_be_read_otherwise_cannot_be_made(registry: str, repository: str) -> None:
    """A reference is always what its text is."""
    with pytest.raises(InvalidReferenceError):
        Reference(registry=registry, repository=repository)
