"""docker-bake files: `variable`, `group` and `target`; of those in JSON, with `${…}` in strings.

`hcl_file` makes the same documents of files in HCL.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from buildkit.bake.definition import Definition, Group, check_target_name
from buildkit.bake.expressions import also, expanded
from buildkit.bake.fields import KINDS, Fields, read_value
from buildkit.bake.operations import Lookup, Value, text_of
from buildkit.bake.problems import COMMENT, Problem, at, check_keys
from buildkit.bake.variables import Variables
from runtime.record import Record

_BLOCKS = ("variable", "function", "group", "target")
_GROUP_KEYS = ("targets", "description")
_MOST_COMBINATIONS = 1000


class BakeFile(Record):
    """What stands in a file: blocks by kind and name, and values with names of their own (HCL)."""

    name: str
    document: Mapping[str, Any]
    attributes: Mapping[str, Any] = MappingProxyType({})


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


def read_bake_files(files: Sequence[BakeFile]) -> list[Definition]:
    """What the documents of files define; all of them see the variables of all.

    Raises UsageError that says in which file, and where in it, something is wrong.
    """
    variables = Variables()
    for file in files:
        with at(file.name):
            check_keys(file.document, _BLOCKS, "")
            for label, body in _blocks(file.document, "variable"):
                variables.declare(file.name, label, body)
            for label, body in _blocks(file.document, "function"):
                variables.define(label, body)
            for label, value in file.attributes.items():
                variables.assign(file.name, label, value)
    definitions = []
    for file in files:
        name, document = file.name, file.document
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
        if twice != COMMENT:
            raise ValueError(f"key {twice!r} stands twice in an object")
    return found


def _blocks(document: Mapping[str, Any], kind: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The blocks of one kind by their names."""
    with at(kind):
        blocks = document.get(kind, {})
        if not isinstance(blocks, dict):
            raise Problem("an object expected, of one object for each name")
        found = [(name, body) for name, body in blocks.items() if name != COMMENT]
        for name, body in found:
            if not isinstance(body, dict):
                raise Problem(f"{name}: an object expected")
        return found


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
            members = expanded(body.get("targets", []), lookup)
            if not isinstance(members, list) or not all(isinstance(m, str) for m in members):
                raise Problem("targets: a list of names expected")
            description = str(expanded(body.get("description", ""), lookup))
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
    for values in _combinations(expanded(body["matrix"], lookup)):
        inside = also(values, lookup)
        name = label
        if "name" in body:
            with at(file, f"target.{label}.name"):
                name = check_target_name(text_of(expanded(body["name"], inside)))
        if name in found:
            raise Problem(
                f"matrix: several targets would be called {name}",
                hint="`name` makes a name of the matrix's values, such as app-${item}",
            )
        found[name] = _read_fields(file, label, body, inside)
    return found


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
            value = read_value(key, expanded(body[key], lookup))
            if value is not None:
                fields[key] = value
    return fields
