"""Uploading blobs: begin a session, send the content whole or in chunks, name it by its digest.

Follows distribution-spec, "Pushing blobs". The session's URL is wherever the registry says, and new with each
answer. After a failure the registry is asked how far it got; where it does not know, the upload begins again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import BinaryIO
from urllib.parse import quote, urlsplit

import attrs

from container_kit._registry.answer_headers import parse_uploaded
from container_kit._registry.asking import At
from container_kit._registry.connection_errors import ConnectionFailedError, shown_url
from container_kit._registry.locations import follow
from container_kit._registry.session import Request
from container_kit._registry.transport import Answer
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest
from container_kit.errors import AuthenticationError, ImageError, RegistryError

_PIECE = 256 << 10
_PROGRESS = 1 << 20  # bytes after which an attempt was worth it
_GONE = frozenset({404, 410, 416, 400})  # of an upload session: begin again


@attrs.frozen(kw_only=True)
class Content:
    """A blob's bytes: `open_at(offset)` opens them from there; `progress` is told how many were sent."""

    descriptor: Descriptor
    open_at: Callable[[int], BinaryIO]
    progress: Callable[[int], None] | None = None


def has_blob(at: At, digest: Digest, scope: tuple[str, ...]) -> bool:
    """Tell whether the repository has a blob."""
    request = Request(
        method="HEAD", target=f"/v2/{at.repository}/blobs/{digest}", repository=at.repository, scopes=scope
    )
    with at.session.send(at.endpoint, request, expect=(200, 404)) as answer:
        return answer.status == 200


def mount_blob(at: At, digest: Digest, from_repository: str) -> bool:
    """Ask that a blob of another repository be this one's too; tell whether it is now."""
    query = f"mount={quote(digest, safe=':')}&from={quote(from_repository, safe='')}"
    scopes = (*at.push_scope, f"repository:{from_repository}:pull")
    request = Request(
        method="POST",
        target=f"/v2/{at.repository}/blobs/uploads/?{query}",
        repository=at.repository,
        scopes=scopes,
        headers={"Content-Length": "0"},
    )
    try:
        with at.session.send(at.endpoint, request, expect=(201, 202, 404, 405)) as answer:
            mounted = answer.status == 201
            session = _location(answer) if answer.status == 202 else ""
    except AuthenticationError:
        return False  # not allowed to read the other one, perhaps; whether it may write here shows with the upload
    if session:
        _cancel(at, session)  # it opened an upload instead, which nobody will use
    return mounted


def upload(at: At, content: Content, chunk_bytes: int | None) -> None:
    """Upload a blob.

    Raises:
        RegistryError: The registry does not take it.
        ImageError: The content ended early.
    """
    sender = _Sender(at, content, chunk_bytes)
    while True:
        before = sender.sent
        try:
            sender.go_on()
        except RegistryError as err:
            if sender.sent - before >= _PROGRESS:
                at.attempts.begin_anew()
            at.attempts.pause_or_raise(err)
            sender.find_out()
        else:
            return


class _Sender:
    """One upload: where it goes and how far it is."""

    def __init__(self, at: At, content: Content, chunk_bytes: int | None) -> None:
        self.sent = 0
        self._at = at
        self._content = content
        self._chunk_bytes = chunk_bytes
        self._session = ""
        self._failure: BaseException | None = None

    def go_on(self) -> None:
        """Send what is missing and finish."""
        size = self._content.descriptor.size
        if not self._session:
            self._begin()
        if self._chunk_bytes is None and self.sent == 0:
            self._finish(0, size)
            return
        while self.sent < size:
            self._patch(min(self._chunk_bytes or size, size - self.sent))
        self._finish(size, 0)

    def find_out(self) -> None:
        """Learn how much the registry has; begin again when it has forgotten the upload."""
        if not self._session:
            return
        try:
            request = self._request("GET", self._session)
            with self._at.session.send(self._at.endpoint, request, expect=(204, *_GONE)) as answer:
                had = parse_uploaded(answer.headers.get("Range", "")) if answer.status == 204 else None
                moved = _location(answer) if had is not None else ""
        except RegistryError:
            had, moved = None, ""
        if not had or had > self._content.descriptor.size:
            self._session, self.sent = "", 0
        else:
            self._session, self.sent = moved or self._session, had

    def _begin(self) -> None:
        target = f"/v2/{self._at.repository}/blobs/uploads/"
        request = self._request("POST", target, headers={"Content-Length": "0"})
        with self._at.session.send(self._at.endpoint, request, expect=(202,)) as answer:
            self._session = _location(answer)
        self.sent = 0
        if not self._session:
            raise RegistryError(url=shown_url(answer.url), status=202, reason="it did not say where to upload to")

    def _patch(self, count: int) -> None:
        headers = {"Content-Range": f"{self.sent}-{self.sent + count - 1}"} if self._chunk_bytes else {}
        with self._send("PATCH", self._session, self.sent, count, headers, expect=202) as answer:
            had = parse_uploaded(answer.headers.get("Range", ""))
            self._session = _location(answer) or self._session
        self.sent += count
        if had is not None and had != self.sent and (had, self.sent) != (0, 1):
            reason = f"it has {had} bytes after {self.sent} were sent"
            raise RegistryError(url=shown_url(answer.url), status=202, reason=reason)

    def _finish(self, offset: int, count: int) -> None:
        joint = "&" if urlsplit(self._session).query else "?"
        target = f"{self._session}{joint}digest={quote(self._content.descriptor.digest, safe=':')}"
        with self._send("PUT", target, offset, count, {}, expect=201):
            self.sent = self._content.descriptor.size

    def _send(
        self, method: str, target: str, offset: int, count: int, headers: dict[str, str], *, expect: int
    ) -> Answer:
        sent = {"Content-Type": "application/octet-stream", "Content-Length": str(count), **headers}
        self._failure = None
        request = self._request(method, target, headers=sent)
        request = attrs.evolve(request, body=lambda: self._pieces(offset, count) if count else b"")
        try:
            return self._at.session.send(self._at.endpoint, request, expect=(expect,))
        except ConnectionFailedError:
            if self._failure is not None:  # it was not the connection that failed
                raise self._failure from None
            raise

    def _request(self, method: str, target: str, *, headers: dict[str, str] | None = None) -> Request:
        scopes = self._at.push_scope
        return Request(
            method=method, target=target, repository=self._at.repository, scopes=scopes, headers=headers or {}
        )

    def _pieces(self, offset: int, count: int) -> Iterator[bytes]:
        """Yield exactly `count` bytes of the content from `offset` on."""
        try:
            with self._content.open_at(offset) as file:
                yield from self._bounded(file, offset, count)
        except (OSError, ImageError) as err:  # would look like a failure of the connection
            self._failure = err
            raise

    def _bounded(self, file: BinaryIO, offset: int, count: int) -> Iterator[bytes]:
        done = 0
        while done < count:
            piece = file.read(min(_PIECE, count - done))
            if not piece:
                reason = f"its content ends after {offset + done} of {self._content.descriptor.size} bytes"
                raise ImageError(image=self._content.descriptor.digest, reason=reason)
            yield piece
            done += len(piece)
            if self._content.progress is not None:
                self._content.progress(offset + done)


def _location(answer: Answer) -> str:
    location = answer.headers.get("Location", "")
    return follow(answer.url, location) if location else ""


def _cancel(at: At, session: str) -> None:
    request = Request(method="DELETE", target=session, repository=at.repository, scopes=at.push_scope)
    with contextlib.suppress(RegistryError), at.session.send(at.endpoint, request, expect=(202, 204)):
        pass  # else it expires
