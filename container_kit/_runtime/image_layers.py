"""The layers that a container was made from: whether they are there and count, and making them again.

A layer that was not yet known to be on the disk does not count after a reboot. A container starts
on layers that count only: others are replaced by whoever uses the image next.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from container_kit._linux import processes
from container_kit._runtime.site import Site
from container_kit._spec.digest import Digest, parse_digest
from container_kit._spec.manifest import Manifest, parse_document
from container_kit._spec.paths import HostPath
from container_kit._state import content_records
from container_kit._state.container_record import ContainerRecord
from container_kit._store.trust import is_trusted, may_settle
from container_kit.errors import ImageError, InvalidDigestError


def are_there(site: Site, record: ContainerRecord) -> bool:
    """Say whether all layers of a container can be used.

    For whoever writes its row in the same transaction: what is there then stays.
    """
    return _look(site, record)[0]


def make_sure(site: Site, record: ContainerRecord) -> None:
    """Make sure that all layers of a recorded container can be used; unpack again those that cannot.

    Raises:
        ImageError: one has to be unpacked again, and the image is not in the store any more, or damaged.
        StorageFullError: there is no room for it.
    """
    there, settles = _look(site, record)
    if there and settles:
        site.images.layers.find_all(_diff_ids(_lowers(record)))
    if there:
        return
    digest = parse_digest(record.image_id)
    with site.images.lease(digest):
        try:
            _unpack_again(site, digest)
        except ImageError as err:
            reason = f"its layers may have been damaged when the host went down; unpacking them again fails: {err}"
            hint = f"pull or load the image {digest} again, and start the container then"
            raise ImageError(image=record.image_name, reason=reason, hint=hint) from err


def _unpack_again(site: Site, digest: Digest) -> None:
    layout = site.images.layout
    document = parse_document(layout.read(digest), media_type=None, what=digest)
    if not isinstance(document, Manifest):
        raise ImageError(image=digest, reason="is not a manifest")
    site.images.layers.ensure_all(document, layout.oci_config(document))


def _look(site: Site, record: ContainerRecord) -> tuple[bool, bool]:
    """Return whether all layers can be used, and whether one has probably reached the disk but is not known to."""
    if not record.image_id:
        return True, False
    lowers = _lowers(record)
    diff_ids = _diff_ids(lowers)
    known = content_records.layers(site.database, diff_ids)
    boot_id = processes.boot_id()
    trusted = all(is_trusted(known.get(diff_id), boot_id) for diff_id in diff_ids)
    return trusted and all(map(os.path.isdir, lowers)), any(map(may_settle, known.values()))


def _lowers(record: ContainerRecord) -> tuple[HostPath, ...]:
    return record.root.overlays[0].lowers


def _diff_ids(lowers: Sequence[HostPath]) -> list[Digest]:
    """Return which layers these directories are; below them is one that is made from no image."""
    found: list[Digest] = []
    for path in lowers:
        try:
            found.append(parse_digest(os.path.basename(path).replace("-", ":", 1)))
        except InvalidDigestError:
            pass
    return found
