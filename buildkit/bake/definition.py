"""All groups and targets of the files together, and which of them a command line means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from buildkit.bake.fields import Fields, merge, normal, to_json
from buildkit.bake.problems import Problem
from buildkit.errors import UsageError
from runtime.record import Record

DEFAULT = "default"
TARGET_CONTEXT = "target:"  # how a context names another target
Overrides = Mapping[str, Callable[[Fields], Fields]]  # by the target whose fields they change
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_PATTERN = re.compile(r"[*?\[\]]")


class Group(Record):
    """Targets, or further groups, that are built together."""

    targets: tuple[str, ...]
    description: str = ""

    def to_json(self) -> dict[str, Any]:
        """The group as `--print` shows it."""
        shown: dict[str, Any] = {"description": self.description} if self.description else {}
        return shown | {"targets": list(self.targets)}


class Variable(Record):
    """A variable of a bake file, as `--list variables` shows it."""

    name: str
    value: Any
    description: str = ""


class Definition(Record):
    """What the files define; targets are as they were written, nothing is inherited yet."""

    groups: Mapping[str, Group]
    targets: Mapping[str, Fields]
    variables: tuple[Variable, ...] = ()


class Resolved(Record):
    """What is to be built: all that was asked for, and the targets that it needs (`linked`)."""

    groups: Mapping[str, Group]
    targets: Mapping[str, Fields]
    linked: frozenset[str]

    def to_json(self) -> dict[str, Any]:
        """The document that `docker buildx bake --print` writes."""
        document: dict[str, Any] = {}
        if self.groups:
            document["group"] = {n: g.to_json() for n, g in sorted(self.groups.items())}
        targets = sorted(self.targets.items())
        defaults = {"context": ".", "dockerfile": "Dockerfile"}
        return document | {"target": {name: to_json(defaults | f) for name, f in targets}}


def check_target_name(name: str) -> str:
    """Return a name that a target or group may have; raises Problem."""
    if not _NAME.fullmatch(name):
        raise Problem(f"{name!r}: a name has letters, digits, - and _ alone")
    return name


def joined(definitions: Iterable[Definition]) -> Definition:
    """Several definitions as one: targets are merged, later groups replace earlier ones."""
    groups: dict[str, Group] = {}
    targets: dict[str, Fields] = {}
    variables: dict[str, Variable] = {}
    for definition in definitions:
        groups |= definition.groups
        for name, fields in definition.targets.items():
            targets[name] = merge(targets.get(name, {}), fields)
        variables |= {variable.name: variable for variable in definition.variables}
    return Definition(groups=groups, targets=targets, variables=tuple(variables.values()))


def matching(names: Iterable[str], pattern: str) -> list[str]:
    """The names that a pattern with wildcards means; raises UsageError."""
    found = [name for name in names if name == pattern] or [
        name for name in names if _PATTERN.search(pattern) and fnmatchcase(name, pattern)
    ]
    if not found:
        shown = ", ".join(sorted(names)) or "none"
        raise UsageError(f"no target is called {pattern}", hint=f"there are: {shown}")
    return found


def resolve(definition: Definition, asked: Sequence[str], overrides: Overrides) -> Resolved:
    """The targets that were asked for, complete; raises UsageError."""
    names = list(dict.fromkeys([*definition.groups, *definition.targets]))
    wanted = [name for text in asked or (DEFAULT,) for name in _named(names, text)]
    wanted = list(dict.fromkeys(wanted))
    groups: dict[str, Group] = {}
    targets: dict[str, Fields] = {}
    for name in wanted:
        found_targets, found_groups = _group(definition, name, ())
        for target in found_targets:
            targets[target] = _complete(definition, target, overrides)
        groups |= {group: definition.groups[group] for group in found_groups}
    started = groups.get(DEFAULT, Group(targets=()))
    more = [name for name in wanted if not (name == DEFAULT and DEFAULT in groups)]
    members = tuple(sorted(dict.fromkeys([*started.targets, *more])))
    groups[DEFAULT] = started.replace(targets=members)
    linked: set[str] = set()
    for name in list(targets):
        _link(definition, name, targets, linked, overrides, ())
    return Resolved(groups=groups, targets=targets, linked=frozenset(linked))


def links_of(fields: Fields) -> dict[str, str]:
    """The contexts of a target that are other targets: their names by those of the contexts."""
    return {
        name: value.removeprefix(TARGET_CONTEXT)
        for name, value in fields.get("contexts", {}).items()
        if value.startswith(TARGET_CONTEXT)
    }


def _named(names: list[str], text: str) -> list[str]:
    if not _PATTERN.search(text):
        text = text.replace(".", "_")  # as a compose service's name becomes a target's
    if text == DEFAULT and DEFAULT not in names:
        shown = ", ".join(sorted(names)) or "none"
        raise UsageError(
            "no target or group is called default, so say which to build",
            hint=f"there are: {shown}",
        )
    return matching(names, text)


def _group(
    definition: Definition, name: str, path: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """The targets and the groups that a name leads to."""
    if name not in definition.groups:
        if name not in definition.targets:
            place = f"group {path[-1]}: " if path else ""
            raise UsageError(f"{place}there is no target {name}")
        return [name], []
    if name in path:
        raise UsageError(f"a group is in itself: {' -> '.join((*path, name))}")
    targets, groups = [], [name]
    for member in definition.groups[name].targets:
        # A target and its group may have one name.
        if member == name and name in definition.targets:
            targets.append(name)
            continue
        more, further = _group(definition, member, (*path, name))
        targets += more
        groups += further
    return targets, groups


def _complete(definition: Definition, name: str, overrides: Overrides) -> Fields:
    fields = _inheriting(definition, name, overrides, ())
    return {key: value for key, value in fields.items() if key != "inherits"}


def _inheriting(
    definition: Definition, name: str, overrides: Overrides, path: tuple[str, ...]
) -> Fields:
    if name in path:
        raise UsageError(f"targets inherit in a ring: {' -> '.join((*path, name))}")
    if name not in definition.targets:
        place = f"target {path[-1]}: inherits: " if path else ""
        raise UsageError(f"{place}there is no target {name}")
    own = definition.targets[name]
    below: Fields = {}
    for parent in own.get("inherits", ()):
        below = merge(below, _inheriting(definition, parent, overrides, (*path, name)))
    fields = merge({key: value for key, value in below.items() if key != "inherits"}, own)
    if name in overrides:
        fields = overrides[name](fields)
    return normal(merge({}, fields))


def _link(
    definition: Definition,
    name: str,
    targets: dict[str, Fields],
    linked: set[str],
    overrides: Overrides,
    path: tuple[str, ...],
) -> None:
    """Add the targets that the contexts of one are."""
    if name in path:
        raise UsageError(f"targets need one another: {' -> '.join((*path, name))}")
    for context, other in links_of(targets[name]).items():
        if other not in targets:
            if other not in definition.targets:
                raise UsageError(f"target {name}: contexts: {context}: there is no target {other}")
            fields = _complete(definition, other, overrides)
            targets[other] = fields | {"output": [{"type": "cacheonly"}]}
            linked.add(other)
        _link(definition, other, targets, linked, overrides, (*path, name))
