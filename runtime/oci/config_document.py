"""Documents of the runtime-spec: reading one, typed access to its members, errors that name them.

An error is `FILE: process.rlimits[0].type: "RLIMIT_X" is not a resource limit`. Members that
nobody asks for are ignored, as the specification demands (config.md "Extensibility").
"""

from __future__ import annotations

from runtime.errors import ConfigError, ImageError
from runtime.oci.reader import MAX_DOCUMENT, parse_json_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import cast
else:

    def cast(_, value):
        """Stand-in for `typing.cast`, which only a type checker reads."""
        return value


MAX_ID = 2**32 - 2  # the one above stands for "no id" to the kernel
MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1
MAX_UINT32 = 2**32 - 1
MAX_UINT64 = 2**64 - 1


def read_document(path: str) -> object:
    """Read the JSON file `path`; raises ConfigError that names it."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    try:
        return parse_json_value(content, path)
    except ImageError as error:
        raise ConfigError(error.message, hint=_first_fault(content)) from error


class Table:
    """A JSON object that is being read; null is the same as absent, as to Go's decoder."""

    __slots__ = ("_members", "_path", "_where")

    def __init__(self, value: object, where: str, path: str = "") -> None:
        """Take `value`, found at `path` in the document `where`."""
        self._where = where
        self._path = path
        if not isinstance(value, dict):
            place = f"{where}: {path}" if path else where
            raise ConfigError(f"{place}: is {shown(value)}, an object expected")
        self._members = value

    def error(self, name: str, what: str, hint: str | None = None) -> ConfigError:
        """The error to raise about a member; `name` may be one of an array or map, as `a[0]`."""
        return ConfigError(f"{self._where}: {self._below(name)}: {what}", hint=hint)

    def has(self, name: str) -> bool:
        """Whether the member is there, and not null."""
        return self._members.get(name) is not None

    def text(self, name: str) -> str:
        """A string that must be there, and must not be empty."""
        value = self.optional_text(name)
        if not value:
            raise self.error(name, "is missing" if value is None else "is empty")
        return value

    def optional_text(self, name: str) -> str | None:
        """A string that the kernel can be given."""
        value = self._members.get(name)
        return None if value is None else self._checked(value, name)

    def path(self, name: str) -> str:
        """A required absolute path."""
        value = self.text(name)
        if not value.startswith("/"):
            raise self.error(name, f"{shown(value)} is not an absolute path")
        return value

    def choice(self, name: str, known: Collection[str], noun: str) -> str:
        """A required word out of `known`; `noun` says what it would be, such as "a policy"."""
        value = self.text(name)
        if value not in known:
            raise self.not_known(name, value, known, noun)
        return value

    def not_known(self, name: str, value: str, known: Collection[str], noun: str) -> ConfigError:
        """The error about a word that is none of `known`."""
        return self.error(name, f"{shown(value)} is not {noun}", _closest(value, known))

    def flag(self, name: str) -> bool:
        """A boolean; False if absent."""
        return self.optional_flag(name) or False

    def optional_flag(self, name: str) -> bool | None:
        """A boolean."""
        value = self._members.get(name)
        if value is None or value is True or value is False:
            return value
        raise self.error(name, f"is {shown(value)}, true or false expected")

    def integer(self, name: str, low: int, high: int) -> int:
        """A required integer from `low` to `high`."""
        value = self.optional_integer(name, low, high)
        if value is None:
            raise self.error(name, "is missing")
        return value

    def optional_integer(self, name: str, low: int, high: int) -> int | None:
        """An integer from `low` to `high`."""
        value = self._members.get(name)
        if value is None:
            return None
        return self._ranged(value, name, low, high)

    def integers(self, name: str, low: int, high: int) -> tuple[int, ...]:
        """An array of integers; () if absent."""
        values = self._array(name)
        return tuple(self._ranged(v, f"{name}[{i}]", low, high) for i, v in enumerate(values))

    def strings(self, name: str) -> tuple[str, ...]:
        """An array of strings that the kernel can be given; () if absent."""
        values = self._array(name)
        try:
            text = "".join(cast("list[str]", values))
        except TypeError:  # something in it is no string: it is found below
            text = "\0"
        if text.isascii() and "\0" not in text:  # hundreds of names of system calls, at once
            return tuple(cast("list[str]", values))
        return tuple(self._checked(v, f"{name}[{i}]") for i, v in enumerate(values))

    def choices(self, name: str, known: Collection[str], noun: str) -> tuple[str, ...]:
        """An array of words out of `known`; () if absent."""
        words = self.strings(name)
        for i, word in enumerate(words):
            if word not in known:
                raise self.not_known(f"{name}[{i}]", word, known, noun)
        return words

    def paths(self, name: str) -> tuple[str, ...]:
        """An array of absolute paths; () if absent."""
        words = self.strings(name)
        for i, word in enumerate(words):
            if not word.startswith("/"):
                raise self.error(f"{name}[{i}]", f"{shown(word)} is not an absolute path")
        return words

    def table(self, name: str) -> Table | None:
        """An object."""
        value = self._members.get(name)
        return None if value is None else Table(value, self._where, self._below(name))

    def tables(self, name: str) -> list[Table]:
        """An array of objects; [] if absent."""
        below = self._below(name)
        return [
            Table(value, self._where, f"{below}[{i}]") for i, value in enumerate(self._array(name))
        ]

    def texts_by_name(self, name: str) -> tuple[tuple[str, str], ...]:
        """An object used as a map of strings; () if absent."""
        pairs = []
        for key, value in self._map(name):
            place = entry(name, key)
            pairs.append((self._checked(key, place), self._checked(value, place)))
        return tuple(pairs)

    def tables_by_name(self, name: str) -> list[tuple[str, Table]]:
        """An object used as a map of objects; [] if absent."""
        return [
            (
                self._checked(key, entry(name, key)),
                Table(value, self._where, self._below(entry(name, key))),
            )
            for key, value in self._map(name)
        ]

    def _below(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _array(self, name: str) -> list[object]:
        value = self._members.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(name, f"is {shown(value)}, an array expected")
        return value

    def _map(self, name: str) -> list[tuple[str, object]]:
        value = self._members.get(name)
        if value is None:
            return []
        if not isinstance(value, dict):
            raise self.error(name, f"is {shown(value)}, an object expected")
        return list(value.items())

    def _ranged(self, value: object, name: str, low: int, high: int) -> int:
        # type, not isinstance: true is an int to Python, not to JSON.
        if type(value) is int and low <= value <= high:
            return value
        raise self.error(name, f"is {shown(value)}, an integer from {low} to {high} expected")

    def _checked(self, value: object, name: str) -> str:
        """Refuse what JSON can say and no system call: a NUL, or half of a UTF-16 pair.

        U+DC80 to U+DCFF are bytes of names that are not UTF-8, as everywhere in Python.
        """
        if not isinstance(value, str):
            raise self.error(name, f"is {shown(value)}, a string expected")
        if not value.isascii():
            try:
                value.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                raise self.error(name, f"{shown(value)} is not Unicode text") from None
        if "\0" in value:
            raise self.error(name, f"{shown(value)} has a NUL in it")
        return value


def entry(name: str, key: str) -> str:
    """How errors call one entry of a map: `annotations["key"]`."""
    return f"{name}[{shown(key)}]"


def shown(value: object) -> str:
    """A JSON value for an error: on one line, and a short one."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    # Keys of maps are shown before anything is wrong with them: that must not import json.
    if isinstance(value, str) and value.isprintable():
        text = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    else:
        import json

        text = json.dumps(value, default=repr)
    return text if len(text) <= 100 else text[:97] + "..."


def _closest(word: str, known: Collection[str]) -> str | None:
    from difflib import get_close_matches

    near = get_close_matches(word[:100], list(known), n=1)
    return f"did you mean {shown(near[0])}?" if near else None


def _first_fault(content: bytes) -> str | None:
    """Where a document stops being JSON, if the json module can tell."""
    import json

    try:
        json.loads(content.decode("utf-8"))
    except json.JSONDecodeError as error:
        return f"line {error.lineno}, column {error.colno}: {error.msg}"
    except (ValueError, RecursionError):  # not UTF-8, too long a number, too deep: no place
        pass
    return None
