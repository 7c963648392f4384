"""`${…}` in the strings of a docker-bake JSON file: the part of HCL's expressions that is read.

    expression   or ? expression : expression
    or, and      a || b, a && b
    equality     a == b, a != b, a < b, …
    sum          a + b, a - b
    value        "text", 12, true, null, name, a.b, a["b"], a[0], !a, (a), function(a, b), [a, b]

As in HCL, a string that is nothing but one `${…}` has the value's own type, `$${` stands for `${`,
and what a string is made of is turned into text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from buildkit.bake.functions import FUNCTIONS
from buildkit.bake.problems import Problem

Value = Any  # str, int, float, bool, None, or a list or dict of such
Lookup = Callable[[str], Value]  # the value of a name; raises Problem

_TOKEN = re.compile(
    r"""\s*(?: (?P<number>\d+(?:\.\d+)?) | (?P<name>[A-Za-z_][\w-]*) | (?P<text>"(?:[^"\\]|\\.)*")
    | (?P<sign>==|!=|<=|>=|&&|\|\||[-+!<>?:.,()\[\]]) )""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
_CONSTANTS = {"true": True, "false": False, "null": None}
_DEPTH = 50


def expand(text: str, lookup: Lookup) -> Value:
    """The value of a string with `${…}` in it; raises Problem."""
    parts = _parts(text)
    if len(parts) == 1 and parts[0][0]:
        return evaluate(parts[0][1], lookup)
    return "".join(
        text_of(evaluate(part, lookup)) if is_expression else part for is_expression, part in parts
    )


def text_of(value: Value) -> str:
    """A value as text, as HCL turns it into a string; raises Problem."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() else repr(value)
        case None:
            raise Problem("null cannot be a part of a string")
    raise Problem("a list or an object cannot be a part of a string")


def evaluate(expression: str, lookup: Lookup) -> Value:
    """The value of one expression; raises Problem."""
    reader = _Reader(expression, lookup)
    value = reader.conditional()
    reader.expect("")
    return value


def _parts(text: str) -> list[tuple[bool, str]]:
    """Literal text (False) and expressions (True), in order."""
    parts: list[tuple[bool, str]] = []
    literal, position = "", 0
    while position < len(text):
        if text.startswith(("$${", "%%{"), position):
            literal += text[position + 1 : position + 3]
            position += 3
        elif text.startswith("%{", position):
            raise Problem("%{…} is not read; %%{ stands for the characters")
        elif text.startswith("${", position):
            end = _end(text, position + 2)
            if literal:
                parts.append((False, literal))
            literal = ""
            parts.append((True, text[position + 2 : end]))
            position = end + 1
        else:
            literal += text[position]
            position += 1
    if literal or not parts:
        parts.append((False, literal))
    return parts


def _end(text: str, position: int) -> int:
    """Where the `}` of an expression is; one in a string is none."""
    quoted = False
    while position < len(text):
        character = text[position]
        if quoted and character == "\\":
            position += 1
        elif character == '"':
            quoted = not quoted
        elif character == "}" and not quoted:
            return position
        position += 1
    raise Problem("${ without its }")


class _Reader:
    """Reads an expression and evaluates it on the way; what is not chosen is evaluated too."""

    def __init__(self, text: str, lookup: Lookup) -> None:
        self._text = text
        self._lookup = lookup
        self._tokens = self._read(text)
        self._position = 0
        self._depth = 0

    def _read(self, text: str) -> list[tuple[str, str]]:
        tokens, position = [], 0
        text = text.rstrip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None or found.lastgroup is None:
                raise Problem(f"${{{text}}}: {text[position:].strip()[0]!r} is not expected")
            tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()
        return [*tokens, ("", "")]

    def _sign(self, *signs: str) -> str:
        """The next token if it is one of these, which is then done with; else ""."""
        kind, text = self._tokens[self._position]
        if kind != "sign" or text not in signs:
            return ""
        self._position += 1
        return text

    def expect(self, sign: str) -> None:
        """The next token must be this one; "" is the end."""
        text = self._tokens[self._position][1]
        if text != sign or (not sign and self._tokens[self._position][0]):
            raise Problem(f"${{{self._text}}}: {sign or 'its end'} expected, not {text or 'that'}")
        self._position += 1

    def conditional(self) -> Value:
        self._depth += 1
        if self._depth > _DEPTH:
            raise Problem("an expression is nested too deeply")
        value = self._or()
        if self._sign("?"):
            yes = self.conditional()
            self.expect(":")
            no = self.conditional()
            value = yes if _truth(value) else no
        self._depth -= 1
        return value

    def _or(self) -> Value:
        value = self._and()
        while self._sign("||"):
            right = self._and()
            value = _truth(value) or _truth(right)
        return value

    def _and(self) -> Value:
        value = self._comparison()
        while self._sign("&&"):
            right = self._comparison()
            value = _truth(value) and _truth(right)
        return value

    def _comparison(self) -> Value:
        value = self._sum()
        while sign := self._sign("==", "!=", "<", ">", "<=", ">="):
            right = self._sum()
            if sign in ("==", "!="):
                same = type(value) is type(right) or (_is_number(value) and _is_number(right))
                value = (same and value == right) == (sign == "==")
                continue
            left = _number(value)
            right = _number(right)
            value = {"<": left < right, ">": left > right, "<=": left <= right}.get(
                sign, left >= right
            )
        return value

    def _sum(self) -> Value:
        value = self._value()
        while sign := self._sign("+", "-"):
            right = _number(self._value())
            value = _number(value) + (right if sign == "+" else -right)
        return value

    def _value(self) -> Value:
        kind, text = self._tokens[self._position]
        self._position += 1
        value: Value
        if kind == "text":
            value = self._string(text)
        elif kind == "number":
            value = float(text) if "." in text else int(text)
        elif kind == "name":
            value = self._named(text)
        elif text == "!":
            return not _truth(self._value())
        elif text == "-":
            return -_number(self._value())
        elif text == "(":
            value = self.conditional()
            self.expect(")")
        elif text == "[":
            value = self._list("]")
        else:
            raise Problem(f"${{{self._text}}}: a value expected, not {text or 'its end'}")
        while sign := self._sign(".", "["):
            if sign == ".":
                kind, key = self._tokens[self._position]
                self._position += 1
                value = _member(value, int(key) if kind == "number" and key.isdigit() else key)
            else:
                value = _member(value, self.conditional())
                self.expect("]")
        return value

    def _string(self, text: str) -> Value:
        plain = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), text[1:-1])
        if "${" in plain:
            raise Problem(f"${{{self._text}}}: ${{…}} inside of another is not read")
        return plain

    def _named(self, name: str) -> Value:
        if self._sign("("):
            if name not in FUNCTIONS:
                known = ", ".join(sorted(FUNCTIONS))
                raise Problem(f"there is no function {name!r}; there are {known}")
            arguments = self._list(")")
            try:
                return FUNCTIONS[name](*arguments)
            except (TypeError, AttributeError, ValueError, KeyError, re.error) as error:
                raise Problem(f"{name}(…): {error}") from None
        return _CONSTANTS[name] if name in _CONSTANTS else self._lookup(name)

    def _list(self, end: str) -> list[Value]:
        values: list[Value] = []
        while not self._sign(end):
            values.append(self.conditional())
            if not self._sign(","):
                self.expect(end)
                break
        return values


def _truth(value: Value) -> bool:
    if value in ("true", "false"):  # HCL converts these, and no other text
        return bool(value == "true")
    if not isinstance(value, bool):
        raise Problem(f"true or false expected, not {value!r}")
    return value


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Value) -> Value:
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value):
        return float(value) if "." in value else int(value)
    if not _is_number(value):
        raise Problem(f"a number expected, not {value!r}")
    return value


def _member(value: Value, key: Value) -> Value:
    try:
        if isinstance(value, dict | list):
            return value[key]
    except (LookupError, TypeError):
        pass
    raise Problem(f"{key!r} is no part of {value!r}")
