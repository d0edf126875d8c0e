"""Story: an image is removed while a container is being made from it, before the container's row protects it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._images.origins import StoredOrigin
from container_kit._runtime import launch
from tests.registries import run_registry

pytestmark = [pytest.mark.needs_overlay, pytest.mark.needs_tools("docker-registry")]

MOMENTS: dict[str, tuple[object, str]] = {
    "before its layers are looked for": (StoredOrigin, "parts"),
    "before the plan is made": (launch, "compile_plan"),
    "before the monitor is there": (launch, "spawn"),
}


@pytest.fixture
def published(tmp_path: Path, payload_rootfs: Path) -> Iterator[str]:
    """Give the name of an image in a registry; its user has to be looked up in its files."""
    with run_registry(tmp_path / "registry") as registry:
        name = registry.reference("app:1")
        with ck.Engine(tmp_path / "p", runtime=str(tmp_path / "q")) as engine:
            config = ck.ImageConfig(command=("payload", "echo", "here"), user="root")
            ck.Image.from_directory(payload_rootfs, "base:1", config=config, engine=engine).push(name)
        yield name


def remove_first(monkeypatch: pytest.MonkeyPatch, engine: ck.Engine, name: str, moment: str) -> Callable[[], int]:
    """Remove an image right before something is done for the first time; return what says how often it was done."""
    place, function = MOMENTS[moment]
    carry_out = getattr(place, function)
    calls: list[object] = []

    def after_removal(*args: object, **options: object) -> object:
        calls.append(args)
        if len(calls) == 1:
            ck.Image.get(name, engine=engine).remove(force=True)
        return carry_out(*args, **options)

    monkeypatch.setattr(place, function, after_removal)
    return lambda: len(calls)


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_is_removed_meanwhile_is_pulled_again(
    engine: ck.Engine, published: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """As what is missing is anyway."""
    ck.Image.pull(published, engine=engine)
    count = remove_first(monkeypatch, engine, published, moment)

    assert "here" == ck.run(published, text=True, engine=engine).stdout.strip()
    assert 2 == count()


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_may_not_be_pulled_is_a_typed_error(
    engine: ck.Engine, published: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Nothing is left of the container."""
    ck.Image.pull(published, engine=engine)
    remove_first(monkeypatch, engine, published, moment)

    with pytest.raises(errors.ImageNotFoundError):
        ck.run(published, pull="never", engine=engine)
    assert [] == ck.Container.list(all=True, engine=engine)
