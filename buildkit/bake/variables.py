"""The variables and functions of bake files, which all files see."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from buildkit.bake.definition import Variable
from buildkit.bake.expressions import also, expanded
from buildkit.bake.functions import FUNCTIONS
from buildkit.bake.operations import Value
from buildkit.bake.problems import Problem, at, check_keys
from runtime.oci.platform import this_platform

_VARIABLE_KEYS = ("default", "description", "type", "validation")
_FUNCTION_KEYS = ("params", "variadic_params", "result")
_TYPES = ("string", "number", "bool", "any")


class Variables:
    """Variables by name; their values are found when they are asked for."""

    def __init__(self) -> None:
        self._declared: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self._values: dict[str, Value] = {
            "BAKE_LOCAL_PLATFORM": this_platform(),
            "BAKE_CMD_CONTEXT": "cwd://",
        }
        self._finding: list[str] = []
        self._functions: dict[str, Callable[..., Value]] = {}
        self._fixed: set[str] = set()  # that the environment does not override

    def declare(self, file: str, name: str, body: Mapping[str, Any]) -> None:
        check_keys(body, _VARIABLE_KEYS, f"variable.{name}")
        self._declared[name] = (file, body)
        self._fixed.discard(name)

    def assign(self, file: str, name: str, value: Any) -> None:
        """Give a name a value, which nothing overrides unless it is declared, too."""
        declared = self._declared.get(name)
        if declared is None:
            self._fixed.add(name)
        body = declared[1] if declared is not None else {}
        self._declared[name] = (file, {**body, "default": value})

    def define(self, name: str, body: Mapping[str, Any]) -> None:
        """Define a function, whose result is an expression of its parameters."""
        path = f"function.{name}"
        check_keys(body, _FUNCTION_KEYS, path)
        names = _names(path, body.get("params", []))
        more = _names(path, body.get("variadic_params"))
        result = body.get("result")

        def call(*given: Value) -> Value:
            if len(given) < len(names) or (len(given) > len(names) and not more):
                raise ValueError(f"{len(names)} arguments expected, not {len(given)}")
            inside = dict(zip(names, given, strict=False))
            if more:
                inside[more[0]] = list(given[len(names) :])
            return expanded(result, also(inside, self.value))

        self._functions[name] = call

    def value(self, name: str) -> Value:
        """The value of a variable, or of NAME() the function; raises Problem."""
        if name.endswith("()"):
            if name[:-2] not in self._functions:
                known = ", ".join(sorted({*FUNCTIONS, *self._functions}))
                raise Problem(f"there is no function {name[:-2]!r}; there are {known}")
            return self._functions[name[:-2]]
        if name in self._values:
            return self._values[name]
        if name not in self._declared:
            raise Problem(
                f"there is no variable {name!r}", hint="`variable` declares it, with its default"
            )
        if name in self._finding:
            raise Problem(f"variables need one another: {' -> '.join((*self._finding, name))}")
        file, body = self._declared[name]
        self._finding.append(name)
        try:
            with at(file, f"variable.{name}"):
                value = self._find(name, body)
            self._values[name] = value
            self._validate(file, name, body)
        finally:
            self._finding.pop()
        return value

    def _find(self, name: str, body: Mapping[str, Any]) -> Value:
        kind = _type_name(body.get("type"))
        # Without a type it is text, which is empty where nothing is said.
        default = expanded(body.get("default", None if kind else ""), self.value)
        if kind and kind not in _TYPES:
            raise Problem(f"type: {kind!r} is not {', '.join(_TYPES)}")
        if name not in os.environ or name in self._fixed:
            return default
        text = os.environ[name]
        if isinstance(default, list | dict) and kind in ("", "any"):
            raise Problem(f"the variable {name} of the environment cannot be a list or an object")
        if kind == "bool" or (not kind and isinstance(default, bool)):
            if text.lower() not in ("true", "false", "1", "0"):
                raise Problem(f"{name}={text} in the environment: true or false expected")
            return text.lower() in ("true", "1")
        if kind == "number" or (not kind and isinstance(default, int | float)):
            try:
                return float(text) if "." in text else int(text)
            except ValueError:
                raise Problem(f"{name}={text} in the environment: a number expected") from None
        return text

    def _validate(self, file: str, name: str, body: Mapping[str, Any]) -> None:
        rules = body.get("validation", [])
        for rule in rules if isinstance(rules, list) else [rules]:
            with at(file, f"variable.{name}.validation"):
                if not isinstance(rule, dict):
                    raise Problem("an object expected")
                check_keys(rule, ("condition", "error_message"), "")
                if expanded(rule.get("condition", True), self.value) not in (True, "true"):
                    message = expanded(rule.get("error_message", ""), self.value)
                    raise Problem(str(message) or f"the value {self._values[name]!r} is not valid")

    def all(self) -> tuple[Variable, ...]:
        """All that are declared, for a list."""
        return tuple(
            Variable(
                name=name,
                value=self.value(name),
                description=str(expanded(body.get("description", ""), self.value)),
            )
            for name, (_, body) in sorted(self._declared.items())
            if name not in self._fixed
        )


def _names(path: str, value: Any) -> list[str]:
    """The parameters of a function: names in HCL, strings in JSON."""
    found = expanded(value, lambda name: name)
    found = [found] if isinstance(found, str) else found or []
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise Problem("a list of names expected", path=path)
    return found


def _type_name(value: Any) -> str:
    """The name of a type, which is an expression: string, or "${string}" in JSON."""
    return str(expanded(value, lambda name: name) or "")
