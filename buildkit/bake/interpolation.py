"""`$NAME` and `${NAME…}` in compose files and `.env` files (compose-spec, 12-interpolation.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from buildkit.bake.problems import Problem

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_DEPTH = 50
_MOST = 1 << 20  # characters


class Variables:
    """The variables of a file, and what is to be done about one that is not set."""

    def __init__(
        self, values: Mapping[str, str], missing: Callable[[str], None], *, used: bool = True
    ) -> None:
        """`used`: what is expanded is wanted, so that what it requires must be there."""
        self.values = values
        self._missing = missing
        self._used = used

    def expand(self, text: str) -> str:
        """The text with all variables replaced, `$$` being `$`; raises Problem."""
        if "$" not in text:
            return text
        expanded, position = self._expand(text, 0, 0)
        assert position == len(text)
        if len(expanded) > _MOST:
            raise Problem(f"longer than {_MOST} characters")
        return expanded

    def expand_all(self, value: Any) -> Any:
        """A document with all its strings expanded, but for keys; raises Problem with its path."""
        if isinstance(value, str):
            return self.expand(value)
        if isinstance(value, dict):
            return {key: self._inside(key, item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._inside(number, item) for number, item in enumerate(value)]
        return value

    def _inside(self, key: object, item: Any) -> Any:
        try:
            return self.expand_all(item)
        except Problem as problem:
            raise problem.inside(key) from None

    def _expand(self, text: str, position: int, depth: int) -> tuple[str, int]:
        """Up to the end, or inside of braces to the one that closes them."""
        if depth > _DEPTH:
            raise Problem("variables are nested too deeply")
        made = ""
        while position < len(text):
            character = text[position]
            if depth and character == "}":
                return made, position
            if character != "$":
                made += character
                position += 1
            elif text.startswith("$$", position):
                made += "$"
                position += 2
            elif text.startswith("${", position):
                value, position = self._braced(text, position + 2, depth)
                made += value
            else:
                found = _NAME.match(text, position + 1)
                if found is None:
                    raise Problem(f"{text!r}: a name expected after $", hint="$$ stands for $")
                made += self._value(found[0])
                position = found.end()
        return made, position

    def _braced(self, text: str, position: int, depth: int) -> tuple[str, int]:
        found = _NAME.match(text, position)
        if found is None:
            raise Problem(f"{text!r}: a name expected after ${{", hint="$$ stands for $")
        name, position = found[0], found.end()
        operator = _OPERATOR.match(text, position)
        if operator is None:
            if not text.startswith("}", position):
                raise Problem(f"{text!r}: }} expected after ${{{name}")
            return self._value(name), position + 1
        position = operator.end()
        # What is not used is not looked at: it may name variables that are not set.
        has = name in self.values and (operator[0][0] != ":" or self.values[name] != "")
        quiet = Variables(self.values, lambda _: None, used=False)
        used = (operator[0][-1] == "+") == has
        word, position = (self if used else quiet)._expand(text, position, depth + 1)
        if not text.startswith("}", position):
            raise Problem(f"{text!r}: ${{{name} without its }}")
        match operator[0][-1]:
            case "-":
                return (self.values[name] if has else word), position + 1
            case "+":
                return (word if has else ""), position + 1
        if not has and self._used:
            raise Problem(f"{name} is required: {word or 'it is not set'}")
        return self.values.get(name, ""), position + 1

    def _value(self, name: str) -> str:
        if name not in self.values:
            self._missing(name)
        return self.values.get(name, "")
