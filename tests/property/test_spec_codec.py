"""Law: a config that was written comes back as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from container_kit._spec.codec import decode_config, encode_config
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.healthcheck import Healthcheck, RestartPolicy
from container_kit._spec.mounts import Mount
from container_kit._spec.security import CAPABILITIES, Security
from container_kit._spec.text import Pairs
from container_kit._spec.ulimits import UNLIMITED, Ulimit
from container_kit.errors import InvalidSpecError

# What an argument may be: anything the kernel can take, bytes outside UTF-8 included.
TEXT = st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
WORDS = st.lists(TEXT, max_size=4).map(tuple)
NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)
TARGETS = st.from_regex(r"/srv(/[a-z.]{3,5}){0,3}", fullmatch=True)


@st.composite
def pairs(draw: st.DrawFn) -> Pairs:
    """Return pairs with distinct keys."""
    return tuple(draw(st.dictionaries(NAMES, TEXT, max_size=4)).items())


@st.composite
def ulimits(draw: st.DrawFn) -> tuple[Ulimit, ...]:
    """Return limits of distinct resources."""
    names = draw(st.lists(st.sampled_from(("nofile", "core", "stack", "nproc")), unique=True))
    hard = draw(st.integers(0, UNLIMITED))
    return tuple(Ulimit(name, draw(st.integers(0, hard)), hard) for name in names)


MOUNTS = st.one_of(
    st.builds(Mount.bind, st.just("/host"), TARGETS, read_only=st.booleans(), recursive=st.booleans()),
    st.builds(Mount.tmpfs, TARGETS, size=st.none() | st.integers(0, 2**40), mode=st.integers(0, 0o7777)),
)
SECURITY = st.builds(
    Security,
    cap_add=st.lists(st.sampled_from(list(CAPABILITIES)), max_size=3, unique=True).map(tuple),
    no_new_privileges=st.booleans(),
)
CONFIGS = st.builds(
    ContainerConfig,
    command=WORDS,
    entrypoint=st.none() | WORDS,
    env=pairs(),
    labels=pairs(),
    init=st.booleans(),
    mounts=st.lists(MOUNTS, max_size=3, unique_by=lambda mount: mount.target).map(tuple),
    ulimits=ulimits(),
    stop_signal=st.none() | st.integers(1, 64),
    stop_timeout=st.floats(0, 1e6),
    restart=st.builds(RestartPolicy.on_failure, st.integers(0, 9)) | st.just(RestartPolicy.always()),
    healthcheck=st.none() | st.builds(Healthcheck, WORDS, retries=st.integers(1, 9)),
    security=SECURITY,
)


@given(config=CONFIGS)
def test_config_survives_writing_and_reading(config: ContainerConfig) -> None:
    """decode(encode(x)) == x."""
    assert config == decode_config(encode_config(config))


@given(text=st.text(max_size=60) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr))
def test_reading_anything_gives_a_config_or_a_typed_error(text: str) -> None:
    """Rubbish never gets further than an `InvalidSpecError`."""
    try:
        config = decode_config(text)
    except InvalidSpecError:
        return

    assert config == decode_config(encode_config(config))
