"""What a user proves to a registry: a value that never shows what is secret."""

from __future__ import annotations

import base64

import attrs

from container_kit.errors import InvalidSpecError


@attrs.frozen(kw_only=True)
class Login:
    """A user name and password, or an identity token (OAuth 2's refresh token) in their place."""

    username: str = ""
    password: str = attrs.field(default="", repr=False)
    identity_token: str = attrs.field(default="", repr=False)

    def __attrs_post_init__(self) -> None:
        if ":" in self.username:
            raise InvalidSpecError(field="username", value=self.username, reason="must not contain ':' (RFC 7617)")
        for name, text in (("username", self.username), ("password", self.password), ("token", self.identity_token)):
            if any(letter in text for letter in "\0\r\n"):
                raise InvalidSpecError(field=name, reason="must be one line")

    def basic(self) -> str:
        """Return the value of an Authorization header (RFC 7617)."""
        return f"Basic {encode_auth(self.username, self.password)}"


def encode_auth(username: str, password: str) -> str:
    """Return `user:password` in base64, as the files of Docker and Podman and the Basic scheme have it."""
    return base64.b64encode(f"{username}:{password}".encode()).decode()
