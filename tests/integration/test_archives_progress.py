"""What loading an archive reports: no words of the archive, which may be meant for a terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import pytest

import container_kit as ck
from container_kit._archives.load import load
from tests.archives import Member, docker_members, oci_members, write_tar
from tests.loading import IMAGE, NAME
from tests.small_images import digest_of

LAYERS = ["\x1b]0;own\x07", "[red]<b>layer.tar"]


def subjects(engine: ck.Engine, members: Mapping[str, Member]) -> set[str]:
    """Load an archive and return the subjects of what was verified."""
    events: list[ck.Progress] = []
    load(engine.site.images, io.BytesIO(write_tar(members)), progress=events.append)
    return {event.subject for event in events if event.action == "verify"}


def test_names_of_layers_are_not_reported(engine: ck.Engine) -> None:
    """They have numbers instead."""
    members = docker_members([(IMAGE, [NAME])])
    (listing,) = json.loads(members["manifest.json"])
    for name, path in zip(LAYERS, listing["Layers"], strict=True):
        members[name] = members.pop(path)
    members["manifest.json"] = json.dumps([{**listing, "Layers": LAYERS}]).encode()

    assert {"layer 1", "layer 2"} == subjects(engine, members)


@pytest.mark.parametrize("members", [docker_members([(IMAGE, [NAME])]), oci_members([(IMAGE, [NAME])])])
def test_digests_are_reported(engine: ck.Engine, members: Mapping[str, Member]) -> None:
    """A name that is a digest says which blob it is."""
    expected = {digest_of(IMAGE.blobs[layer]).partition(":")[2][:12] for layer in IMAGE.layers}

    assert expected <= subjects(engine, members)
