"""How a registry asks for credentials: the grammar of WWW-Authenticate (RFC 9110, 11.6.1; RFC 6750).

One header may hold several challenges, and both challenges and their parameters are separated by
commas. What does not follow the grammar ends the reading: what was read so far counts.
"""

from __future__ import annotations

import re

import attrs

_MOST = 16 << 10  # characters; a longer header is cut
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # a token of the grammar
_SCHEME = re.compile(rf"[ \t,]*({_TOKEN})(?=[ \t,]|$)[ \t]*")
_PARAMETER = re.compile(rf'[ \t,]*({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))[ \t]*(?=,|$)')
_TOKEN68 = re.compile(r"([A-Za-z0-9._~+/-]+=*)[ \t]*(?=,|$)")
_QUOTED_PAIR = re.compile(r"\\(.)")


@attrs.frozen(kw_only=True)
class Challenge:
    """One way to be let in: its scheme in lower case, its parameters with names in lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def parameter(self, name: str) -> str:
        """Return the first value of a parameter, "" when it is absent."""
        return next((value for key, value in self.parameters if key == name), "")


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Return the challenges of a WWW-Authenticate header (several headers joined by commas)."""
    text = header[:_MOST]
    found: list[Challenge] = []
    at = 0
    while begin := _SCHEME.match(text, at):
        parameters, at = _read_parameters(text, begin.end())
        found.append(Challenge(scheme=begin[1].lower(), parameters=parameters))
    return tuple(found)


def _read_parameters(text: str, at: int) -> tuple[tuple[tuple[str, str], ...], int]:
    found: list[tuple[str, str]] = []
    while parameter := _PARAMETER.match(text, at):
        quoted, plain = parameter[2], parameter[3]
        found.append((parameter[1].lower(), plain if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)))
        at = parameter.end()
    if not found and (blob := _TOKEN68.match(text, at)):
        at = blob.end()  # a token68, such as Negotiate has: no scheme that is known here uses it
    return tuple(found), at
