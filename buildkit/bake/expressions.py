"""Expressions of bake files: the part of HCL's that is read.

    expression   or ? expression : expression
    or, and      a || b, a && b
    equality     a == b, a != b, a < b, …
    sum          a + b, a - b
    product      a * b, a / b, a % b
    value        "text", 12, true, null, name, a.b, a["b"], a[0], !a, -a, (a), function(a, b),
                 [a, b], {a = b, "c" = d}, heredocs

As in HCL, a string that is nothing but one `${…}` has the value's own type, `$${` stands for `${`,
what a string is made of is turned into text, and what is not chosen is not evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from buildkit.bake.operations import (
    Evaluate,
    Lookup,
    Value,
    calculated,
    called,
    compared,
    constant,
    listed,
    member,
    number,
    small,
    text_of,
    truth,
)
from buildkit.bake.problems import COMMENT, Problem
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

_ESCAPE = re.compile(r"\\(?:([nrt\"\\])|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r"}
_CONSTANTS = {"true": True, "false": False, "null": None}
_DEPTH = 50


class Expression:
    """An expression of a file, to be evaluated where names have values."""

    def __init__(self, evaluate: Evaluate) -> None:
        self.evaluate = evaluate


def expand(text: str, lookup: Lookup) -> Value:
    """The value of a string with `${…}` in it; raises Problem."""
    return template(text, escapes=False)(lookup) if "{" in text else text


def expanded(value: Any, lookup: Lookup) -> Value:
    """A value with all `${…}` in it replaced, in the names of its members too."""
    if isinstance(value, Expression):
        return value.evaluate(lookup)
    if isinstance(value, str):
        return expand(value, lookup)
    if isinstance(value, list):
        return [expanded(item, lookup) for item in value]
    if isinstance(value, dict):
        return {
            text_of(expand(name, lookup)): expanded(item, lookup)
            for name, item in value.items()
            if name != COMMENT
        }
    return value


def also(values: Mapping[str, Value], lookup: Lookup) -> Lookup:
    """A lookup that knows more names."""
    return lambda name: values[name] if name in values else lookup(name)


def template(text: str, *, escapes: bool) -> Evaluate:
    """What evaluates a string; with `escapes` `\\n` in it is a newline. Raises Problem."""
    try:
        parts = [
            Reader(tokens_of(part)).whole()
            if is_expression
            else constant(_unescaped(part) if escapes else part)
            for is_expression, part in template_parts(text)
        ]
    except RecursionError:
        raise Problem("an expression is nested too deeply") from None
    if len(parts) == 1:
        return parts[0]
    return lambda lookup: small("".join(text_of(part(lookup)) for part in parts))


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        if found[1]:
            return _LETTERS.get(found[1], found[1])
        code = int(found[2] or found[3], 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise Problem(f"{found[0]} is no character")
        return chr(code)

    return _ESCAPE.sub(character, text)


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
        return lambda lookup: (yes if truth(condition(lookup)) else no)(lookup)

    def _or(self) -> Evaluate:
        values = [self._and()]
        while self.sign("||"):
            values.append(self._and())
        if len(values) == 1:
            return values[0]
        return lambda lookup: any(truth(value(lookup)) for value in values)

    def _and(self) -> Evaluate:
        values = [self._comparison()]
        while self.sign("&&"):
            values.append(self._comparison())
        if len(values) == 1:
            return values[0]
        return lambda lookup: all(truth(value(lookup)) for value in values)

    def _comparison(self) -> Evaluate:
        value = self._sum()
        while sign := self.sign("==", "!=", "<", ">", "<=", ">="):
            value = compared(sign, value, self._sum())
        return value

    def _sum(self) -> Evaluate:
        value = self._product()
        while sign := self.sign("+", "-"):
            value = calculated(sign, value, self._product())
        return value

    def _product(self) -> Evaluate:
        value = self._value()
        while sign := self.sign("*", "/", "%"):
            value = calculated(sign, value, self._value())
        return value

    def _value(self) -> Evaluate:
        value = self._simple()
        while sign := self.sign(".", "["):
            if sign == ".":
                token = self.take()
                if token.kind not in (NAME, NUMBER):
                    raise self.problem("a name expected after .")
                key = int(token.text) if token.text.isdecimal() else token.text
                value = member(value, constant(key))
            else:
                value = member(value, self.expression())
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
                return constant(number(token.text))
            case "name":
                return self._named(token.text)
        match token.text:
            case "!":
                negated = self._value()
                return lambda lookup: not truth(negated(lookup))
            case "-":
                negative = self._value()
                return lambda lookup: -number(negative(lookup))
            case "(":
                inside = self.expression()
                self.expect(")")
                return inside
            case "[":
                return listed(self._list("]"))
            case "{":
                return self._object()
        self._position -= 1
        raise self.problem("a value expected")

    def _named(self, name: str) -> Evaluate:
        if self.sign("("):
            return called(name, self._list(")"))
        if name in _CONSTANTS:
            return constant(_CONSTANTS[name])
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
            return constant(token.text)
        if token.kind == TEXT:
            return template(token.text, escapes=True)
        if token.kind == NUMBER:
            return constant(token.text)
        self._position -= token.kind != END
        if self.sign("("):
            key = self.expression()
            self.expect(")")
            return key
        raise self.problem("a key expected")
