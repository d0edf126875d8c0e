"""Laws of what images are named and described by: printing is the inverse of parsing; what is strange only fails."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from container_kit._spec.changes import apply_changes
from container_kit._spec.descriptor import Descriptor, parse_descriptor
from container_kit._spec.digest import Digest, algorithm_of, digest_of, hex_of, parse_digest
from container_kit._spec.healthcheck import Healthcheck
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.manifest import Index, Manifest, encode_index, encode_manifest, parse_document
from container_kit._spec.oci_config import edit_oci_config, new_oci_config, parse_oci_config
from container_kit._spec.paths import ContainerPath
from container_kit._spec.platform import Platform, choose_platform, parse_platform, runs_on
from container_kit._spec.reference import Reference, parse_reference
from container_kit._spec.strict_json import encode_json, parse_json
from container_kit.errors import (
    ImageError,
    InvalidDigestError,
    InvalidReferenceError,
    InvalidSpecError,
)

TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
LINES = TEXTS.map(lambda text: text.replace("\n", "").replace("\r", ""))
PARTS = st.from_regex(r"[a-z0-9]{1,5}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,3}){0,2}", fullmatch=True)
REGISTRIES = st.sampled_from(
    ["docker.io", "localhost", "localhost:5000", "r.example", "R.example:1", "[::1]", "[2001:db8::1]:443", "Host"]
)
TAGS = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,10}", fullmatch=True) | st.just("a" * 64)
DIGESTS = st.binary(max_size=8).map(digest_of) | st.just(Digest(f"sha512:{'0a' * 64}"))
WORDS = st.from_regex(r"[A-Za-z0-9_.-]{1,6}", fullmatch=True)
PLATFORMS = (
    st.lists(WORDS, min_size=2, max_size=3).map("/".join)
    | st.sampled_from(["linux/amd64/v3", "linux/arm/v6", "linux/arm64/v9.2", "linux/386", "armhf", "arm"])
).map(parse_platform)
PAIRS = st.dictionaries(TEXTS, TEXTS, max_size=3).map(lambda pairs: tuple(sorted(pairs.items())))
DESCRIPTORS = st.builds(
    Descriptor,
    media_type=st.text(min_size=1, max_size=10, alphabet="abc/+.-"),
    digest=DIGESTS,
    size=st.integers(0, 2**63 - 1),
    platform=st.none() | PLATFORMS,
    annotations=PAIRS,
    urls=st.lists(TEXTS, max_size=2).map(tuple),
)
NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)
COMMANDS = st.lists(TEXTS, max_size=3).map(tuple).filter(lambda words: words != ("",))
DURATIONS = st.integers(10**6, 10**15).map(lambda number: number / 10**9)
CHECKS = st.builds(
    Healthcheck,
    st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
    interval=DURATIONS,
    start_period=st.just(0.0) | DURATIONS,
    retries=st.integers(1, 9),
) | st.just(Healthcheck.none())
CONFIGS = st.builds(
    ImageConfig,
    env=st.dictionaries(NAMES, TEXTS, max_size=3).map(lambda pairs: tuple(pairs.items())),
    entrypoint=COMMANDS,
    command=COMMANDS,
    working_dir=st.none() | st.from_regex(r"(/[a-z]{1,4}){1,3}", fullmatch=True).map(ContainerPath),
    user=st.none() | LINES.filter(bool),
    stop_signal=st.none() | st.integers(1, 64).filter(lambda number: number not in (32, 33)),
    labels=st.dictionaries(LINES.filter(bool), TEXTS, max_size=3).map(lambda pairs: tuple(sorted(pairs.items()))),
    healthcheck=st.none() | CHECKS,
    architecture=st.just("amd64"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=10,
)
# JSON that means something to the parsers of documents.
FIELDS = st.sampled_from(
    "schemaVersion mediaType config layers manifests annotations digest size platform urls os architecture rootfs "
    "diff_ids history Env Cmd cmd Entrypoint Healthcheck Test Interval Labels Volumes User WorkingDir StopSignal "
    "created".split()
)
LEAVES = st.sampled_from([2, "", "layers", "NONE", "CMD", "application/json", f"sha256:{'a' * 64}"]) | JSON
DOCUMENTS = st.dictionaries(
    FIELDS,
    st.recursive(
        LEAVES, lambda values: st.lists(values, max_size=3) | st.dictionaries(FIELDS, values, max_size=4), max_leaves=12
    ),
)


@given(text=st.text(max_size=80) | DIGESTS)
def test_accepted_digest_is_safe_in_a_path(text: str) -> None:
    """An algorithm of two, and hexadecimal digits; nothing is changed."""
    try:
        digest = parse_digest(text)
    except InvalidDigestError:
        return

    assert digest == text
    assert algorithm_of(digest) in ("sha256", "sha512")
    assert set(hex_of(digest)) <= set("0123456789abcdef")


@given(
    registry=REGISTRIES, parts=st.lists(PARTS, min_size=1, max_size=3), tag=st.none() | TAGS, digest=st.none() | DIGESTS
)
def test_reference_survives_each_of_its_forms(
    registry: str, parts: list[str], tag: str | None, digest: Digest | None
) -> None:
    """Whatever it is made of."""
    given_text = f"{registry}/{'/'.join(parts)}{f':{tag}' if tag else ''}{f'@{digest}' if digest else ''}"
    reference = parse_reference(given_text, default_tag=False)

    assert reference == parse_reference(reference.canonical, default_tag=False)
    assert reference == parse_reference(reference.familiar, default_tag=False)
    assert (tag, digest) == (reference.tag, reference.digest)
    assert len(reference.familiar) <= len(reference.canonical)


@given(text=st.text(max_size=40) | st.text(alphabet="aA0.:/@-_[]", max_size=14))
@example(text="docker.io/library/" + "a" * 64)
def test_accepted_reference_is_normal(text: str) -> None:
    """Its canonical form is a fixed point, in lower case where it must be, and cannot climb."""
    try:
        reference = parse_reference(text)
    except InvalidReferenceError:
        return

    again = parse_reference(reference.canonical)
    assert again == reference == parse_reference(reference.familiar)
    assert again.canonical == reference.canonical
    assert reference.repository == reference.repository.lower()
    assert not {"", ".", ".."} & set(reference.name.split("/"))


@given(registry=st.text(max_size=8), repository=st.text(alphabet="a./:", max_size=8))
def test_reference_that_can_be_made_can_be_read(registry: str, repository: str) -> None:
    """Or else it cannot be made."""
    try:
        reference = Reference(registry=registry, repository=repository)
    except InvalidReferenceError:
        return

    assert reference == parse_reference(reference.canonical, default_tag=False)


@given(platform=PLATFORMS)
def test_platform_survives_its_text_and_runs_on_itself(platform: Platform) -> None:
    """Parsing is the inverse of printing."""
    assert platform == parse_platform(str(platform))
    assert runs_on(platform, platform)


@given(wanted=PLATFORMS, offered=st.lists(PLATFORMS, max_size=5))
def test_choice_does_not_depend_on_what_does_not_fit(wanted: Platform, offered: list[Platform]) -> None:
    """It runs there, and is found if anything does."""
    chosen = choose_platform(wanted, offered, lambda platform: platform)

    fitting = [platform for platform in offered if runs_on(wanted, platform)]
    assert (chosen is None) == (not fitting)
    assert chosen is None or chosen in fitting
    assert chosen == choose_platform(wanted, fitting, lambda platform: platform)


@settings(deadline=None)  # a busy machine is no failure
@given(descriptor=DESCRIPTORS)
def test_descriptor_survives_json(descriptor: Descriptor) -> None:
    """In every field."""
    document = parse_json(encode_json({"x": descriptor.to_json()}), what="x")

    assert descriptor == parse_descriptor(document["x"], "x")


@settings(deadline=None)  # a busy machine is no failure
@given(config=DESCRIPTORS, layers=st.lists(DESCRIPTORS, max_size=3), annotations=PAIRS)
def test_manifest_and_index_survive_json(config: Descriptor, layers: list[Descriptor], annotations: Any) -> None:
    """And are the same bytes each time."""
    manifest = Manifest(config=config, layers=tuple(layers), annotations=annotations)
    index = Index(manifests=tuple(layers), annotations=annotations)

    assert manifest == parse_document(encode_manifest(manifest), media_type=manifest.media_type, what="x")
    assert index == parse_document(encode_index(index), media_type=None, what="x")
    assert encode_index(index) == encode_index(index)


@settings(deadline=None)  # a busy machine is no failure
@given(document=st.dictionaries(TEXTS, JSON, max_size=4))
def test_json_survives(document: dict[str, Any]) -> None:
    """Encoded by us or by others."""
    assert document == parse_json(encode_json(document), what="x")
    assert document == parse_json(json.dumps(document, indent=1).encode(), what="x")


@settings(deadline=None)  # a busy machine is no failure
@given(
    data=st.binary(max_size=60)
    | st.text(alphabet='{}[]",:\\u0dDeE19.-NaInfty \n', max_size=40).map(str.encode)
    | st.dictionaries(TEXTS, JSON, max_size=3).map(lambda document: json.dumps(document).encode()[:-1])
)
@example(data=b'{"a":' * 5_000)
@example(data=b"[" * 5_000 + b"]" * 5_000)
@example(data=b'"' + b"\\" * 1001)
def test_any_bytes_are_an_object_or_an_image_error(data: bytes) -> None:
    """Nothing else ever comes out; what is read, other readers read alike."""
    try:
        document = parse_json(data, what="x")
    except ImageError:
        return

    assert document == json.loads(data)


@settings(deadline=None)  # a busy machine is no failure
@given(document=DOCUMENTS)
def test_strange_documents_are_image_errors_at_most(document: dict[str, Any]) -> None:
    """As manifests, as indexes and as configs, with any type in any field."""
    data = json.dumps({"schemaVersion": 2, "rootfs": {}, **document}).encode()

    for parse in (
        lambda: parse_document(data, media_type=None, what="x"),
        lambda: edit_oci_config(parse_oci_config(data, what="x"), author="me", volumes=["/v"], history=[]),
    ):
        try:
            parse()
        except ImageError:
            pass


@settings(deadline=None)  # a busy machine is no failure
@given(image=CONFIGS)
def test_image_config_survives_its_document(image: ImageConfig) -> None:
    """Written into a new config, and over an old one."""
    other = new_oci_config(parse_platform("amd64"), image=ImageConfig(env=(("OLD", "1"),), command=("x",), user="y"))

    made = new_oci_config(parse_platform("amd64"), image=image)

    assert image == made.config
    assert image == edit_oci_config(other, image=image).config
    assert made is edit_oci_config(made, image=image)
    assert made == parse_oci_config(made.raw, what="x")


@settings(deadline=None)  # a busy machine is no failure
@given(
    name=st.sampled_from("CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR".split()),
    rest=st.text(max_size=20) | st.text(alphabet="A=1 $\\{}:-+'\"/[]0", max_size=16),
)
def test_any_change_is_applied_or_refused(name: str, rest: str) -> None:
    """Nothing but an error of ours comes out."""
    try:
        changed = apply_changes(new_oci_config(parse_platform("amd64")), [f"{name} {rest}"])
    except InvalidSpecError:
        return

    assert changed == parse_oci_config(changed.raw, what="x")
