"""What the headers of answers say: Content-Range and Retry-After (RFC 9110), Link (RFC 8288), Range of uploads."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

import attrs

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII)
_UPLOADED = re.compile(r"(?:bytes=)?0-([0-9]{1,18})", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)
_LINK = re.compile(r"[ \t,]*<([^<>]{1,8192})>([^<]*)")
_NEXT = re.compile(r';[ \t]*rel[ \t]*=[ \t]*(?:"(?:[^"]*[ \t])?next(?:[ \t][^"]*)?"|next(?![^;, \t]))', re.IGNORECASE)


@attrs.frozen(kw_only=True)
class ContentRange:
    """Which part of a whole an answer is: bytes `first` to `last`, both included; `total` where it is known."""

    first: int
    last: int
    total: int | None


def parse_content_range(header: str) -> ContentRange | None:
    """Return what a Content-Range header says, or None when it makes no sense."""
    found = _CONTENT_RANGE.fullmatch(header.strip())
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    total = None if found[3] == "*" else int(found[3])
    if last < first or (total is not None and last >= total):
        return None
    return ContentRange(first=first, last=last, total=total)


def parse_uploaded(header: str) -> int | None:
    """Return how many bytes of an upload a registry has, by its Range header; None when it does not say."""
    found = _UPLOADED.fullmatch(header.strip())
    if found is None:
        return None
    # "0-0" is one byte by the letter, but distribution sends it for none as well: the caller cannot rely on it.
    last = int(found[1])
    return last + 1 if last else 0


def parse_retry_after(header: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, or None; `now` is in seconds since the epoch."""
    if header is None:
        return None
    text = header.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
    except (ValueError, OverflowError, TypeError):
        return None


def next_link(header: str) -> str | None:
    """Return the target of the link whose relation is `next`, or None."""
    for link in _LINK.finditer(header[: 32 << 10]):
        if _NEXT.search(link[2]):
            return link[1]
    return None
