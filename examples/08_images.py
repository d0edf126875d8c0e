"""Images without a registry: make one, change it, keep what a container did, and hand it on as an archive."""

import tempfile
from pathlib import Path

import container_kit as ck

with tempfile.TemporaryDirectory(dir="/var/tmp") as place, ck.Engine(f"{place}/engine") as engine:
    # A tree of files becomes an image; the same tree gives the same id, whenever and by whom it is made.
    tree = Path(place, "tree")
    for directory in ("bin", "greetings"):
        (tree / directory).mkdir(parents=True)
    (tree / "greetings" / "en").write_text("hello\n")
    base = ck.Image.from_directory(tree, "greetings:1", engine=engine)

    # Edits make new images; `base` stays as it is.
    (tree / "greetings" / "fr").write_text("bonjour\n")
    french = base.with_layer(tree).with_config(changes=["LABEL languages=2"], name="greetings:2")
    print(french, french.labels, [path.name for path in french.path("/greetings").iterdir()])

    # What a container did can be seen and kept. This one has the host's programs.
    with ck.Container.create(ck.Image.host(), ck.shell("date > /srv/when"), engine=engine) as box:
        box.copy_in(b"made by hand\n", "/srv/note")
        box.start()
        box.wait()
        print([f"{change.kind} {change.path}" for change in box.diff() if change.path.startswith("/srv")])
        print(box.path("/srv/note").read_text(), end="")

    # An archive for other machines; format="docker", the default, makes one that Docker reads as well.
    french.save(f"{place}/greetings.tar", format="oci")
    french.remove()
    (loaded,) = ck.Image.load(f"{place}/greetings.tar", engine=engine)
    print(loaded, "is the same:", loaded.id == french.id)
