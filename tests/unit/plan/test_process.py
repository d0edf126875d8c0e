"""Arguments, environment, directory and signal: how a config overrides its image."""

from __future__ import annotations

import pytest

from container_kit._plan.process import argv_of, environment_of, exec_step, stop_signal_of, working_dir_of
from container_kit._spec.container_config import ContainerConfig, ProcessConfig
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.paths import ContainerPath
from container_kit.errors import InvalidCommandError

IMAGE = ImageConfig(entrypoint=("entry", "-x"), command=("default",))


@pytest.mark.parametrize(
    ("config", "argv"),
    [
        (ContainerConfig(), ("entry", "-x", "default")),
        (ContainerConfig(command=("mine",)), ("entry", "-x", "mine")),
        (ContainerConfig(entrypoint=("own",)), ("own",)),
        (ContainerConfig(entrypoint=("own",), command=("mine",)), ("own", "mine")),
        (ContainerConfig(entrypoint=(), command=("mine",)), ("mine",)),
    ],
)
def test_config_overrides_the_image_as_in_docker(config: ContainerConfig, argv: tuple[str, ...]) -> None:
    """A command replaces the image's command; an entrypoint replaces both."""
    assert argv == argv_of(config, IMAGE)


@pytest.mark.parametrize("config", [ContainerConfig(entrypoint=()), ContainerConfig(entrypoint=(), command=("",))])
def test_nothing_to_run_is_refused(config: ContainerConfig) -> None:
    """No command, or one that is an empty text, cannot be executed."""
    with pytest.raises(InvalidCommandError, match="nothing to run"):
        argv_of(config, IMAGE)


def test_defaults_fill_the_environment_only_where_it_is_silent() -> None:
    """PATH, HOSTNAME and HOME come from us unless the image or the config says something."""
    config = ContainerConfig(env=(("HOME", "/elsewhere"), ("B", "config")))
    image = ImageConfig(env=(("PATH", "/only"), ("A", "image"), ("B", "image")))

    environment = environment_of(config, image, hostname="box", home="/root", terminal=False)

    assert environment == {"PATH": "/only", "HOSTNAME": "box", "HOME": "/elsewhere", "A": "image", "B": "config"}


def test_terminal_is_announced_unless_the_image_knows_better() -> None:
    """TERM is set with a terminal only."""
    with_term = environment_of(ContainerConfig(), ImageConfig(), hostname="b", home="/", terminal=True)
    own_term = environment_of(
        ContainerConfig(), ImageConfig(env=(("TERM", "dumb"),)), hostname="b", home="/", terminal=True
    )

    assert (with_term["TERM"], own_term["TERM"]) == ("xterm", "dumb")


def test_process_has_the_containers_environment_and_its_own() -> None:
    """What an exec adds wins."""
    config = ContainerConfig(env=(("A", "container"), ("B", "container")))
    process = ProcessConfig(command=("x",), env=(("B", "process"),))

    environment = environment_of(config, ImageConfig(), hostname="", home="/", terminal=False, process=process)

    assert (environment["A"], environment["B"]) == ("container", "process")
    assert "HOSTNAME" not in environment


def test_working_dir_is_the_first_that_is_given() -> None:
    """Process, then container, then image, then the root."""
    image = ImageConfig(working_dir=ContainerPath("/image"))
    config = ContainerConfig(working_dir=ContainerPath("/config"))
    process = ProcessConfig(command=("x",), working_dir=ContainerPath("/process"))

    assert working_dir_of(config, image, process) == "/process"
    assert working_dir_of(config, image) == "/config"
    assert working_dir_of(ContainerConfig(), image) == "/image"
    assert working_dir_of(ContainerConfig(), ImageConfig()) == "/"


def test_stop_signal_is_the_configs_then_the_images_then_sigterm() -> None:
    """The image knows how its program likes to be stopped."""
    assert stop_signal_of(ContainerConfig(stop_signal=2), ImageConfig(stop_signal=3)) == 2
    assert stop_signal_of(ContainerConfig(), ImageConfig(stop_signal=3)) == 3
    assert stop_signal_of(ContainerConfig(), ImageConfig()) == 15


@pytest.mark.parametrize(
    ("command", "path", "candidates"),
    [
        ("ls", "/usr/bin:/bin", ("/usr/bin/ls", "/bin/ls")),
        ("ls", "/bin/:/bin:/", ("/bin/ls", "/ls")),
        ("ls", ":relative:/bin", ("/bin/ls",)),
        ("/bin/ls", "/usr/bin", ("/bin/ls",)),
        ("./ls", "/usr/bin", ("./ls",)),
    ],
)
def test_command_is_looked_up_in_the_containers_path(command: str, path: str, candidates: tuple[str, ...]) -> None:
    """A command with a slash is taken as it is; folders of PATH that are not absolute are not searched."""
    step = exec_step((command,), {"PATH": path})

    assert candidates == tuple(dict.fromkeys(step.candidates))


@pytest.mark.parametrize("path", ["", ":", "bin"])
def test_path_without_absolute_folders_means_the_default(path: str) -> None:
    """An empty PATH does not mean the working directory."""
    assert exec_step(("ls",), {"PATH": path}).candidates[0] == "/usr/local/sbin/ls"
