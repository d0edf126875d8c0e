"""Downloading a blob: whole or from where an earlier attempt ended, never more than was promised.

Which bytes are right is the sink's to say, by the digest of all of them: a part that came before, perhaps from
elsewhere, is only ever continued when the server says that it continues it.
"""

from __future__ import annotations

from collections.abc import Callable

from container_kit._registry.answer_headers import parse_content_range
from container_kit._registry.asking import At
from container_kit._registry.connection_errors import ConnectionFailedError, Trouble, shown_url
from container_kit._registry.results import Sink
from container_kit._registry.session import Request
from container_kit._registry.transport import Answer
from container_kit._spec.descriptor import Descriptor
from container_kit.errors import DigestMismatchError, RegistryError

_PIECE = 256 << 10
_PROGRESS = 1 << 20  # bytes after which an attempt was worth it, so that the next one is a first one again


def download(
    at: At,
    descriptor: Descriptor,
    sink: Sink,
    progress: Callable[[int], None] | None,
    verify: Callable[[], None] | None,
) -> None:
    """Write a blob into a sink, from `sink.offset` on.

    Raises:
        RegistryError: It could not be had here; the sink keeps what came.
        DigestMismatchError: What came, from the first byte on, is not what was promised (by `verify`).
    """
    if sink.offset > descriptor.size:
        sink.reset()
    came_at_once = sink.offset == 0
    while True:
        before = sink.offset
        try:
            if sink.offset < descriptor.size:
                _fetch(at, descriptor, sink, progress)
            if verify is not None:
                verify()
        except DigestMismatchError:
            if came_at_once:
                raise
            sink.reset()  # the beginning may be what is wrong: once more, in one piece
            came_at_once = True
        except RegistryError as err:
            if sink.offset - before >= _PROGRESS:
                at.attempts.begin_anew()
            at.attempts.pause_or_raise(err)
            came_at_once = sink.offset == 0
        else:
            return


def _fetch(at: At, descriptor: Descriptor, sink: Sink, progress: Callable[[int], None] | None) -> None:
    with _open(at, descriptor, sink) as answer:
        _check_length(answer, descriptor.size - sink.offset)
        answer.take_time()
        while True:
            left = descriptor.size - sink.offset
            chunk = answer.read(min(_PIECE, left + 1))
            if not chunk:
                break
            if len(chunk) > left:
                raise _wrong(answer, f"it sends more than the {descriptor.size} bytes of the blob")
            sink.write(chunk)
            if progress is not None:
                progress(sink.offset)
    if sink.offset < descriptor.size:
        reason = f"the connection ended after {sink.offset} of {descriptor.size} bytes"
        raise ConnectionFailedError(url=shown_url(answer.url), reason=reason, trouble=Trouble.BROKEN)


def _open(at: At, descriptor: Descriptor, sink: Sink) -> Answer:
    """Return an answer whose body is what the sink wants next; the sink may be reset for that."""
    if sink.offset:
        answer = _send(at, descriptor, sink.offset)
        if answer.status == 206 and _continues(answer, sink.offset, descriptor.size):
            return answer
        sink.reset()
        if answer.status == 200:
            return answer  # it knows no ranges: here comes all of it
        answer.close()
    answer = _send(at, descriptor, 0)
    if answer.status == 200:
        return answer
    answer.close()
    raise _wrong(answer, "it sends a part of the blob although all of it was asked for")


def _send(at: At, descriptor: Descriptor, offset: int) -> Answer:
    path = f"/v2/{at.repository}/blobs/{descriptor.digest}"
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    request = Request(method="GET", target=path, repository=at.repository, scopes=at.pull_scope, headers=headers)
    return at.session.send(at.endpoint, request, expect=(200, 206, 416) if offset else (200, 206))


def _continues(answer: Answer, offset: int, size: int) -> bool:
    part = parse_content_range(answer.headers.get("Content-Range", ""))
    return part is not None and part.first == offset and part.last < size and part.total in (None, size)


def _check_length(answer: Answer, wanted: int) -> None:
    length = answer.headers.get("Content-Length", "")
    if answer.status == 200 and length.isdigit() and length.lstrip("0") != str(wanted):
        raise _wrong(answer, f"it has {length[:20]} bytes where the blob should have {wanted}")


def _wrong(answer: Answer, reason: str) -> RegistryError:
    return RegistryError(url=shown_url(answer.url), status=answer.status, reason=reason)
