"""Why a step was not found in the cache: the first part of its key that is not as it was.

What the steps of a Containerfile were called, and the keys they had, is kept from one build to the
next; with a key goes a record of its parts (`cache`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from buildkit.cache import Parts, read_parts
from runtime.oci.digest import digest_of
from runtime.record import Record
from runtime.store.store import Store, write_atomically

_SHOWN = 60  # characters of a value
_NAMES = {
    "parent": "what lies below",
    "origin": "what it copies from",
    "sources": "source",
    "args": "command",
    "env": "variable",
    "mounts": "mount",
    "epoch": "time of the newest input",
}


class Known(Record):
    """A step of an earlier build."""

    stage: str
    text: str
    key: str


class Explanations:
    """The steps of one Containerfile in one context, as the last build had them."""

    def __init__(self, store: Store, name: str, context: str) -> None:
        """Load them; there are none of what was never built."""
        self._store = store
        identity = os.fsencode(f"{os.path.abspath(name)}\0{context}")
        self._path = f"{store.root}/cache/steps-{digest_of(identity).hex}"
        self._before: list[Known] = []
        self._now: list[Known] = []
        try:
            with open(self._path, "rb") as file:
                self._before = [Known(stage=s, text=t, key=k) for s, t, k in json.load(file)]
        except (OSError, ValueError, TypeError):  # none, or a broken one: there is less to say
            pass

    def add(self, stage: str, text: str, key: str) -> None:
        """Note what key a step has now."""
        self._now.append(Known(stage=stage, text=text, key=key))

    def save(self) -> None:
        """Keep what was noted for the next build; steps of other targets stay."""
        stages = {step.stage for step in self._now}
        kept = [step for step in self._before if step.stage not in stages]
        document = [[step.stage, step.text, step.key] for step in (*kept, *self._now)]
        write_atomically(self._path, json.dumps(document).encode())

    def why(self, stage: str, text: str, key: str, parts: Parts) -> str:
        """Why the step that was just added, which has this key, is to be done."""
        position = sum(step.stage == stage for step in self._now) - 1
        earlier = [step for step in self._before if step.stage == stage]
        same = [step for step in earlier if step.text == text]
        step = same[0] if same else earlier[position] if position < len(earlier) else None
        if any(step.key == key for step in earlier):
            return "its result is no longer in the store"
        if step is None:
            return "it was never done before"
        old = read_parts(self._store, step.key)
        if old is None:
            return "what the last build made of it is no longer in the store"
        return first_difference(old, json.loads(json.dumps(parts)))


def first_difference(old: Mapping[str, object], new: Mapping[str, object]) -> str:
    """The first part of a key that differs, in words; what lies below comes last."""
    for name in sorted({**new, **old}, key=lambda name: name in ("parent", "epoch")):
        if old.get(name) != new.get(name):
            difference = _difference(*(_files(name, parts.get(name)) for parts in (old, new)))
            return f"{_NAMES.get(name, name)}: {difference}"
    return "the format of the cache is another one"


def _files(name: str, value: object) -> object:
    """Of sources all files, whatever word of the instruction names them."""
    if name == "sources" and isinstance(value, list):
        return [file for source in value if isinstance(source, list) for file in source]
    return value


def _difference(old: object, new: object) -> str:
    if isinstance(old, list) and isinstance(new, list):
        if _is_pair(old) and _is_pair(new) and old[0] == new[0]:
            return f"{old[0]}: its content is another one"
        for before, now in zip(old, new, strict=False):
            if before != now:
                if len(old) != len(new) and before not in new:
                    return f"{_shown(before)} is gone"
                if len(old) != len(new) and now not in old:
                    return f"{_shown(now)} is new"
                return _difference(before, now)
        longer = old if len(old) > len(new) else new
        item = longer[min(len(old), len(new))]
        return f"{_shown(item)} is {'gone' if longer is old else 'new'}"
    return f"{_shown(old)}, now {_shown(new)}"


def _is_pair(value: list[object]) -> bool:
    """A file of a context and the digest of its content."""
    return (
        len(value) == 2
        and all(isinstance(item, str) for item in value)
        and len(str(value[1])) == 64
    )


def _shown(value: object) -> str:
    if isinstance(value, list) and _is_pair(value):
        value = value[0]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
