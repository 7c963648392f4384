"""The options of one `--mount`, taken one after another by the function of its type.

What no function took is an option that the type does not have.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence

from grammar.errors import quoted
from grammar.suggestion import did_you_mean
from grammar.values.fields import Field, read_fields
from grammar.values.invalid import InvalidValue

CODE = "bad-mount"
TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")

_OTHER_NAMES = {
    "src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite",
}  # fmt: skip
_BIND_ONLY = (
    "u", "relabel", "bind-propagation", "shared", "rshared", "private", "rprivate", "slave",
    "rslave", "nosuid", "nodev", "noexec", "bind-nonrecursive", "no-dereference", "consistency",
)  # fmt: skip
_TYPES_WITH: dict[str, tuple[str, ...]] = {
    "target": TYPES,
    "source": TYPES,
    "from": ("bind", "cache"),
    "id": TYPES,
    "readonly": TYPES,
    "readwrite": TYPES,
    "sharing": ("cache",),
    "required": ("secret", "ssh"),
    "env": ("secret",),
    "mode": ("cache", "secret", "ssh"),
    "uid": ("cache", "secret", "ssh"),
    "gid": ("cache", "secret", "ssh"),
    "size": ("tmpfs",),
    "tmpfs-size": ("tmpfs",),
    "tmpfs-mode": ("tmpfs",),
    "tmpcopyup": ("tmpfs",),
    **dict.fromkeys(_BIND_ONLY, ("bind",)),
}
_READ_WRITE = ("readonly", "readwrite")
_RELABEL = {"z": "shared", "Z": "private"}  # the one place where the case of a key counts
# Without a value they mean true; every other option needs one.
_BARE = frozenset(
    "readonly readwrite required u shared rshared private rprivate slave rslave nosuid nodev "
    "noexec bind-nonrecursive no-dereference tmpcopyup".split()
)
# BuildKit checks these against the type seen so far, so they cannot stand before it.
_AFTER_TYPE = ("required", "size")
_TRUE = ("1", "t", "true")
_FALSE = ("0", "f", "false")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?(?:([kmgtp])i?)?b?", re.IGNORECASE)


def read_options(
    text: str, *, expand: Callable[[str], str] | None = None, skip_variables: bool = False
) -> Options:
    """Split a mount into its options; raises InvalidValue.

    With `skip_variables` a value with a `$` in it is good for anything.
    """
    return Options(text, expand, skip_variables=skip_variables)


class Options:
    """The options of a mount that nobody has taken yet, by their first name."""

    def __init__(
        self, text: str, expand: Callable[[str], str] | None, *, skip_variables: bool
    ) -> None:
        self.type = "bind"  # empty: a variable that has no value yet
        self._size = len(text)
        self._skip = skip_variables
        self._fields: dict[str, Field] = {}
        self._values: dict[str, str | None] = {}
        typed = False
        for field in read_fields(text, code=CODE):
            value = field.value
            if value is not None and expand is not None:
                value = expand(value)
            if field.key == "type":
                self.type, typed = self._type(field, value), True
                continue
            if field.written in _RELABEL:
                self._fields["relabel"], self._values["relabel"] = field, _RELABEL[field.written]
                continue
            key = self._known(field)
            if key in _AFTER_TYPE and self.type and self.type not in _TYPES_WITH[key]:
                raise self._misplaced(field, key, typed=typed)
            self._fields[key], self._values[key] = field, value

    def text(self, key: str) -> str:
        """The value as it is, empty if there is none."""
        return self._take(key) or ""

    def target(self) -> str:
        """The target, which cannot be the root; without one it is the working directory.

        The reference calls it required, and BuildKit's own Dockerfile leaves it out.
        """
        field = self._fields.get("target")
        target = self.text("target")
        if field is None or not target:
            return ""
        if self.cleaned(target) == "/" and not target.startswith("."):
            raise self._invalid(field, "the target of a mount cannot be /")
        return target

    def cleaned(self, path: str) -> str:
        """`path` without `.`, `..` and double slashes."""
        clean = posixpath.normpath(path)
        return clean[1:] if clean.startswith("//") else clean

    def switch(self, key: str) -> bool:
        """Whether a bare key or `key=true` is there."""
        field = self._fields.get(key)
        if field is None:
            return False
        value = self._take(key)
        if value is None or self._unknown_yet(value):
            return True
        if value.lower() not in (*_TRUE, *_FALSE):
            raise self._invalid(field, f"{key} is true or false, not {quoted(value)}")
        return value.lower() in _TRUE

    def readonly(self, *, default: bool) -> bool:
        """What the last of `ro` and `rw` says."""
        # A dict keeps the place of a key's first value, which is not where its last one stood.
        last = {key: f.start for key, f in self._fields.items() if key in _READ_WRITE}
        answer = default
        for key in sorted(last, key=last.__getitem__):
            answer = self.switch(key) == (key == "readonly")
        return answer

    def one_of(self, key: str, known: Sequence[str]) -> str:
        """One of a closed set, or empty."""
        field = self._fields.get(key)
        value = self.text(key).lower()
        if field is None or value in known or self._unknown_yet(value):
            return value
        hint = did_you_mean(value, known) or f"known are {', '.join(known)}"
        raise self._invalid(field, f"unknown {key} {quoted(value)}", hint)

    def number(self, key: str) -> int:
        """A user or group number; 0 if there is none."""
        return self._integer(key, r"\d{1,10}", 10, 2**32 - 1) or 0

    def mode(self, key: str, default: int) -> int:
        """Octal permissions."""
        mode = self.optional_mode(key)
        return default if mode is None else mode

    def optional_mode(self, key: str) -> int | None:
        """Octal permissions, if given."""
        return self._integer(key, r"[0-7]{1,5}", 8, 0o7777)

    def size(self, *keys: str) -> int | None:
        """Bytes, written `64m` or `1.5g`; None if no key is there."""
        size = None
        for key in keys:
            field = self._fields.get(key)
            value = self._take(key)
            if field is None or value is None or self._unknown_yet(value):
                continue
            match = _SIZE.fullmatch(value)
            if match is None:
                hint = "a size is written 64m or 1g"
                raise self._invalid(field, f"{quoted(value)} is no size", hint)
            exponent = " kmgtp".index((match.group(2) or " ").lower())
            size = int(float(match.group(1)) * 1024**exponent)
        return size

    def refuse_the_rest(self) -> None:
        """Raise for an option that this type of mount does not have."""
        for key, field in self._fields.items():
            types = _TYPES_WITH[key]
            hint = f"it belongs to mounts of type {', '.join(types)}"
            if key == "mode" and self.type == "tmpfs":
                hint = "did you mean tmpfs-mode?"
            message = f"mounts of type {self.type} have no {quoted(key)}"
            raise InvalidValue(message, field.start, field.end, code=CODE, hint=hint)

    def error(self, message: str, hint: str | None = None) -> InvalidValue:
        """An error about the mount as a whole."""
        return InvalidValue(message, 0, self._size, code=CODE, hint=hint)

    def _type(self, field: Field, value: str | None) -> str:
        if value is None:
            raise self._invalid(field, "option 'type' needs a value", "type=cache")
        written = value.lower()
        if written in TYPES:
            return written
        if self._unknown_yet(written):
            return ""
        hint = did_you_mean(written, TYPES) or f"known are {', '.join(TYPES)}"
        raise self._invalid(field, f"unknown mount type {quoted(value)}", hint)

    def _known(self, field: Field) -> str:
        key = _OTHER_NAMES.get(field.key, field.key)
        if key not in _TYPES_WITH:
            hint = did_you_mean(key, ["type", *_TYPES_WITH, *_OTHER_NAMES])
            end = min(max(field.key_end, field.start + 1), self._size)
            message = f"unknown option {quoted(field.key)} of a mount"
            raise InvalidValue(message, field.start, end, code=CODE, hint=hint)
        if field.value is None and key not in _BARE:
            hint = f"{field.key}=VALUE"
            raise self._invalid(field, f"option {quoted(field.key)} needs a value", hint)
        return key

    def _misplaced(self, field: Field, key: str, *, typed: bool) -> InvalidValue:
        message = f"mounts of type {self.type} have no {quoted(key)}"
        hint = f"it belongs to mounts of type {', '.join(_TYPES_WITH[key])}"
        if not typed:
            message = f"{quoted(key)} stands before the type of the mount"
            hint = "put type= first"
        return InvalidValue(message, field.start, field.end, code=CODE, hint=hint)

    def _take(self, key: str) -> str | None:
        self._fields.pop(key, None)
        return self._values.pop(key, None)

    def _integer(self, key: str, pattern: str, base: int, greatest: int) -> int | None:
        field = self._fields.get(key)
        value = self._take(key)
        if field is None or value is None or self._unknown_yet(value):
            return None
        if not re.fullmatch(pattern, value, re.ASCII) or int(value, base) > greatest:
            kind = "octal mode" if base == 8 else "number"
            raise self._invalid(field, f"{key}: {quoted(value)} is no {kind}")
        return int(value, base)

    def _unknown_yet(self, value: str) -> bool:
        return self._skip and "$" in value

    def _invalid(self, field: Field, message: str, hint: str | None = None) -> InvalidValue:
        return InvalidValue(message, field.value_start, field.end, code=CODE, hint=hint)
