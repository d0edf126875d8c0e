"""Which image a name means when a container is made: the store's, or the registry's first.

The pull policies are Podman's: `missing` asks the registry only for what is not here, `always`
asks each time, `never` not at all, and `newer` each time too, but is content with what is here
when the registry cannot say.
"""

from __future__ import annotations

from container_kit._images.find import entries_of, find
from container_kit._images.origins import ImageParts, StoredOrigin
from container_kit._images.pull import pull
from container_kit._runtime.site import Site
from container_kit._spec.options import PullPolicy
from container_kit._spec.platform import Platform, parse_platform
from container_kit._spec.reference import parse_reference
from container_kit._store.index_file import Entry
from container_kit.errors import ContainerKitError, ImageError, ImageNotFoundError, RegistryError


def choose_image(site: Site, name: str, *, policy: PullPolicy, platform: str | None) -> ImageParts:
    """Return what a container takes from the image of this name. One that is removed meanwhile is chosen again, once.

    Raises:
        ImageNotFoundError: it is not here, and the policy is `never`, or it is not for this platform.
        RegistryError: it had to be pulled, and could not be.
    """
    wanted = None if platform is None else parse_platform(platform)
    entry = _entry_by(site, name, policy, wanted)
    try:
        return _parts_of(site, entry, name, wanted)
    except ContainerKitError:
        if not _is_gone(site, entry):
            raise
    return _parts_of(site, _entry_by(site, name, policy, wanted), name, wanted)


def _parts_of(site: Site, entry: Entry, name: str, platform: Platform | None) -> ImageParts:
    return StoredOrigin(digest=entry.descriptor.digest, platform=platform).parts(site.images, name)


def _entry_by(site: Site, name: str, policy: PullPolicy, platform: Platform | None) -> Entry:
    match policy:
        case "never":
            return find(site.images, name)
        case "always":
            return _pulled(site, name, platform)
        case "missing":
            return _here(site, name, platform) or _pulled(site, name, platform)
        case "newer":
            try:
                return _pulled(site, name, platform)
            except RegistryError:
                found = _here(site, name, platform)
                if found is None:
                    raise
                return found


def _here(site: Site, name: str, platform: Platform | None) -> Entry | None:
    try:
        entry = find(site.images, name)
    except ImageNotFoundError:
        return None
    try:
        site.images.layout.manifest_of(entry, platform)
    except ImageNotFoundError:
        return None  # for other platforms only
    except ImageError:
        if not _is_gone(site, entry):
            raise
        return None
    return entry


def _is_gone(site: Site, entry: Entry) -> bool:
    """Say whether an image was removed since it was found."""
    return not entries_of(site.images, entry.descriptor.digest)


def _pulled(site: Site, name: str, platform: Platform | None) -> Entry:
    return pull(site.images, site.registry_client(), parse_reference(name), platform=platform)
