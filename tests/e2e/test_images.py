"""Story: images of an engine: made, named, found, changed, moved, removed."""

from __future__ import annotations

import io
import tarfile
from datetime import timedelta
from pathlib import Path

import attrs
import pytest

import container_kit as ck
from container_kit import errors

pytestmark = pytest.mark.needs_overlay


@pytest.fixture
def base(engine: ck.Engine, payload_rootfs: Path) -> ck.Image:
    """Give a stored image that has the payload program."""
    config = ck.ImageConfig(command=("payload", "true"), env=(("FROM", "base"),))
    return ck.Image.from_directory(payload_rootfs, "base:1", config=config, engine=engine)


def output(engine: ck.Engine, image: ck.Image | str, *command: str) -> str:
    """Return what the payload program prints in a container of an image."""
    done = ck.run(image, ["payload", *command], text=True, engine=engine)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tree_with(place: Path, **files: str) -> Path:
    """Make a directory with these files."""
    place.mkdir()
    for name, text in files.items():
        (place / name).write_text(text)
    return place


# ── making ───────────────────────────────────────────────────────────────────────────────────────


def test_a_directory_with_a_name_is_copied(engine: ck.Engine, base: ck.Image, payload_rootfs: Path) -> None:
    """It runs by its name, with its config, and does not need the directory any more."""
    assert "base:1" == base.name
    assert (("FROM", "base"),) == base.config.env
    assert "FROM=base" in output(engine, "base:1", "env").splitlines()
    assert not any(str(payload_rootfs) in lower for lower in base.parts(engine.site).root.overlays[0].lowers)


def test_the_same_input_gives_the_same_image(engine: ck.Engine, base: ck.Image, tmp_path: Path) -> None:
    """Layers and configs are packed in a fixed order, with fixed times."""
    tree = tree_with(tmp_path / "tree", a="1", b="2")

    one = base.with_layer(tree).with_config(changes=["ENV X=1"])
    other = base.with_layer(tree).with_config(changes=["ENV X=1"])

    assert one.id == other.id
    assert base.id != one.id


def test_a_layer_adds_and_an_older_image_stays_as_it_is(engine: ck.Engine, base: ck.Image, tmp_path: Path) -> None:
    """Edits make new images; what they were made from does not change."""
    added = base.with_layer(tree_with(tmp_path / "tree", added="new\n"), name="base:2", message="one more")

    assert "new\n" == output(engine, "base:2", "cat", "/added")
    assert "new\n" == added.path("/added").read_text()
    assert not base.path("/added").exists()
    assert "one more" == added.history()[0].comment


def test_an_opaque_root_hides_every_layer_below(engine: ck.Engine, base: ck.Image) -> None:
    """overlayfs itself would show them."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in (".wh..wh..opq", "only"):
            archive.addfile(tarfile.TarInfo(name))
    stream.seek(0)

    made = base.with_layer(stream)

    mount_points = {"dev", "etc", "proc", "sys"}  # every container has them
    assert {"only"} == {path.name for path in made.path("/").iterdir()} - mount_points


def test_a_config_is_replaced_or_changed(engine: ck.Engine, base: ck.Image) -> None:
    """By a value, by instructions, or both; the instructions come last."""
    config = attrs.evolve(base.config, env=(("A", "1"),))

    made = base.with_config(config, changes=["ENV B=2", "LABEL team=blue"], name="base:3")

    assert {"A=1", "B=2"} <= set(output(engine, made, "env").splitlines())
    assert {"team": "blue"} == made.labels


def test_a_tar_archive_is_imported(engine: ck.Engine, payload_rootfs: Path) -> None:
    """From a stream that cannot seek, with changes to its config."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.add(payload_rootfs, arcname=".")
    stream.seek(0)

    made = ck.Image.import_(stream, "imported:1", changes=['CMD ["payload", "echo", "hi"]'], engine=engine)

    assert "hi\n" == ck.run(made, text=True, engine=engine).stdout


def test_an_archive_that_climbs_out_is_refused(engine: ck.Engine, tmp_path: Path) -> None:
    """The error names the entry, and there is no image."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../canary"))
    stream.seek(0)

    with pytest.raises(errors.UnsafeArchiveError) as caught:
        ck.Image.import_(stream, "bad:1", engine=engine)

    assert "../canary" == caught.value.entry
    assert [] == ck.Image.list(engine=engine)


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def test_names_come_and_go(engine: ck.Engine, base: ck.Image) -> None:
    """One image, two names; without its last one it is dangling and still there by its id."""
    second = base.tag("other.example/team/base:2")

    assert ("base:1", "other.example/team/base:2") == base.names
    assert second == base
    assert second == ck.Image.get("other.example/team/base:2", engine=engine)
    base.untag()
    second.untag()
    assert [] == list(base.names)
    assert base == ck.Image.get(base.short_id, engine=engine)


def test_a_name_that_moves_leaves_the_old_image_dangling(engine: ck.Engine, base: ck.Image, tmp_path: Path) -> None:
    """As users of Docker expect; prune takes it away, unless it is too young for what was asked."""
    newer = base.with_layer(tree_with(tmp_path / "tree", a="1"), name="base:1")

    assert newer == ck.Image.get("base:1", engine=engine)
    assert {base.short_id, "base:1"} == {image.name for image in ck.Image.list(engine=engine)}
    assert () == ck.Image.prune(until=timedelta(hours=1), engine=engine).removed
    assert (base.short_id,) == ck.Image.prune(engine=engine).removed
    assert [newer] == ck.Image.list(engine=engine)


def test_an_image_that_is_not_there_has_neighbours(engine: ck.Engine, base: ck.Image) -> None:
    """A typing error is answered with what was meant."""
    with pytest.raises(errors.ImageNotFoundError) as caught:
        ck.Image.get("bsae:1", engine=engine)

    assert ("base:1",) == caught.value.near


# ── removing ─────────────────────────────────────────────────────────────────────────────────────


def test_an_image_in_use_is_not_removed(engine: ck.Engine, base: ck.Image) -> None:
    """The error says by whom; when the container is gone, the image can go, and nothing of it is left."""
    box = ck.Container.create(base, ["payload", "true"], name="user", engine=engine)

    with pytest.raises(errors.InUseError) as caught:
        base.remove()
    assert ("user",) == caught.value.users
    assert () == ck.Image.prune(all=True, engine=engine).removed
    box.remove()
    base.remove()

    assert [] == ck.Image.list(engine=engine)
    assert [] == list(Path(engine.root, "images", "blobs", "sha256").iterdir())
    assert [] == [path for path in Path(engine.root, "layers").iterdir() if path.name.startswith("sha256-")]


def test_removed_by_force_it_lives_on_in_its_containers(engine: ck.Engine, base: ck.Image) -> None:
    """It loses its name; the container starts all the same."""
    box = ck.Container.create(base, ["payload", "true"], detach=True, engine=engine)

    base.remove(force=True)
    ck.Image.prune(all=True, engine=engine)
    box.start()

    assert 0 == box.wait(10)
    assert () == base.names


def test_one_of_several_names_is_removed(engine: ck.Engine, base: ck.Image) -> None:
    """The image stays with the others; by its id it is only removed by force."""
    base.tag("base:2").remove()
    base.tag("base:3")

    assert ("base:1", "base:3") == base.names
    with pytest.raises(errors.InUseError) as caught:
        ck.Image.get(base.short_id, engine=engine).remove()
    assert ("base:1", "base:3") == caught.value.users
    ck.Image.get(base.short_id, engine=engine).remove(force=True)
    assert [] == ck.Image.list(engine=engine)


def test_removing_what_is_gone(engine: ck.Engine, base: ck.Image) -> None:
    """An error, unless that is fine."""
    base.remove()

    with pytest.raises(errors.ImageNotFoundError):
        base.remove()
    base.remove(missing_ok=True)


def test_shared_layers_stay_with_those_that_have_them(engine: ck.Engine, base: ck.Image, tmp_path: Path) -> None:
    """What one image takes up alone is what removing it frees."""
    bigger = base.with_layer(tree_with(tmp_path / "tree", big="x" * 100_000), name="bigger:1")
    usage = {one.names[0]: one for one in engine.df()}

    bigger.remove()

    assert usage["base:1"].shared == usage["bigger:1"].shared > 0
    assert usage["bigger:1"].unique > 100_000
    assert "true" == base.config.command[1]
    assert "" == output(engine, "base:1", "true")


# ── archives ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("format_", ["docker", "oci"])
def test_an_archive_brings_images_to_another_engine(
    engine: ck.Engine, base: ck.Image, tmp_path: Path, format_: str
) -> None:
    """Two at once, with their names and ids."""
    other = base.with_config(changes=["ENV X=1"], name="other:1")
    ck.Image.save_all([base, other], tmp_path / "both.tar", format=format_)  # type: ignore[arg-type]

    with ck.Engine(tmp_path / "t", runtime=str(tmp_path / "q")) as second:
        loaded = ck.Image.load(tmp_path / "both.tar", engine=second)

        assert {"base:1", "other:1"} == {image.name for image in loaded}
        assert "X=1" in output(second, "other:1", "env").splitlines()


def test_a_saved_image_is_the_same_every_time(base: ck.Image) -> None:
    """The same bytes, to a file object as well."""
    one, other = io.BytesIO(), io.BytesIO()

    base.save(one)
    base.save(other)

    assert one.getvalue() == other.getvalue()


# ── what is not in a store ───────────────────────────────────────────────────────────────────────


def test_the_host_is_no_stored_image(engine: ck.Engine) -> None:
    """It can be run, not pushed, saved or removed; the error says what to do instead."""
    for attempt in (ck.Image.host().history, ck.Image.host().remove, lambda: ck.Image.host().tag("me:1")):
        with pytest.raises(errors.ImageError) as caught:
            attempt()
        assert "from_directory" in (caught.value.hint or "")


def test_an_image_belongs_to_its_engine(engine: ck.Engine, base: ck.Image, tmp_path: Path) -> None:
    """Another engine has other layers."""
    with ck.Engine(tmp_path / "t", runtime=str(tmp_path / "q")) as second, pytest.raises(errors.ImageError) as caught:
        ck.run(base, ["payload", "true"], engine=second)

    assert engine.root in caught.value.reason
