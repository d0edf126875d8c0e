"""Story: the host goes down, and what a container was made from may not have reached the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

import container_kit as ck
from container_kit import errors
from container_kit._state import content_records
from container_kit._store.layers import Layers
from tests.e2e import boxes
from tests.e2e.boxes import Box

pytestmark = pytest.mark.needs_overlay

DAMAGED = "etc/os-release"


@pytest.fixture
def base(engine: ck.Engine, payload_rootfs: Path) -> ck.Image:
    """Give a stored image that has the payload program."""
    config = ck.ImageConfig(command=("payload", "true"))
    return ck.Image.from_directory(payload_rootfs, "base:1", config=config, engine=engine)


def layers_of(box: Box) -> list[Path]:
    """Return where the layers of a container's image are."""
    return [Path(lower) for lower in box.inspect_root().overlays[0].lowers if "sha256-" in lower]


def change_layers(engine: ck.Engine, change: Callable[[content_records.LayerRecord], object]) -> None:
    """Record something else about each layer."""
    for record in content_records.layers(engine.site.database).values():
        changed = change(record)
        assert isinstance(changed, content_records.LayerRecord)
        content_records.put_layer(engine.site.database, changed)


def after_power_cut(engine: ck.Engine, box: Box) -> ck.Engine:
    """Return an engine in the state of another boot, in which a file of the container's image is empty."""
    change_layers(engine, lambda record: attrs.evolve(record, boot_id="earlier", durable=False))
    Path(layers_of(box)[0], DAMAGED).write_bytes(b"")
    return again(engine)


def again(engine: ck.Engine) -> ck.Engine:
    """Return what another process would have: an engine that knows nothing yet."""
    return ck.Engine(engine.root, runtime=str(Path(engine.site.home.runtime).parent))


def remove_with_blobs(image: ck.Image, engine: ck.Engine) -> None:
    """Remove an image, and take away what is kept of it for a container."""
    image.remove(force=True)
    for blob in Path(engine.site.home.images, "blobs", "sha256").iterdir():
        blob.unlink()


def test_a_container_starts_on_layers_that_were_unpacked_again(engine: ck.Engine, base: ck.Image) -> None:
    """What the power cut took is there again before its command runs."""
    box = boxes.make(engine, base)
    with after_power_cut(engine, box) as other:
        Box(box.id, other).start()

        assert "payload" in box.exec(["payload", "cat", f"/{DAMAGED}"], text=True, check=True).stdout
        box.stop(0)


def test_no_layer_of_a_running_container_is_replaced(engine: ck.Engine, base: ck.Image) -> None:
    """Whoever uses the image next finds that its layers count."""
    box = boxes.make(engine, base)
    with after_power_cut(engine, box) as first, again(engine) as second:
        Box(box.id, first).start()
        inodes = [path.stat().st_ino for path in layers_of(box)]

        assert 0 == ck.run("base:1", ["payload", "true"], engine=second).returncode

        assert inodes == [path.stat().st_ino for path in layers_of(box)]
        assert 0 == box.exec(["payload", "true"]).returncode
        box.stop(0)


def test_a_layer_that_is_missing_is_unpacked_again(engine: ck.Engine, base: ck.Image) -> None:
    """Whatever took it away."""
    box = boxes.make(engine, base)
    for path in layers_of(box):
        path.rename(path.with_name(".away"))
        with again(engine) as other:
            Box(box.id, other).start()
            box.stop(0)
        engine.site.images.layers.discard(path.with_name(".away"))  # type: ignore[arg-type]


def test_layers_that_count_need_no_blobs(engine: ck.Engine, base: ck.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container starts although its image is gone; nothing is unpacked."""
    box = boxes.make(engine, base)
    remove_with_blobs(base, engine)
    monkeypatch.delattr(Layers, "ensure")

    box.start()

    assert "running" == box.status
    box.stop(0)


def test_layers_that_cannot_be_unpacked_again_are_a_typed_error(engine: ck.Engine, base: ck.Image) -> None:
    """It says what to get; once that is there, the container starts."""
    saved = Path(engine.root).parent / "saved.tar"
    base.save(saved)
    box = boxes.make(engine, base)
    remove_with_blobs(base, engine)
    with after_power_cut(engine, box) as other:
        with pytest.raises(errors.ImageError, match="base:1: its layers may have been damaged") as caught:
            Box(box.id, other).start()

        assert caught.value.hint is not None
        assert base.id in caught.value.hint
        assert "created" == box.status
        ck.Image.load(saved, engine=other)
        Box(box.id, other).start()
        assert "payload" in box.exec(["payload", "cat", f"/{DAMAGED}"], text=True, check=True).stdout
        box.stop(0)


def test_a_start_is_a_use_that_makes_layers_durable(engine: ck.Engine, base: ck.Image) -> None:
    """As a run is: after a minute they are on the disk, and need not be unpacked again in each boot."""
    box = boxes.make(engine, base)
    change_layers(engine, lambda record: attrs.evolve(record, unpacked_at=record.unpacked_at - 3600))

    box.start()
    box.stop(0)

    assert all(record.durable for record in content_records.layers(engine.site.database).values())
