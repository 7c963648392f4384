"""The keys of a target: which there are, how their values are read, merged and written.

Values are held as buildx's `--print` shows them: text, lists of text, tables of text, and lists of
entries (an `output`, a `secret`, …), each a table.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from typing import Any

from buildkit.bake.operations import text_of
from buildkit.bake.problems import Problem

Fields = dict[str, Any]  # of a target, by their names

TEXT, TEXTS, TABLE, FLAG, ENTRIES = "text", "texts", "table", "flag", "entries"

# In the order in which `--print` has them.
KINDS = {
    "description": TEXT,
    "inherits": TEXTS,
    "annotations": TEXTS,
    "attest": ENTRIES,
    "context": TEXT,
    "contexts": TABLE,
    "dockerfile": TEXT,
    "dockerfile-inline": TEXT,
    "args": TABLE,
    "labels": TABLE,
    "tags": TEXTS,
    "cache-from": ENTRIES,
    "cache-to": ENTRIES,
    "target": TEXT,
    "secret": ENTRIES,
    "ssh": ENTRIES,
    "platforms": TEXTS,
    "output": ENTRIES,
    "pull": FLAG,
    "no-cache": FLAG,
    "network": TEXT,
    "no-cache-filter": TEXTS,
    "shm-size": TEXT,
    "ulimits": TEXTS,
    "call": TEXT,
    "entitlements": TEXTS,
    "extra-hosts": TABLE,
}
# Keys whose values a target adds to those that it inherits; others replace them.
_ADDING = (
    *("inherits", "annotations", "attest", "secret", "ssh", "cache-from", "no-cache-filter"),
    *("ulimits", "entitlements", "args", "labels", "contexts", "extra-hosts"),
)
# Where `${` is what the value says, so that a file made of --print means the same.
_ESCAPED = ("annotations", "dockerfile-inline", "labels", "args", "extra-hosts")


def read_value(key: str, value: Any) -> Any:
    """The value of a key, as it is held; raises Problem. None says that the key is not set."""
    if value is None:
        return None
    match KINDS[key]:
        case "text":
            return _text(value)
        case "flag":
            return _flag(value)
        case "texts":
            return [_text(item) for item in _items(value)]
        case "table":
            return _table(value)
        case _:
            return [entry for item in _items(value) for entry in read_entries(key, item)]


def merge(below: Fields, above: Fields) -> Fields:
    """The fields of two targets as one; those of `above` count more."""
    merged = dict(below)
    for key, value in above.items():
        if key not in _ADDING or key not in merged:
            merged[key] = value
        elif isinstance(value, dict):
            merged[key] = merged[key] | value
        else:
            merged[key] = [*merged[key], *value]
        if isinstance(value, dict):  # a null leaves what there is
            old = below.get(key, {})
            kept = {
                name: old[name] for name, text in value.items() if text is None and name in old
            }
            merged[key] = {n: t for n, t in (merged[key] | kept).items() if t is not None}
    return merged


def normal(fields: Fields) -> Fields:
    """The fields without what is said twice or says nothing."""
    made = dict(fields)
    if made.get("network") == "host":
        made["entitlements"] = [*made.get("entitlements", ()), "network.host"]
    for key, value in made.items():
        if KINDS[key] == TEXTS:
            made[key] = list(dict.fromkeys(text for text in value if text))
        elif key == "attest":
            made[key] = list({entry["type"]: entry for entry in value}.values())
        elif KINDS[key] == ENTRIES:
            made[key] = [entry for n, entry in enumerate(value) if entry not in value[:n]]
    if "contexts" in made:
        made["contexts"] = {name: text for name, text in made["contexts"].items() if text}
    return made


def to_json(fields: Fields) -> Fields:
    """A target as `--print` shows it."""
    shown: Fields = {}
    for key, kind in KINDS.items():
        value = fields.get(key)
        if value is None or (kind not in (FLAG, TEXT) and not value) or key == "inherits":
            continue
        if key in _ESCAPED:
            value = _escaped(value)
        if isinstance(value, dict):
            value = dict(sorted(value.items()))
        shown[key] = value
    return shown


def read_entries(key: str, item: Any) -> list[dict[str, Any]]:
    """What one item of a list of entries says, as `KEY=VALUE,…` or as an object."""
    if isinstance(item, Mapping):
        given = {name: _word(value) for name, value in item.items()}
        return [_entry(key, {n: v for n, v in given.items() if v not in (None, "")})]
    text = _text(item)
    if not text:
        return []
    if key == "ssh":
        name, _, paths = text.partition("=")
        return [_entry(key, {"id": name, "paths": [path for path in paths.split(",") if path]})]
    words = _words(text)
    if key in ("cache-from", "cache-to") and "=" not in text:
        return [{"ref": word, "type": "registry"} for word in words]
    if key == "output" and len(words) == 1 and not text.startswith("type="):
        return [{"dest": text, "type": "tar" if text == "-" else "local"}]
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise Problem(f"{text!r}: KEY=VALUE expected, not {word!r}")
        found[name.strip().lower()] = value
    return [_entry(key, found)]


def _entry(key: str, given: dict[str, Any]) -> dict[str, Any]:
    if key == "ssh":
        _known(given, ("id", "paths"))
        paths = given.get("paths") or []
        entry = {"id": given.get("id", "default")}
        return entry | ({"paths": list(map(_text, _items(paths)))} if paths else {})
    if key == "secret":
        return _secret(given)
    if not given.get("type"):
        raise Problem(f"type= expected in {given}")
    if key == "attest":
        disabled = _flag(given.pop("disabled", False))
        given |= {"disabled": True} if disabled else {}
    return dict(sorted(given.items()))


def _secret(given: dict[str, Any]) -> dict[str, Any]:
    given = {{"source": "src"}.get(name, name): value for name, value in given.items()}
    kind = given.pop("type", "")
    _known(given, ("id", "src", "env"))
    if kind not in ("", "file", "env"):
        raise Problem(f"a secret's type is file or env, not {kind!r}")
    if kind == "env" and "env" not in given:
        given["env"] = given.pop("src", "")
    return {name: given[name] for name in ("id", "src", "env") if given.get(name)}


def _known(given: Iterable[str], names: tuple[str, ...]) -> None:
    for name in given:
        if name not in names:
            raise Problem(f"{name!r} is not known; there are {', '.join(names)}")


def _word(value: Any) -> Any:
    return value if isinstance(value, bool | list) or value is None else _text(value)


def _words(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise Problem(f"{text!r}: {error}") from None


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Problem(f"a list expected, not {_kind(value)}")
    return [item for item in value if item is not None]


def _table(value: Any) -> dict[str, str | None]:
    if not isinstance(value, Mapping):
        raise Problem(f"an object expected, not {_kind(value)}")
    table = {}
    for name, item in value.items():
        try:
            table[_text(name)] = None if item is None else _text(item)
        except Problem as problem:
            raise problem.inside(name) from None
    return table


def _text(value: Any) -> str:
    if isinstance(value, str) and "\0" in value:
        raise Problem("a null character cannot be in any value")
    if isinstance(value, str | bool | int | float):
        return text_of(value)
    raise Problem(f"a string expected, not {_kind(value)}")


def _flag(value: Any) -> bool:
    if value in (True, "true", "1", "True", "TRUE", "t", "T"):
        return True
    if value in (False, "false", "0", "False", "FALSE", "f", "F"):
        return False
    raise Problem(f"true or false expected, not {value!r}")


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list) else repr(value)


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _escaped(text) for name, text in value.items()}
    if isinstance(value, list):
        return list(map(_escaped, value))
    return value.replace("${", "$${").replace("%{", "%%{")
