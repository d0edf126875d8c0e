"""Words of Dockerfile instructions: quotes, escapes and `$variables`.

Follows BuildKit's frontend/dockerfile (parser/line_parsers.go splits, shell/lex.go expands):
single quotes keep everything, double quotes keep blanks, a backslash takes the meaning of
the next character away. Of the parameter expansions those with `-` and `+` exist.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

from container_kit.errors import InvalidSpecError

_WORD = re.compile(r"""(?:[^\s'"\\]++|\\.|\\\Z|'[^']*'|"(?:[^"\\]++|\\.)*+")++""", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+")
_OPERATOR = re.compile(r":?[-+]")
_DEEPEST = 32


def split_words(text: str, field: str) -> list[str]:
    """Return the words of a text, with their quotes and escapes, or raise `InvalidSpecError` where a quote is open."""
    words: list[str] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        found = _WORD.match(text, position)
        if found is None:
            raise InvalidSpecError(field=field, value=text, reason="has a quote that is not closed")
        words.append(found[0])
        position = found.end()
    return words


def expand_word(word: str, env: Mapping[str, str], field: str) -> str:
    """Return a word as it is meant: quotes and escapes gone, `$NAME` and `${NAME:-default}` replaced.

    Args:
        word: one of `split_words`, or a whole line.
        env: the variables; one that is not there is empty.
        field: what the error calls the word.

    Raises:
        InvalidSpecError: a quote or brace is open, or the expansion is none of these.
    """
    return _Expansion(word, env, field).until("")


class _Expansion:
    """One pass over a word, from left to right."""

    def __init__(self, text: str, env: Mapping[str, str], field: str) -> None:
        self._text = text
        self._env = env
        self._field = field
        self._position = 0
        self._depth = 0

    def until(self, end: str) -> str:
        """Return what everything up to a character means; "" is the end of the text."""
        parts: list[str] = []
        while (sign := self._peek()) and sign != end:
            self._position += 1
            parts.append(self._meaning(sign))
        return "".join(parts)

    def _meaning(self, sign: str) -> str:
        match sign:
            case "'":
                return self._single_quoted()
            case '"':
                return self._double_quoted()
            case "\\":
                return self._take()
            case "$":
                return self._variable()
            case _:
                return sign

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._position)
        if end < 0:
            self._refuse("has a quote that is not closed")
        inside = self._text[self._position : end]
        self._position = end + 1
        return inside

    def _double_quoted(self) -> str:
        parts: list[str] = []
        while (sign := self._take()) != '"':
            if not sign:
                self._refuse("has a quote that is not closed")
            if sign == "$":
                parts.append(self._variable())
            elif sign == "\\" and self._peek() in ('"', "$", "\\"):
                parts.append(self._take())
            else:
                parts.append(sign)
        return "".join(parts)

    def _variable(self) -> str:
        braced = self._peek() == "{"
        found = _NAME.match(self._text, self._position + braced)
        if found is None:
            if braced:
                self._refuse("has a variable without a name")
            return "$"
        self._position = found.end()
        return self._braced(found[0]) if braced else self._env.get(found[0], "")

    def _braced(self, name: str) -> str:
        value = self._env.get(name)
        operator = _OPERATOR.match(self._text, self._position)
        if operator:
            self._position = operator.end()
            is_there = bool(value) if operator[0].startswith(":") else value is not None
            word = self._nested()
            value = (value if is_there else word) if operator[0].endswith("-") else (word if is_there else "")
        if self._take() != "}":
            self._refuse("has an expansion other than ${NAME}, ${NAME:-word} and ${NAME:+word}")
        return value or ""

    def _nested(self) -> str:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._refuse("has expansions nested too deep")
        word = self.until("}")
        self._depth -= 1
        return word

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _take(self) -> str:
        sign = self._peek()
        self._position += 1
        return sign

    def _refuse(self, reason: str) -> NoReturn:
        raise InvalidSpecError(field=self._field, value=self._text, reason=reason)
