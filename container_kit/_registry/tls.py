"""TLS as registries need it: verified, at least version 1.2, unless a registry is declared insecure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from container_kit.errors import InvalidSpecError

if TYPE_CHECKING:
    import ssl


def make_tls_context(*, insecure: bool, ca_file: str | None) -> ssl.SSLContext:
    """Return the settings of TLS connections.

    Args:
        insecure: Take any certificate.
        ca_file: PEM certificates that are trusted besides the system's.

    Raises:
        InvalidSpecError: `ca_file` cannot be read or holds no certificate.
    """
    import ssl

    if insecure:
        # The user declared this one registry insecure; ssl has no public spelling for exactly this.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as err:
            reason = "holds no certificates" if isinstance(err, ssl.SSLError) else err.strerror or "cannot be read"
            raise InvalidSpecError(field="ca_files", value=ca_file, reason=reason) from err
    return context
