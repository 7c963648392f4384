"""docker-bake files: `variable`, `group` and `target`; of those in JSON, with `${…}` in strings.

`hcl_file` makes the same documents of files in HCL.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from buildkit.bake.definition import Definition, Group, Variable, check_target_name
from buildkit.bake.expressions import Expression, Lookup, Value, expand, text_of
from buildkit.bake.fields import KINDS, Fields, read_value
from buildkit.bake.problems import Problem, at
from runtime.oci.platform import this_platform

_COMMENT = "//"  # a key that HCL's JSON syntax ignores
_BLOCKS = ("variable", "group", "target")
_VARIABLE_KEYS = ("default", "description", "type", "validation")
_GROUP_KEYS = ("targets", "description")
_MOST_COMBINATIONS = 1000
_TYPES = ("string", "number", "bool", "any")
_REFUSED = {
    "function": "functions of one's own are not read",
    "policy": "policies are not supported by this version",
    "cgroup-parent": "RUN steps have a cgroup of their own, below that of pybuild",
}


def read_json(text: bytes) -> dict[str, Any]:
    """The document, in which no object has a key twice; raises Problem."""
    try:
        document = json.loads(text, object_pairs_hook=_object)
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Problem("half of a surrogate pair stands for no character") from None
    except RecursionError:
        raise Problem("nested too deeply") from None
    except ValueError as error:
        raise Problem(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Problem("an object expected")
    return document


def read_bake_files(files: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Definition]:
    """What the documents of files define; all of them see the variables of all.

    Raises UsageError that says in which file, and where in it, something is wrong.
    """
    files = tuple(files)
    variables = _Variables()
    for name, document in files:
        with at(name):
            check_keys(document, _BLOCKS, "")
            for label, body in _blocks(document, "variable"):
                variables.declare(name, label, body)
    definitions = []
    for name, document in files:
        groups = dict(_read_groups(name, document, variables.value))
        targets: dict[str, Fields] = {}
        for label, body in _blocks(document, "target"):
            with at(name, f"target.{label}"):
                made = _read_target(name, label, body, variables.value)
                targets |= made
                if list(made) != [label]:
                    groups.setdefault(label, Group(targets=tuple(made)))
        definitions.append(Definition(groups=groups, targets=targets))
    return [*definitions, Definition(groups={}, targets={}, variables=variables.all())]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        if twice != _COMMENT:
            raise ValueError(f"key {twice!r} stands twice in an object")
    return found


def check_keys(body: Mapping[str, Any], known: Iterable[str], path: str) -> None:
    """Raise Problem for a key that is not known; `path` leads to the body."""
    import difflib

    known = tuple(known)
    for key in body:
        if key in known or key == _COMMENT:
            continue
        path = ".".join(filter(None, (path, key)))
        if key in _REFUSED:
            raise Problem(_REFUSED[key], path=path)
        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise Problem("unknown key", hint=hint, path=path)


def _blocks(document: Mapping[str, Any], kind: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The blocks of one kind by their names."""
    with at(kind):
        blocks = document.get(kind, {})
        if not isinstance(blocks, dict):
            raise Problem("an object expected, of one object for each name")
        found = [(name, body) for name, body in blocks.items() if name != _COMMENT]
        for name, body in found:
            if not isinstance(body, dict):
                raise Problem(f"{name}: an object expected")
        return found


class _Variables:
    """Variables by name; their values are found when they are asked for."""

    def __init__(self) -> None:
        self._declared: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self._values: dict[str, Value] = {
            "BAKE_LOCAL_PLATFORM": this_platform(),
            "BAKE_CMD_CONTEXT": "cwd://",
        }
        self._finding: list[str] = []

    def declare(self, file: str, name: str, body: Mapping[str, Any]) -> None:
        check_keys(body, _VARIABLE_KEYS, f"variable.{name}")
        self._declared[name] = (file, body)

    def value(self, name: str) -> Value:
        """The value of a variable; raises Problem."""
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
        default = _expanded(body.get("default"), self.value)
        kind = _type_name(body.get("type"))
        if kind and kind not in _TYPES:
            raise Problem(f"type: {kind!r} is not {', '.join(_TYPES)}")
        if name not in os.environ:
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
                if _expanded(rule.get("condition", True), self.value) not in (True, "true"):
                    message = _expanded(rule.get("error_message", ""), self.value)
                    raise Problem(str(message) or f"the value {self._values[name]!r} is not valid")

    def all(self) -> tuple[Variable, ...]:
        """All that are declared, for a list."""
        return tuple(
            Variable(
                name=name,
                value=self.value(name),
                description=str(_expanded(body.get("description", ""), self.value)),
            )
            for name, (_, body) in sorted(self._declared.items())
        )


def _type_name(value: Any) -> str:
    """The name of a type, which is an expression: string, or "${string}" in JSON."""
    return str(_expanded(value, lambda name: name) or "")


def _read_groups(
    name: str, document: Mapping[str, Any], lookup: Lookup
) -> Iterable[tuple[str, Group]]:
    for label, body in _blocks(document, "group"):
        with at(name, f"group.{label}"):
            check_target_name(label)
            for key in ("name", "matrix"):
                if key in body:
                    raise Problem(f"{key}: a group has none")
            check_keys(body, _GROUP_KEYS, "")
            members = _expanded(body.get("targets", []), lookup)
            if not isinstance(members, list) or not all(isinstance(m, str) for m in members):
                raise Problem("targets: a list of names expected")
            description = str(_expanded(body.get("description", ""), lookup))
            targets = tuple(dict.fromkeys(members))
            yield label, Group(targets=targets, description=description)


def _read_target(
    file: str, label: str, body: Mapping[str, Any], lookup: Lookup
) -> dict[str, Fields]:
    """One target, or as many as its matrix makes of it."""
    check_target_name(label)
    check_keys(body, (*KINDS, "matrix", "name"), "")
    if "matrix" not in body:
        if "name" in body:
            raise Problem("name: only a target with a matrix has one")
        return {label: _read_fields(file, label, body, lookup)}
    found: dict[str, Fields] = {}
    for values in _combinations(_expanded(body["matrix"], lookup)):
        inside = _also(values, lookup)
        name = label
        if "name" in body:
            with at(file, f"target.{label}.name"):
                name = check_target_name(text_of(_expanded(body["name"], inside)))
        if name in found:
            raise Problem(
                f"matrix: several targets would be called {name}",
                hint="`name` makes a name of the matrix's values, such as app-${item}",
            )
        found[name] = _read_fields(file, label, body, inside)
    return found


def _also(values: Mapping[str, Value], lookup: Lookup) -> Lookup:
    return lambda name: values[name] if name in values else lookup(name)


def _combinations(matrix: Value) -> list[dict[str, Value]]:
    """All combinations of a matrix's values; the first axis changes first, as with buildx."""
    if not isinstance(matrix, dict):
        raise Problem("matrix: an object expected")
    for axis, values in matrix.items():
        if not isinstance(values, list):
            raise Problem(f"matrix: {axis}: a list expected")
    if math.prod(map(len, matrix.values())) > _MOST_COMBINATIONS:
        raise Problem(f"matrix: more than {_MOST_COMBINATIONS} targets")
    axes = list(matrix)[::-1]
    return [
        dict(zip(axes, values, strict=True))
        for values in itertools.product(*(matrix[axis] for axis in axes))
    ]


def _read_fields(file: str, label: str, body: Mapping[str, Any], lookup: Lookup) -> Fields:
    fields: Fields = {}
    for key in KINDS:
        if key not in body:
            continue
        with at(file, f"target.{label}.{key}"):
            value = read_value(key, _expanded(body[key], lookup))
            if value is not None:
                fields[key] = value
    return fields


def _expanded(value: Any, lookup: Lookup) -> Value:
    """A value with all `${…}` in it replaced, in the names of its members too."""
    if isinstance(value, Expression):
        return value.evaluate(lookup)
    if isinstance(value, str):
        return expand(value, lookup)
    if isinstance(value, list):
        return [_expanded(item, lookup) for item in value]
    if isinstance(value, dict):
        return {
            text_of(expand(name, lookup)): _expanded(item, lookup)
            for name, item in value.items()
            if name != _COMMENT
        }
    return value
