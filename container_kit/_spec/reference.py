"""References: how people name images, `[registry/]repository[:tag][@digest]`, as Docker understands them.

The grammar is that of distribution/reference (reference.go, normalize.go), whose rules
are kept even where they surprise: the first part is a registry only if it has a dot, a
colon or a capital, or is `localhost`; everything else is on Docker Hub, and names of
one part are in its `library`. Two spellings of one image have one canonical form.
"""

from __future__ import annotations

import re

import attrs

from container_kit._spec.digest import Digest, parse_digest
from container_kit.errors import InvalidDigestError, InvalidReferenceError

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"

_OFFICIAL = "library/"
_OLD_DEFAULT_REGISTRY = "index.docker.io"
_LONGEST_REPOSITORY = 255
_LONGEST = 1024
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::([0-9]{{1,5}}))?", re.ASCII)
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}", re.ASCII)
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_HINT = "a reference is 'debian:12' or 'registry.example.org:5000/team/app:1.0'"


@attrs.frozen(kw_only=True)
class Reference:
    """A registry, a repository in it, and a tag, a digest, both or neither.

    With both, the digest says what is meant, and the tag is for people.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    def __attrs_post_init__(self) -> None:
        _check_registry(self.registry)
        _check_repository(self.registry, self.repository)
        if _split(self.name) != (self.registry, self.repository):
            reason = "would be understood as another name"
            raise InvalidReferenceError(field="reference", value=self.name, reason=reason, hint=_HINT)
        if self.tag is not None and not _TAG.fullmatch(self.tag):
            reason = "must be at most 128 letters, digits, '_', '.' or '-', and not begin with '.' or '-'"
            raise InvalidReferenceError(field="tag", value=self.tag, reason=reason)
        if self.digest is not None:
            parse_digest(self.digest, "digest of the reference")

    @property
    def name(self) -> str:
        """The registry and the repository: `docker.io/library/debian`."""
        return f"{self.registry}/{self.repository}"

    @property
    def canonical(self) -> str:
        """Everything, spelled out: `docker.io/library/debian:12`."""
        return f"{self.name}{self._ending}"

    @property
    def familiar(self) -> str:
        """The shortest form that means the same: `debian:12`."""
        if self.registry != DEFAULT_REGISTRY:
            return self.canonical
        name = self.repository.removeprefix(_OFFICIAL)
        for short in (name, self.repository):
            if _split(short) == (self.registry, self.repository) and not _is_other_name(f"{short}{self._ending}"):
                return f"{short}{self._ending}"
        return self.canonical

    @property
    def _ending(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return tag if self.digest is None else f"{tag}@{self.digest}"

    def with_tag(self, tag: str | None) -> Reference:
        """Return the reference with another tag, or without one; a digest stays."""
        return attrs.evolve(self, tag=tag)

    def with_digest(self, digest: Digest | None) -> Reference:
        """Return the reference with another digest, or without one; a tag stays."""
        return attrs.evolve(self, digest=digest)

    def __str__(self) -> str:
        return self.canonical


def parse_reference(text: str, *, default_tag: bool = True) -> Reference:
    """Return the reference that a text is.

    Args:
        text: `debian`, `debian:12`, `registry.example.org:5000/team/app:1@sha256:…`, `[::1]:5000/app`.
        default_tag: add the tag `latest` where there is neither a tag nor a digest.

    Raises:
        InvalidReferenceError: it is none: empty, too long, with capitals or a scheme, or an image's id.
    """
    _check_text(text)
    named, at, digest = text.partition("@")
    # A colon after the last slash begins a tag; one before it belongs to a port or to an IPv6 address.
    path, colon, tag = named.rpartition(":")
    if not colon or "/" in tag:
        path, colon, tag = named, "", ""
    registry, repository = _split(path)
    return Reference(
        registry=registry,
        repository=repository,
        tag=tag if colon else (DEFAULT_TAG if default_tag and not at else None),
        digest=_digest_of(text, digest) if at else None,
    )


def _split(name: str) -> tuple[str, str]:
    """Return the registry and the repository of a name without tag and digest."""
    first, slash, rest = name.partition("/")
    if not slash or not (first == "localhost" or any(sign in first for sign in ".:") or first != first.lower()):
        first, rest = DEFAULT_REGISTRY, name
    if first == _OLD_DEFAULT_REGISTRY:
        first = DEFAULT_REGISTRY
    if first == DEFAULT_REGISTRY and "/" not in rest:
        rest = f"{_OFFICIAL}{rest}"
    return first, rest


def _digest_of(text: str, digest: str) -> Digest:
    try:
        return parse_digest(digest)
    except InvalidDigestError as error:
        reason = f"its digest {error.reason}"
        raise InvalidReferenceError(field="reference", value=text, reason=reason, hint=error.hint) from error


def _is_other_name(text: str) -> bool:
    """Say whether a text is the id of an image, with or without algorithm, and so never a reference."""
    return _IMAGE_ID.fullmatch(text.removeprefix("sha256:")) is not None


def _check_text(text: object) -> None:
    reason, hint = "", _HINT
    if not isinstance(text, str):
        reason = "must be a string"
    elif not text:
        reason = "is empty"
    elif len(text) > _LONGEST:
        reason = f"is longer than {_LONGEST} characters"
    elif "/" in text.partition("@")[2]:  # user:password@registry/repository: never shown
        reason, text, hint = (
            "has something before the registry, like a password",
            None,
            "log in to the registry instead",
        )
    elif "://" in text:
        reason, hint = "has a scheme", f"leave out {text.partition('://')[0]!r} and '://'"
    elif _is_other_name(text):
        reason, hint = "is an image's id, not a name", "get the image by its id: Image.get(id)"
    if reason:
        raise InvalidReferenceError(field="reference", value=text, reason=reason, hint=hint)


def _check_registry(registry: str) -> None:
    found = _REGISTRY.fullmatch(registry)
    if not found or (found[1] and not 1 <= int(found[1]) <= 65535):
        reason = "must be a host name or [IPv6 address], perhaps with a port"
        raise InvalidReferenceError(field="registry", value=registry, reason=reason, hint=_HINT)


def _check_repository(registry: str, repository: str) -> None:
    reason, hint = "", _HINT
    if len(repository) > _LONGEST_REPOSITORY:
        reason = f"is longer than {_LONGEST_REPOSITORY} characters"
    elif not _REPOSITORY.fullmatch(repository):
        reason, hint = _what_is_wrong(repository)
    elif registry == DEFAULT_REGISTRY and _IMAGE_ID.fullmatch(repository.removeprefix(_OFFICIAL)):
        reason = "looks like an image's id"
    if reason:
        written = repository.removeprefix(_OFFICIAL) if registry == DEFAULT_REGISTRY else repository
        raise InvalidReferenceError(field="repository", value=written, reason=reason, hint=hint)


def _what_is_wrong(repository: str) -> tuple[str, str]:
    lower = repository.lower()
    if lower != repository and _REPOSITORY.fullmatch(lower):
        return "must be lower case", f"write {lower.removeprefix(_OFFICIAL)!r}"
    return "must be parts of a-z and 0-9, with '.', '_', '__' or '-' inside them, joined by '/'", _HINT
