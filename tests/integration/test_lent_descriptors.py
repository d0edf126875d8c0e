"""Descriptors that an engine gives its monitors, while another thread closes the engine and opens files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import attrs
import pytest

import container_kit as ck
from container_kit._linux import idmap
from container_kit._runtime import execs, launch
from container_kit._runtime import site as site_module
from container_kit._runtime.site import Site
from container_kit._spec.facts import IdMap

FILES = 64


@attrs.frozen(kw_only=True)
class Closing:
    """An engine that another thread closes at the worst time."""

    engine: ck.Engine
    secret: Path
    files: ExitStack

    def close(self) -> None:
        """Close the engine and open files of the host, which get the numbers that became free."""
        thread = threading.Thread(target=self._close)
        thread.start()
        thread.join()

    def _close(self) -> None:
        self.engine.close()
        for _ in range(FILES):
            self.files.enter_context(self.secret.open())


@pytest.fixture
def closing(engine: ck.Engine, tmp_path: Path) -> Iterator[Closing]:
    """Give a second engine at the same place."""
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    with ExitStack() as files, ck.Engine(engine.root, runtime=str(tmp_path / "r")) as second:
        yield Closing(engine=second, secret=secret, files=files)


def spawned(box: ck.Container, _: ck.Image, engine: ck.Engine) -> bytes:
    """Return what a process reads whose stdin and stderr are empty."""
    with ck.Container.get(box.id, engine=engine).spawn(["payload", "cat"], stderr=ck.DEVNULL) as process:
        assert process.stdout is not None
        return process.stdout.read()


def executed(box: ck.Container, _: ck.Image, engine: ck.Engine) -> bytes:
    """Return what a command reads that has no input."""
    return ck.Container.get(box.id, engine=engine).exec(["payload", "cat"]).stdout


def ran(_: ck.Container, image: ck.Image, engine: ck.Engine) -> bytes:
    """Return what a container reads that has no input."""
    return ck.run(image, ["payload", "cat"], engine=engine).stdout


@pytest.mark.parametrize(
    ("use", "module", "name"),
    [(spawned, execs, "open_session"), (executed, execs, "open_session"), (ran, launch, "spawn_monitor")],
)
def test_what_is_being_started_reads_nothing_of_the_callers(
    box: ck.Container,
    image: ck.Image,
    closing: Closing,
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[ck.Container, ck.Image, ck.Engine], bytes],
    module: ModuleType,
    name: str,
) -> None:
    """Between taking its descriptors and sending them the engine is closed; it gets /dev/null all the same."""
    send = getattr(module, name)

    def close_and_send(*args: object, **options: object) -> object:
        closing.close()
        return send(*args, **options)

    monkeypatch.setattr(module, name, close_and_send)

    assert b"" == use(box, image, closing.engine)


@pytest.fixture
def site(engine: ck.Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Give a site as a user without subordinate ids has it, in a process that has made no user namespace."""
    made: dict[object, site_module._UserNamespace] = {}  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(site_module, "_user_namespaces", made)
    id_map = IdMap(uids=idmap.single_range(os.geteuid()), gids=idmap.single_range(os.getegid()))
    facts = attrs.evolve(engine.site.facts, rootless=True, id_map=id_map)

    yield Site(engine.site.home, engine.site.database, facts)

    for namespace in made.values():
        os.close(namespace.fd)


@pytest.mark.needs_userns
def test_a_user_namespace_outlives_its_site(site: Site, tmp_path: Path) -> None:
    """Whoever still has the number has the namespace, and later sites have the same one."""
    lent = site.user_namespace()
    assert lent is not None
    namespace = os.readlink(f"/proc/self/fd/{lent}")

    site.close()

    with ExitStack() as files:
        for number in range(FILES):
            files.enter_context((tmp_path / str(number)).open("w"))
        assert namespace == os.readlink(f"/proc/self/fd/{lent}")
    assert lent == site.user_namespace()


@pytest.mark.needs_userns
def test_a_closed_user_namespace_is_made_again(site: Site, tmp_path: Path) -> None:
    """Daemons close all that is open: the number may be of something else by then."""
    lent = site.user_namespace()
    assert lent is not None
    with (tmp_path / "other").open("w") as other:
        os.dup2(other.fileno(), lent)

    again = site.user_namespace()

    os.close(lent)
    assert again is not None
    assert lent != again
    assert os.readlink(f"/proc/self/fd/{again}").startswith("user:[")


@pytest.mark.needs_userns
def test_a_child_of_a_fork_has_a_user_namespace_of_its_own(site: Site) -> None:
    """The parent's may be above the one that the child has entered since."""
    lent = site.user_namespace()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(site.user_namespace()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    seen = os.read(read, 100)
    for fd in (read, write):
        os.close(fd)

    assert seen.isdigit()
    assert lent != int(seen)
