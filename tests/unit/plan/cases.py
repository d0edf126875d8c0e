"""Hosts, images and configurations that the tests of plans share; one launch for each golden file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from container_kit._plan.launch import ExecPlan, LaunchPlan, compile_exec_plan, compile_launch_plan
from container_kit._spec.container_config import ContainerConfig, ProcessConfig
from container_kit._spec.facts import HostFacts, IdMap, IdRange, OverlayForm
from container_kit._spec.identity import Identity
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.mounts import Mount
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit._spec.resources import Resources
from container_kit._spec.root_filesystem import OverlayLayers, RootFilesystem
from container_kit._spec.security import Security
from container_kit._spec.ulimits import Ulimit

ROOT = HostFacts(
    kernel=(6, 18),
    machine="x86_64",
    rootless=False,
    id_map=IdMap.identity(),
    overlay_form=OverlayForm.FD,
    resolv_conf=b"nameserver 192.0.2.1\n",
)
ROOTLESS = attrs.evolve(
    ROOT,
    rootless=True,
    overlay_form=OverlayForm.APPEND,
    id_map=IdMap(
        uids=(IdRange(0, 1000, 1), IdRange(1, 100000, 65536)), gids=(IdRange(0, 1000, 1), IdRange(1, 100000, 65536))
    ),
)
SINGLE_ID = attrs.evolve(ROOTLESS, id_map=IdMap(uids=(IdRange(0, 1000, 1),), gids=(IdRange(0, 1000, 1),)))

IMAGE = ImageConfig(env=(("LANG", "C.UTF-8"),), command=("/bin/sh",))
LAYERS = RootFilesystem(
    overlays=(OverlayLayers(target=ContainerPath("/"), lowers=(HostPath("/layers/top"), HostPath("/layers/bottom"))),)
)
HOST_LAYERS = RootFilesystem(
    overlays=(
        OverlayLayers(target=ContainerPath("/"), lowers=(HostPath("/layers/skeleton"),)),
        OverlayLayers(target=ContainerPath("/usr"), lowers=(HostPath("/usr"),)),
        OverlayLayers(target=ContainerPath("/opt/python"), lowers=(HostPath("/opt/python"),)),
    )
)
NOBODY = Identity(uid=65534, gid=65534, groups=(65534, 100), home="/nonexistent")
MOUNTS = (
    Mount.bind("/srv/data", "/data", read_only=True),
    attrs.evolve(Mount.bind("/srv/settings", "/data/settings"), source_is_dir=False),
    Mount.bind("/srv/shared", "/shared", propagation="rslave", recursive=False, noexec=True),
    Mount.tmpfs("/tmp", size="64m"),
    Mount.tmpfs("/dev/shm", size="1m", mode=0o700),
    attrs.evolve(Mount.bind("/srv/hosts", "/etc/hosts"), source_is_dir=False),
)


OWN_IDS = Security(userns="auto")
LABELLED = ContainerConfig(
    security=Security(apparmor="box", selinux="a:b:c:s0"), resources=Resources(oom_score_adj=500)
)


def launch(
    config: ContainerConfig | None = None,
    *,
    image: ImageConfig = IMAGE,
    root: RootFilesystem = LAYERS,
    identity: Identity | None = None,
    facts: HostFacts = ROOT,
    hostname: str = "box",
    volatile: bool = True,
) -> LaunchPlan:
    """Compile a launch with defaults for everything."""
    return compile_launch_plan(
        config=config or ContainerConfig(command=("echo", "hi")),
        image=image,
        root=root,
        identity=identity or Identity(),
        facts=facts,
        hostname=hostname,
        volatile=volatile,
    )


def execute(
    process: ProcessConfig | None = None,
    *,
    config: ContainerConfig | None = None,
    image: ImageConfig = IMAGE,
    identity: Identity | None = None,
    facts: HostFacts = ROOT,
    supervise: bool = False,
) -> ExecPlan:
    """Compile an exec with defaults for everything."""
    return compile_exec_plan(
        process=process or ProcessConfig(command=("ps",)),
        config=config or ContainerConfig(),
        image=image,
        identity=identity or Identity(),
        facts=facts,
        supervise=supervise,
    )


GOLDEN: Mapping[str, Callable[[], LaunchPlan | ExecPlan]] = {
    "default": lambda: launch(volatile=False),
    "read_only": lambda: launch(
        ContainerConfig(command=("sleep", "60"), read_only=True, working_dir=ContainerPath("/work")), identity=NOBODY
    ),
    "rootless": lambda: launch(facts=ROOTLESS, identity=NOBODY),
    "single_id": lambda: launch(facts=SINGLE_ID),
    "binds_and_tmpfs": lambda: launch(ContainerConfig(mounts=MOUNTS)),
    "tty": lambda: launch(ContainerConfig(tty=True, tty_size=(50, 132), stdin=True), identity=NOBODY),
    "init": lambda: launch(ContainerConfig(init=True, tty=True)),
    "host_network": lambda: launch(ContainerConfig(network="host"), facts=ROOTLESS),
    "exec": lambda: execute(ProcessConfig(command=("ps",), env=(("A", "1"),), tty=True), identity=NOBODY),
    "exec_supervised": lambda: execute(supervise=True, facts=SINGLE_ID),
    "host_image": lambda: launch(ContainerConfig(read_only=True), root=HOST_LAYERS),
    "privileged": lambda: launch(ContainerConfig(security=Security.privileged())),
    "labelled": lambda: launch(LABELLED),
    "exec_labelled": lambda: execute(config=LABELLED),
    "userns_auto": lambda: launch(
        ContainerConfig(security=OWN_IDS, mounts=MOUNTS, ulimits=(Ulimit("nofile", 64, 128),)), root=HOST_LAYERS
    ),
    "userns_auto_rootless": lambda: launch(
        ContainerConfig(security=OWN_IDS, mounts=MOUNTS, read_only=True, working_dir=ContainerPath("/work/here")),
        identity=NOBODY,
        facts=ROOTLESS,
    ),
    "exec_userns_auto": lambda: execute(config=ContainerConfig(security=OWN_IDS)),
}
