"""Expressions of bake files: the part of HCL's that is read.

    expression   or ? expression : expression
    or, and      a || b, a && b
    equality     a == b, a != b, a < b, …
    sum          a + b, a - b
    value        "text", 12, true, null, name, a.b, a["b"], a[0], !a, -a, (a), function(a, b),
                 [a, b], {a = b, "c" = d}, heredocs

As in HCL, a string that is nothing but one `${…}` has the value's own type, `$${` stands for `${`,
what a string is made of is turned into text, and what is not chosen is not evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from buildkit.bake.functions import FUNCTIONS
from buildkit.bake.problems import Problem
from buildkit.bake.tokens import (
    END,
    NAME,
    NUMBER,
    SIGN,
    TEXT,
    Token,
    template_parts,
    tokens_of,
)

Value = Any  # str, int, float, bool, None, or a list or dict of such
Lookup = Callable[[str], Value]  # the value of a name; raises Problem
Evaluate = Callable[[Lookup], Value]

_ESCAPE = re.compile(r"\\(?:([nrt\"\\])|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r"}
_CONSTANTS = {"true": True, "false": False, "null": None}
_DEPTH = 50
_MOST = 1 << 20  # characters of a text, and members of a list
_DIGITS = 30


class Expression:
    """An expression of a file, to be evaluated where names have values."""

    def __init__(self, evaluate: Evaluate) -> None:
        self.evaluate = evaluate


def expand(text: str, lookup: Lookup) -> Value:
    """The value of a string with `${…}` in it; raises Problem."""
    return template(text, escapes=False)(lookup) if "{" in text else text


def template(text: str, *, escapes: bool) -> Evaluate:
    """What evaluates a string; with `escapes` `\\n` in it is a newline. Raises Problem."""
    try:
        parts = [
            Reader(tokens_of(part)).whole()
            if is_expression
            else _constant(_unescaped(part) if escapes else part)
            for is_expression, part in template_parts(text)
        ]
    except RecursionError:
        raise Problem("an expression is nested too deeply") from None
    if len(parts) == 1:
        return parts[0]
    return lambda lookup: _small("".join(text_of(part(lookup)) for part in parts))


def _small(value: Value) -> Value:
    """The value; raises Problem for one that grew too large, by way of many variables."""
    if isinstance(value, str | list) and len(value) > _MOST:
        raise Problem(f"longer than {_MOST}")
    return value


def _constant(value: Value) -> Evaluate:
    return lambda _: value


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        if found[1]:
            return _LETTERS.get(found[1], found[1])
        code = int(found[2] or found[3], 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise Problem(f"{found[0]} is no character")
        return chr(code)

    return _ESCAPE.sub(character, text)


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


class Reader:
    """Reads expressions of some tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    @property
    def next(self) -> Token:
        """The token that comes next."""
        return self._tokens[self._position]

    def take(self) -> Token:
        """The next token, which is then done with."""
        token = self.next
        self._position += token.kind != END
        return token

    def sign(self, *signs: str) -> str:
        """The next token if it is one of these, which is then done with; else ""."""
        token = self.next
        if token.kind != SIGN or token.text not in signs:
            return ""
        return self.take().text

    def expect(self, sign: str) -> None:
        """The next token must be this one."""
        if not self.sign(sign):
            raise self.problem(f"{sign} expected")

    def problem(self, message: str) -> Problem:
        """What is wrong at the next token."""
        shown = self.next.text if self.next.kind != END else "the end"
        return Problem(f"line {self.next.line}: {message}, not {shown}")

    def whole(self) -> Evaluate:
        """The one expression that all tokens are."""
        evaluate = self.expression()
        if self.next.kind != END:
            raise self.problem("the end of an expression expected")
        return evaluate

    def expression(self) -> Evaluate:
        """The next expression."""
        self._depth += 1
        if self._depth > _DEPTH:
            raise Problem("an expression is nested too deeply")
        value = self._or()
        if self.sign("?"):
            value = self._chosen(value)
        self._depth -= 1
        return value

    def _chosen(self, condition: Evaluate) -> Evaluate:
        yes = self.expression()
        self.expect(":")
        no = self.expression()
        return lambda lookup: (yes if _truth(condition(lookup)) else no)(lookup)

    def _or(self) -> Evaluate:
        values = [self._and()]
        while self.sign("||"):
            values.append(self._and())
        if len(values) == 1:
            return values[0]
        return lambda lookup: any(_truth(value(lookup)) for value in values)

    def _and(self) -> Evaluate:
        values = [self._comparison()]
        while self.sign("&&"):
            values.append(self._comparison())
        if len(values) == 1:
            return values[0]
        return lambda lookup: all(_truth(value(lookup)) for value in values)

    def _comparison(self) -> Evaluate:
        value = self._sum()
        while sign := self.sign("==", "!=", "<", ">", "<=", ">="):
            value = _compared(sign, value, self._sum())
        return value

    def _sum(self) -> Evaluate:
        value = self._value()
        while sign := self.sign("+", "-"):
            value = _summed(sign, value, self._value())
        return value

    def _value(self) -> Evaluate:
        value = self._simple()
        while sign := self.sign(".", "["):
            if sign == ".":
                token = self.take()
                if token.kind not in (NAME, NUMBER):
                    raise self.problem("a name expected after .")
                key = int(token.text) if token.text.isdecimal() else token.text
                value = _member(value, _constant(key))
            else:
                value = _member(value, self.expression())
                self.expect("]")
        return value

    def _simple(self) -> Evaluate:
        if self.next.kind == END:
            raise self.problem("a value expected")
        token = self.take()
        match token.kind:
            case "text":
                return template(token.text, escapes=True)
            case "lines":
                return template(token.text, escapes=False)
            case "number":
                return _constant(_number(token.text))
            case "name":
                return self._named(token.text)
        match token.text:
            case "!":
                negated = self._value()
                return lambda lookup: not _truth(negated(lookup))
            case "-":
                negative = self._value()
                return lambda lookup: -_number(negative(lookup))
            case "(":
                inside = self.expression()
                self.expect(")")
                return inside
            case "[":
                return _all(self._list("]"))
            case "{":
                return self._object()
        self._position -= 1
        raise self.problem("a value expected")

    def _named(self, name: str) -> Evaluate:
        if self.sign("("):
            if name not in FUNCTIONS:
                known = ", ".join(sorted(FUNCTIONS))
                raise Problem(f"there is no function {name!r}; there are {known}")
            return _called(name, self._list(")"))
        if name in _CONSTANTS:
            return _constant(_CONSTANTS[name])
        return lambda lookup: lookup(name)

    def _list(self, end: str) -> list[Evaluate]:
        values: list[Evaluate] = []
        if end == "]" and self.next.kind == NAME and self.next.text == "for":
            raise Problem(f"line {self.next.line}: `for` is not read")
        while not self.sign(end):
            values.append(self.expression())
            if not self.sign(","):
                self.expect(end)
                break
        return values

    def _object(self) -> Evaluate:
        members: list[tuple[Evaluate, Evaluate]] = []
        if self.next.kind == NAME and self.next.text == "for":
            raise Problem(f"line {self.next.line}: `for` is not read")
        while not self.sign("}"):
            key = self._key()
            if not self.sign("=", ":"):
                raise self.problem("= expected")
            members.append((key, self.expression()))
            self.sign(",")
        return lambda lookup: {text_of(k(lookup)): v(lookup) for k, v in members}

    def _key(self) -> Evaluate:
        token = self.take()
        if token.kind == NAME:
            return _constant(token.text)
        if token.kind == TEXT:
            return template(token.text, escapes=True)
        if token.kind == NUMBER:
            return _constant(token.text)
        self._position -= token.kind != END
        if self.sign("("):
            key = self.expression()
            self.expect(")")
            return key
        raise self.problem("a key expected")


def _all(values: list[Evaluate]) -> Evaluate:
    return lambda lookup: [value(lookup) for value in values]


def _called(name: str, arguments: list[Evaluate]) -> Evaluate:
    def call(lookup: Lookup) -> Value:
        given = [argument(lookup) for argument in arguments]
        try:
            return _small(FUNCTIONS[name](*given))
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise Problem(f"{name}(…): {error}") from None
        except re.error as error:
            raise Problem(f"{name}(…): {error}") from None

    return call


def _compared(sign: str, left: Evaluate, right: Evaluate) -> Evaluate:
    def compare(lookup: Lookup) -> bool:
        one, two = left(lookup), right(lookup)
        if sign in ("==", "!="):
            same = type(one) is type(two) or (_is_number(one) and _is_number(two))
            return (same and bool(one == two)) == (sign == "==")
        one, two = _number(one), _number(two)
        return bool({"<": one < two, ">": one > two, "<=": one <= two}.get(sign, one >= two))

    return compare


def _summed(sign: str, left: Evaluate, right: Evaluate) -> Evaluate:
    def add(lookup: Lookup) -> Value:
        one, two = _number(left(lookup)), _number(right(lookup))
        return one + two if sign == "+" else one - two

    return add


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
        if len(value) > _DIGITS:
            raise Problem(f"more than {_DIGITS} digits")
        return float(value) if "." in value else int(value)
    if not _is_number(value):
        raise Problem(f"a number expected, not {value!r}")
    return value


def _member(value: Evaluate, key: Evaluate) -> Evaluate:
    def look(lookup: Lookup) -> Value:
        whole, name = value(lookup), key(lookup)
        try:
            if isinstance(whole, dict | list):
                return whole[name]
        except (LookupError, TypeError):
            pass
        raise Problem(f"{name!r} is no part of {whole!r}")

    return look
