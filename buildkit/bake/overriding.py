"""`--set TARGET.KEY[.NAME][+]=VALUE`: fields of targets that a command line changes.

The keys are buildx's, which are not in all cases those of a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from buildkit.bake.definition import matching
from buildkit.bake.fields import ENTRIES, KINDS, TEXTS, Fields, read_value
from buildkit.bake.problems import at
from buildkit.errors import UsageError
from runtime.record import Record

_FIELDS = {"platform": "platforms", "secrets": "secret"}  # where the key has another name
_TABLES = ("args", "contexts", "labels", "extra-hosts")
_KEYS = (
    *("annotations", "args.NAME", "attest", "cache-from", "cache-to", "call", "context"),
    *("contexts.NAME", "dockerfile", "entitlements", "extra-hosts.NAME", "labels.NAME", "load"),
    *("network", "no-cache", "no-cache-filter", "output", "platform", "pull", "push", "secrets"),
    *("shm-size", "ssh", "tags", "target", "ulimits"),
)
_ALWAYS_ADDING = ("annotations", "attest", "entitlements")


class Change(Record):
    """One --set, or several of one list."""

    text: str  # the option, for errors
    key: str
    name: str  # of what is changed in a table
    texts: tuple[str, ...]
    adds: bool

    def apply(self, fields: Fields) -> Fields:
        """The fields after it; raises UsageError."""
        with at(f"--set {self.text}"):
            return self._apply(fields)

    def _apply(self, fields: Fields) -> Fields:
        if self.key in ("push", "load"):
            flag = read_value("pull", self.texts[-1])
            return _pushed(fields, flag) if self.key == "push" else fields
        field = _FIELDS.get(self.key, self.key)
        old: Any = fields.get(field)
        match KINDS[field]:
            case "table":
                return fields | {field: {**(old or {}), self.name: self.texts[-1]}}
            case "text" | "flag":
                return fields | {field: read_value(field, self.texts[-1])}
        new = read_value(field, list(self.texts))
        adds = self.adds or field in _ALWAYS_ADDING
        return fields | {field: [*(old or ()), *new] if adds else new}


def read_overrides(
    words: Sequence[str], targets: Iterable[str]
) -> dict[str, Callable[[Fields], Fields]]:
    """What the --set options change, by target; raises UsageError."""
    found: dict[str, dict[tuple[str, str], Change]] = {}
    targets = tuple(targets)
    for word in words:
        pattern, change = _read(word)
        if change is None:
            continue
        for target in matching(targets, pattern):
            changes = found.setdefault(target, {})
            place = (change.key, change.name)
            if place in changes:
                earlier = changes[place].texts
                changes[place] = change.replace(texts=(*earlier, *change.texts))
            else:
                changes[place] = change
    return {target: _applying(changes) for target, changes in found.items()}


def _applying(changes: Mapping[tuple[str, str], Change]) -> Callable[[Fields], Fields]:
    def apply(fields: Fields) -> Fields:
        for change in changes.values():
            fields = change.apply(fields)
        return fields

    return apply


def _read(word: str) -> tuple[str, Change | None]:
    """The targets, and the change; None for an argument whose variable is not set."""
    left, equals, value = word.partition("=")
    path = left.removesuffix("+")
    pattern, dot, rest = path.partition(".")
    key, _, name = rest.partition(".")
    if not pattern or not dot or not key:
        raise UsageError(f"--set {word!r}: TARGET.KEY=VALUE expected")
    if key in _TABLES:
        if not name:
            raise UsageError(f"--set {word!r}: {pattern}.{key}.NAME=VALUE expected")
    elif key not in _KEYS or name:
        raise UsageError(f"--set {word!r}: unknown key {rest!r}", hint=f"keys: {', '.join(_KEYS)}")
    if not equals:
        if key != "args":
            raise UsageError(f"--set {word!r}: TARGET.KEY=VALUE expected")
        if name not in os.environ:
            return pattern, None
        value = os.environ[name]
    lists = KINDS.get(_FIELDS.get(key, key)) in (TEXTS, ENTRIES)
    adds = left.endswith("+")
    if adds and not lists:
        raise UsageError(f"--set {word!r}: only lists can be added to, not {key}")
    return pattern, Change(text=word, key=key, name=name, texts=(value,), adds=adds)


def _pushed(fields: Fields, push: bool) -> Fields:
    """The fields with an output that pushes, or without any."""
    outputs = [dict(output) for output in fields.get("output", ())]
    if not push:
        outputs = [output for output in outputs if output["type"] != "registry"]
    for output in outputs:
        if output["type"] == "image":
            output["push"] = "true" if push else "false"
    if push and all(output["type"] == "docker" for output in outputs):
        outputs.append({"push": "true", "type": "image"})
    return fields | {"output": outputs}
