"""Random values for the laws: paths, steps, configurations, hosts, seccomp profiles."""

from __future__ import annotations

import enum
import typing

import attrs
from hypothesis import strategies as st

from container_kit._plan import seccomp_tables
from container_kit._plan.decode import STEP_CLASSES
from container_kit._plan.launch import LaunchPlan, compile_launch_plan
from container_kit._plan.ops import Step
from container_kit._plan.seccomp import (
    ALLOW,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    TRAP,
    Rule,
    SeccompProfile,
    refuse,
)
from container_kit._plan.seccomp_program import ALL_BITS, Comparison, Condition
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.facts import HostFacts, IdMap, IdRange, OverlayForm
from container_kit._spec.identity import Identity
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.mounts import Mount
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit._spec.root_filesystem import OverlayLayers, RootFilesystem
from container_kit._spec.security import CAPABILITIES, SeccompMode, Security, UserNamespaceMode
from container_kit._spec.ulimits import Ulimit

texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)
kernel_texts = st.binary(max_size=200).map(lambda data: data.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
numbers = st.integers(0, 2**32 - 1)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
container_paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: ContainerPath("/" + "/".join(parts)))
host_paths = container_paths.map(lambda path: HostPath(f"/host{path}"))

_WIRE = {
    "s": st.integers(0, 127),
    "u": numbers,
    "U": st.integers(0, 2**64 - 1),
    "p": kernel_texts,
    "b": st.binary(max_size=300),
    "S": st.lists(kernel_texts, max_size=5).map(tuple),
}


def _field(kind: str, declared: object) -> st.SearchStrategy[object]:
    if declared is bool:
        return st.booleans()
    if isinstance(declared, type) and issubclass(declared, enum.IntEnum):
        return st.sampled_from(list(declared))
    if isinstance(declared, type) and issubclass(declared, enum.IntFlag):
        return numbers.map(declared)
    return _WIRE[kind]


def steps_of(step_class: type[Step]) -> st.SearchStrategy[Step]:
    """Draw steps of one class with anything the wire can carry in their fields."""
    types = typing.get_type_hints(step_class)
    fields = {field.name: _field(field.metadata["wire"], types[field.name]) for field in attrs.fields(step_class)}
    return st.builds(step_class, **fields)


steps = st.one_of([steps_of(step_class) for step_class in STEP_CLASSES.values()])

# ── configurations ───────────────────────────────────────────────────────────

_TARGETS = ("/dev/shm", "/dev/mqueue", "/tmp", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc", "/sys/fs/bpf")
targets = st.one_of(st.sampled_from(_TARGETS), container_paths.map(lambda path: f"/mnt{path}"), container_paths).filter(
    lambda target: target not in ("/proc", "/sys", "/dev") and not target.startswith("/proc/")
)


def _bind(source: str, target: str, *, read_only: bool, recursive: bool, is_dir: bool) -> Mount:
    mount = Mount.bind(source, target, read_only=read_only, recursive=recursive)
    return attrs.evolve(mount, source_is_dir=is_dir)


def _tmpfs(target: str, size: int) -> Mount:
    return Mount.tmpfs(target, size=size)


def _security(
    added: frozenset[str], dropped: frozenset[str], *, nnp: bool, seccomp: SeccompMode, userns: UserNamespaceMode
) -> Security:
    return Security(
        cap_add=tuple(sorted(added)),
        cap_drop=tuple(sorted(dropped - added)),
        no_new_privileges=nnp,
        seccomp=seccomp,
        userns=userns,
    )


binds = st.builds(_bind, host_paths, targets, read_only=st.booleans(), recursive=st.booleans(), is_dir=st.booleans())
mounts = st.lists(
    st.one_of(binds, st.builds(_tmpfs, targets, st.integers(1, 2**30))),
    max_size=8,
    unique_by=lambda mount: mount.target,
).map(tuple)
capability_names = st.frozensets(st.sampled_from(sorted(CAPABILITIES)), max_size=6)
securities = st.builds(
    _security,
    capability_names,
    capability_names,
    nnp=st.booleans(),
    seccomp=st.sampled_from(SeccompMode),
    userns=st.sampled_from(["host", "auto"]),
)
configs = st.builds(
    ContainerConfig,
    command=st.lists(names, min_size=1, max_size=3).map(tuple),
    env=st.dictionaries(names, texts.filter(lambda text: "\n" not in text), max_size=3).map(lambda d: tuple(d.items())),
    working_dir=st.none() | container_paths,
    tty=st.booleans(),
    init=st.booleans(),
    mounts=mounts,
    read_only=st.booleans(),
    shm_size=st.integers(1, 2**40),
    ulimits=st.integers(0, 2**30).map(lambda soft: (Ulimit("nofile", soft),)),
    network=st.sampled_from(["none", "host"]),
    security=securities,
)
roots = st.lists(
    st.builds(OverlayLayers, target=container_paths, lowers=st.lists(host_paths, min_size=1, max_size=3).map(tuple)),
    max_size=3,
    unique_by=lambda overlay: overlay.target,
).map(
    lambda more: RootFilesystem(
        overlays=(OverlayLayers(target=ContainerPath("/"), lowers=(HostPath("/layers/x"),)), *more)
    )
)
id_maps = st.sampled_from(
    [
        IdMap.identity(),
        IdMap(uids=(IdRange(0, 1000, 1),), gids=(IdRange(0, 1000, 1),)),
        IdMap(uids=(IdRange(0, 100000, 65536),), gids=(IdRange(0, 100000, 65536),)),
    ]
)
hosts = st.builds(
    HostFacts,
    kernel=st.sampled_from([(5, 15), (6, 1), (6, 18)]),
    machine=st.sampled_from(["x86_64", "aarch64"]),
    rootless=st.booleans(),
    id_map=id_maps,
    overlay_form=st.sampled_from(OverlayForm),
    resolv_conf=st.binary(max_size=50),
)
images = st.builds(ImageConfig, working_dir=st.none() | container_paths)


@attrs.frozen(kw_only=True)
class Launch:
    """All that a launch is compiled from."""

    config: ContainerConfig
    image: ImageConfig
    root: RootFilesystem
    facts: HostFacts

    def compile(self) -> LaunchPlan:
        """Compile it, as uid 0, which every user namespace has."""
        return compile_launch_plan(
            config=self.config,
            image=self.image,
            root=self.root,
            identity=Identity(),
            facts=self.facts,
            hostname="box",
            volatile=True,
        )


launches = st.builds(Launch, config=configs, image=images, root=roots, facts=hosts)

# ── seccomp ──────────────────────────────────────────────────────────────────

_CALLS = st.lists(st.sampled_from(sorted(seccomp_tables.X86_64)), min_size=1, max_size=60).map(tuple)


def _condition(argument: int, compare: Comparison, value: int, mask: int, bits: int) -> Condition:
    return Condition(argument, compare, value, mask=mask if compare is Comparison.MASKED_EQ else ALL_BITS, bits=bits)


_WORDS = st.integers(0, 9) | numbers | st.integers(0, 2**64 - 1)
conditions = st.builds(
    _condition, st.integers(0, 5), st.sampled_from(Comparison), _WORDS, _WORDS, st.sampled_from((32, 64))
)
_ACTIONS = st.just(ALLOW) | st.sampled_from((KILL_PROCESS, KILL_THREAD, TRAP, LOG)) | st.integers(1, 130).map(refuse)
profiles = st.builds(
    SeccompProfile,
    rules=st.lists(
        st.builds(Rule, names=_CALLS, action=_ACTIONS, when=st.lists(conditions, max_size=4).map(tuple)), max_size=12
    ).map(tuple),
    default=_ACTIONS,
    siblings=st.just(frozenset[str]()),
)
