"""What the operators of expressions do with values (HCL native syntax specification)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from buildkit.bake.functions import FUNCTIONS
from buildkit.bake.problems import Problem

Value = Any  # str, int, float, bool, None, or a list or dict of such
Lookup = Callable[[str], Value]  # the value of a name; raises Problem
Evaluate = Callable[[Lookup], Value]

_CALCULATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}
_MOST = 1 << 20  # characters of a text, and members of a list
_DIGITS = 30


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


def small(value: Value) -> Value:
    """The value; raises Problem for one that grew too large, by way of many variables."""
    if isinstance(value, str | list) and len(value) > _MOST:
        raise Problem(f"longer than {_MOST}")
    return value


def constant(value: Value) -> Evaluate:
    """What evaluates to a value."""
    return lambda _: value


def listed(values: list[Evaluate]) -> Evaluate:
    """A list of what some expressions come to."""
    return lambda lookup: [value(lookup) for value in values]


def called(name: str, arguments: list[Evaluate]) -> Evaluate:
    """A call of a function, of ours or of the file's."""

    def call(lookup: Lookup) -> Value:
        given = [argument(lookup) for argument in arguments]
        function = FUNCTIONS.get(name) or lookup(f"{name}()")
        try:
            return small(function(*given))
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise Problem(f"{name}(…): {error}") from None
        except re.error as error:
            raise Problem(f"{name}(…): {error}") from None

    return call


def compared(sign: str, left: Evaluate, right: Evaluate) -> Evaluate:
    """A comparison by its sign."""

    def compare(lookup: Lookup) -> bool:
        one, two = left(lookup), right(lookup)
        if sign in ("==", "!="):
            same = type(one) is type(two) or (_is_number(one) and _is_number(two))
            return (same and bool(one == two)) == (sign == "==")
        one, two = number(one), number(two)
        return bool({"<": one < two, ">": one > two, "<=": one <= two}.get(sign, one >= two))

    return compare


def calculated(sign: str, left: Evaluate, right: Evaluate) -> Evaluate:
    """A calculation by its sign."""

    def calculate(lookup: Lookup) -> Value:
        one, two = number(left(lookup)), number(right(lookup))
        if sign in "/%" and not two:
            raise Problem("division by zero")
        try:
            value = _CALCULATIONS[sign](one, two)
        except OverflowError:
            raise Problem("a number is too large") from None
        if abs(value) >= 10**_DIGITS:
            raise Problem("a number is too large")
        return value

    return calculate


def truth(value: Value) -> bool:
    """The value, which is to be true or false; raises Problem."""
    if value in ("true", "false"):  # HCL converts these, and no other text
        return bool(value == "true")
    if not isinstance(value, bool):
        raise Problem(f"true or false expected, not {value!r}")
    return value


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: Value) -> Value:
    """The value as a number; raises Problem."""
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value):
        if len(value) > _DIGITS:
            raise Problem(f"more than {_DIGITS} digits")
        return float(value) if "." in value else int(value)
    if not _is_number(value):
        raise Problem(f"a number expected, not {value!r}")
    return value


def member(value: Evaluate, key: Evaluate) -> Evaluate:
    """A member of a list or an object, by its number or name."""

    def look(lookup: Lookup) -> Value:
        whole, name = value(lookup), key(lookup)
        try:
            if isinstance(whole, dict | list):
                return whole[name]
        except (LookupError, TypeError):
            pass
        raise Problem(f"{name!r} is no part of {whole!r}")

    return look
