"""Lists that registries give in pages: tags, repositories, what a search finds.

Pages are followed by their Link header (distribution-spec, "Listing Tags"), on the same origin only. Each page is
bounded, and so are their number and all of them together: a registry may go on for ever, and callers keep the names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any, cast
from urllib.parse import quote

from container_kit._registry.answer_headers import next_link
from container_kit._registry.asking import At, repeat
from container_kit._registry.connection_errors import shown_url
from container_kit._registry.locations import follow, is_same_origin
from container_kit._registry.results import SearchResult
from container_kit._registry.session import Request
from container_kit._spec.strict_json import parse_json
from container_kit.errors import ImageError, RegistryError

_MOST_BYTES = 4 << 20
_MOST_PAGES = 10_000
_MOST_NAMES = 1_000_000  # of all pages; Python needs some 170 bytes for each
_MOST_LIST_BYTES = 64 << 20  # of names and of the links to pages
_PAGE = 1000
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_NAME = re.compile(r"[a-z0-9]+(?:[/._-]+[a-z0-9]+)*", re.ASCII)
_MOST_TEXT = 500
_TOO_LONG_HINT = "ask for what you look for by its name instead"


def read_tags(at: At) -> Iterator[str]:
    """Yield the tags of a repository; what cannot be a tag is left out."""
    yield from _names(at, f"/v2/{at.repository}/tags/list?n={_PAGE}", "tags", _TAG, at.pull_scope)


def read_catalog(at: At) -> Iterator[str]:
    """Yield the repositories of a registry; what cannot be one is left out."""
    yield from _names(at, f"/v2/_catalog?n={_PAGE}", "repositories", _NAME, ("registry:catalog:*",))


def search(at: At, term: str, limit: int) -> list[SearchResult] | None:
    """Return what the registry's search (`/v1/search`, as Docker Hub has it) finds; None where there is none."""
    target = f"/v1/search?q={quote(term, safe='')}&n={limit}"
    request = Request(method="GET", target=target)

    def action(at: At) -> dict[str, Any] | None:  # a JSON object
        with at.session.send(at.endpoint, request, expect=(200, 400, 401, 403, 404, 405, 501)) as answer:
            if answer.status != 200:
                return None
            return _object(answer.read_all(_MOST_BYTES), answer.url)

    document = repeat(at, action)
    results: object = None if document is None else document.get("results")
    if not isinstance(results, list):
        return None
    rows = [cast("dict[str, Any]", row) for row in cast("list[object]", results) if isinstance(row, dict)]  # JSON
    found = [result for row in rows if (result := _result(row)) is not None]
    return found[:limit]


def _result(row: dict[str, Any]) -> SearchResult | None:
    name, stars = row.get("name"), row.get("star_count")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return None
    return SearchResult(
        name=name,
        description=_printable(row.get("description")),
        stars=stars if isinstance(stars, int) else 0,
        official=row.get("is_official") is True,
    )


def _names(at: At, target: str, field: str, allowed: re.Pattern[str], scopes: tuple[str, ...]) -> Iterator[str]:
    seen: set[str] = set()
    number = size = 0
    for _ in range(_MOST_PAGES):
        page, following = repeat(at, partial(_page, target=target, field=field, scopes=scopes))
        names = [name for name in page if isinstance(name, str) and allowed.fullmatch(name)]
        number += len(names)
        size += sum(len(name) for name in names) + len(following or "")
        if number > _MOST_NAMES:
            raise _too_long(at, f"{_MOST_NAMES} names")
        if size > _MOST_LIST_BYTES:
            raise _too_long(at, f"{_MOST_LIST_BYTES} bytes")
        yield from names
        if following is None or following in seen:
            return
        seen.add(following)
        target = following
        at.attempts.begin_anew()
    raise _too_long(at, f"{_MOST_PAGES} pages")


def _too_long(at: At, most: str) -> RegistryError:
    return RegistryError(url=at.endpoint.url, reason=f"the list has more than {most}", hint=_TOO_LONG_HINT)


def _page(at: At, *, target: str, field: str, scopes: tuple[str, ...]) -> tuple[list[object], str | None]:
    request = Request(method="GET", target=target, repository=at.repository, scopes=scopes)
    with at.session.send(at.endpoint, request, expect=(200,)) as answer:
        names: object = _object(answer.read_all(_MOST_BYTES), answer.url).get(field)
        link = next_link(answer.headers.get("Link", ""))
        following = None if link is None else follow(answer.url, link)
    if following is not None and not is_same_origin(following, answer.url):
        raise RegistryError(url=shown_url(answer.url), reason=f"its next page is elsewhere, at {shown_url(following)}")
    if names is not None and not isinstance(names, list):
        raise RegistryError(url=shown_url(answer.url), reason=f"{field} is not a list")
    return cast("list[object]", names or []), following  # what the items are is looked at one by one


def _object(data: bytes, url: str) -> dict[str, Any]:  # a JSON object
    try:
        return parse_json(data, what=shown_url(url), limit=_MOST_BYTES)
    except ImageError as err:
        raise RegistryError(url=shown_url(url), status=200, reason=f"its answer {err.reason}") from err


def _printable(text: object) -> str:
    if not isinstance(text, str):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_MOST_TEXT]).strip()
