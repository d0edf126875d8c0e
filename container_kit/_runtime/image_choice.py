"""Which image a name means when a container is made: the store's, or the registry's first.

The pull policies are Podman's: `missing` asks the registry only for what is not here, `always`
asks each time, `never` not at all, and `newer` each time too, but is content with what is here
when the registry cannot say.
"""

from __future__ import annotations

from container_kit._images.find import find
from container_kit._images.origins import ImageParts, StoredOrigin
from container_kit._images.pull import pull
from container_kit._runtime.site import Site
from container_kit._spec.options import PullPolicy
from container_kit._spec.platform import Platform, parse_platform
from container_kit._spec.reference import parse_reference
from container_kit._store.index_file import Entry
from container_kit.errors import ImageNotFoundError, RegistryError


def choose_image(site: Site, name: str, *, policy: PullPolicy, platform: str | None) -> ImageParts:
    """Return what a container takes from the image of this name.

    Raises:
        ImageNotFoundError: it is not here, and the policy is `never`, or it is not for this platform.
        RegistryError: it had to be pulled, and could not be.
    """
    wanted = None if platform is None else parse_platform(platform)
    entry = _entry_by(site, name, policy, wanted)
    return StoredOrigin(digest=entry.descriptor.digest, platform=wanted).parts(site.images, name)


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
        site.images.layout.manifest_of(entry, platform)
    except ImageNotFoundError:
        return None  # not at all, or for other platforms only
    return entry


def _pulled(site: Site, name: str, platform: Platform | None) -> Entry:
    return pull(site.images, site.registry_client(), parse_reference(name), platform=platform)
