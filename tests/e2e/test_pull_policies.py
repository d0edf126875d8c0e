"""Story: which image a name means when a container is made: what is here, or what the registry says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

import container_kit as ck
from container_kit import errors
from tests.registries import Registry, run_registry

pytestmark = [pytest.mark.needs_overlay, pytest.mark.needs_tools("docker-registry")]


@attrs.define
class Publisher:
    """A registry, and an engine from which images come into it."""

    registry: Registry
    engine: ck.Engine
    base: ck.Image
    lives: ExitStack

    @property
    def name(self) -> str:
        """The name under which everything is published."""
        return self.registry.reference("app:1")

    def publish(self, version: str) -> None:
        """Let the name mean an image whose containers say this version."""
        made = self.base.with_config(changes=[f'CMD ["payload", "echo", "{version}"]'])
        made.push(self.name)

    def end(self) -> None:
        """Take the registry away."""
        self.lives.close()


@pytest.fixture
def publisher(tmp_path: Path, payload_rootfs: Path) -> Iterator[Publisher]:
    """Give a registry in which the first version is."""
    with (
        ExitStack() as lives,
        ck.Engine(tmp_path / "p", runtime=str(tmp_path / "q")) as engine,
    ):
        registry = lives.enter_context(run_registry(tmp_path / "registry"))
        base = ck.Image.from_directory(payload_rootfs, "base:1", engine=engine)
        publisher = Publisher(registry, engine, base, lives)
        publisher.publish("one")
        yield publisher


def said(engine: ck.Engine, name: str, policy: str | None = None) -> str:
    """Return what a container of the image says."""
    return ck.run(name, pull=policy, text=True, engine=engine).stdout.strip()  # type: ignore[call-overload,no-any-return]


def test_what_is_missing_is_pulled_and_then_stays(engine: ck.Engine, publisher: Publisher) -> None:
    """The default: the registry is asked once, whatever it says later."""
    assert "one" == said(engine, publisher.name)

    publisher.publish("two")

    assert "one" == said(engine, publisher.name)
    assert "one" == said(engine, publisher.name, "missing")


def test_always_means_what_the_registry_says_now(engine: ck.Engine, publisher: Publisher) -> None:
    """The older image is dangling afterwards; without the registry there is no container."""
    said(engine, publisher.name)
    publisher.publish("two")

    assert "two" == said(engine, publisher.name, "always")
    assert 2 == len(ck.Image.list(engine=engine))
    publisher.end()
    with pytest.raises(errors.ImageUnreachableError):
        said(engine, publisher.name, "always")


def test_newer_is_content_with_what_is_here(engine: ck.Engine, publisher: Publisher) -> None:
    """As long as the registry cannot say; what was never here is an error."""
    said(engine, publisher.name)
    publisher.publish("two")

    assert "two" == said(engine, publisher.name, "newer")
    publisher.end()
    assert "two" == said(engine, publisher.name, "newer")
    with pytest.raises(errors.ImageUnreachableError):
        said(engine, publisher.registry.reference("other:1"), "newer")


def test_never_asks_nobody(engine: ck.Engine, publisher: Publisher) -> None:
    """What is here is run, what is not is not found."""
    before = publisher.registry.count_requests()

    with pytest.raises(errors.ImageNotFoundError):
        said(engine, publisher.name, "never")

    assert before + 1 == publisher.registry.count_requests()  # the counting is one, too
    ck.Image.pull(publisher.name, engine=engine)
    assert "one" == said(engine, publisher.name, "never")


def test_an_image_of_another_platform_is_pulled_for_this_one(engine: ck.Engine, publisher: Publisher) -> None:
    """It is there for one platform only: the error says for which."""
    said(engine, publisher.name)

    with pytest.raises(errors.ImageNotFoundError) as caught:
        ck.run(publisher.name, platform="linux/s390x", engine=engine)

    assert any("linux/" in platform for platform in caught.value.near)


def test_what_does_not_exist_is_an_error_of_the_registry(engine: ck.Engine, publisher: Publisher) -> None:
    """Nothing is left of the attempt."""
    with pytest.raises(errors.ManifestUnknownError):
        ck.run(publisher.registry.reference("nobody:1"), engine=engine)

    assert [] == ck.Image.list(engine=engine)
    assert [] == ck.Container.list(all=True, engine=engine)


def test_catalogues_and_tags_can_be_asked_for(engine: ck.Engine, publisher: Publisher) -> None:
    """A registry without a search lists what it has."""
    found = ck.Image.search("ap", registry=publisher.registry.authority, engine=engine)

    assert [publisher.registry.reference("app")] == [result.name for result in found]
    assert ("1",) == ck.Image.tags_of(publisher.registry.reference("app"), engine=engine)
    assert () == ck.Image.search("zebra", registry=publisher.registry.authority, engine=engine)
