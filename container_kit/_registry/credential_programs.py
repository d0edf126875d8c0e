"""Credential helpers: programs `docker-credential-<name>` that keep passwords for Docker and Podman.

The protocol is that of docker-credential-helpers: the registry's name on standard input, JSON with ServerURL,
Username and Secret on standard output. Runs are bounded in time and output, and what a helper writes is never
shown: it may be the password.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import subprocess
import time
from typing import Any, cast

from container_kit._registry.login import Login
from container_kit.errors import AuthenticationError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_MOST_OUTPUT = 1 << 20
_NOT_FOUND = b"credentials not found"
_IDENTITY_TOKEN = "<token>"  # noqa: S105  # the user name that says so


def ask_helper(name: str, server: str, *, timeout: float = 30.0) -> Login | None:
    """Return what a credential helper knows about a server, or None.

    Args:
        name: `pass` for the program `docker-credential-pass`.
        server: As the helper knows it, e.g. `https://index.docker.io/v1/`.
        timeout: Seconds, after which the program is killed.

    Raises:
        AuthenticationError: The helper is missing, failed, took too long or answered nonsense.
    """
    if not _NAME.fullmatch(name):
        raise _unusable(name, server, "its name is malformed")
    try:
        process = subprocess.Popen(
            [f"docker-credential-{name}", "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
    except OSError as err:
        raise _unusable(name, server, err.strerror or "it cannot be started") from err
    with process:
        try:
            output = _converse(process, server, timeout)
        except TimeoutError:
            raise _unusable(name, server, f"it did not answer in {timeout:g} s") from None
        finally:
            process.kill()
    if output is None:
        raise _unusable(name, server, f"it wrote more than {_MOST_OUTPUT} bytes")
    if process.returncode != 0:
        if _NOT_FOUND in output.lower():
            return None
        raise _unusable(name, server, f"it ended with status {process.returncode}")
    return _login(name, server, output)


def _converse(process: subprocess.Popen[bytes], server: str, timeout: float) -> bytes | None:
    deadline = time.monotonic() + timeout
    if process.stdin is None or process.stdout is None:
        return None
    with contextlib.suppress(BrokenPipeError):  # it may answer without having read
        os.write(process.stdin.fileno(), f"{server}\n".encode())  # fits the pipe
    process.stdin.close()
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise TimeoutError
            chunk = os.read(process.stdout.fileno(), 64 << 10)
            output += chunk
            if len(output) > _MOST_OUTPUT:
                return None
            if not chunk:
                break
    try:
        process.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return bytes(output)


def _login(name: str, server: str, output: bytes) -> Login | None:
    try:
        answer: object = json.loads(output)
    except (ValueError, RecursionError):
        raise _unusable(name, server, "its answer is not JSON") from None
    if not isinstance(answer, dict):
        raise _unusable(name, server, "its answer is not a JSON object")
    fields = cast("dict[str, Any]", answer)  # JSON has string keys
    user, secret = fields.get("Username"), fields.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str):
        raise _unusable(name, server, "its answer has no Username and Secret")
    if not secret:
        return None
    return Login(identity_token=secret) if user == _IDENTITY_TOKEN else Login(username=user, password=secret)


def _unusable(name: str, server: str, reason: str) -> AuthenticationError:
    hint = "give the credentials with login(), or take the helper out of the configuration"
    return AuthenticationError(url=server, reason=f"credential helper docker-credential-{name}: {reason}", hint=hint)
