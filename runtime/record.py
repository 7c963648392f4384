"""`Record`: a frozen, slotted, keyword-only value, as `dataclass(frozen=True, slots=True)` gives.

The `dataclasses` module costs `pyrun` more start-up time (it imports `inspect`) than the rest of
it together; this base costs a tenth of a millisecond. mypy checks records as dataclasses.
Modules that define records use `from __future__ import annotations`: the fields are read from
the class body, and their types are never evaluated.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_):
        """Stand-in for `typing.dataclass_transform`, which only a type checker reads."""
        return lambda cls: cls


@dataclass_transform(eq_default=True, frozen_default=True, kw_only_default=True)
class _RecordType(type):
    def __new__(mcls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> _RecordType:
        fields = tuple(f for f in body.get("__annotations__", {}) if not f.startswith("_"))
        defaults = {f: body.pop(f) for f in fields if f in body}
        body["__slots__"] = fields
        cls = super().__new__(mcls, name, bases, body)
        inherited = [b for b in bases if isinstance(b, _RecordType)]
        cls._fields = tuple(f for b in inherited for f in b._fields) + fields
        cls._defaults = {k: v for b in inherited for k, v in b._defaults.items()} | defaults
        return cls

    _fields: tuple[str, ...]
    _defaults: dict[str, Any]


class Record(metaclass=_RecordType):
    """Base of a value: equal by its fields, hashable, never changed once made."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __init__(self, **values):
            cls = type(self)
            for field in cls._fields:
                if field in values:
                    value = values.pop(field)
                elif field in cls._defaults:
                    value = cls._defaults[field]
                else:
                    raise TypeError(f"{cls.__name__}: missing field {field!r}")
                object.__setattr__(self, field, value)
            if values:
                raise TypeError(f"{cls.__name__}: unknown field {next(iter(values))!r}")

        def __setattr__(self, name, value):
            raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

        __delattr__ = None

    @classmethod
    def restore(cls, values: Iterable[Any]) -> Self:
        """Make a record of the values of all its fields, in their order; nothing is checked."""
        record = cls.__new__(cls)
        for field, value in zip(cls._fields, values, strict=True):
            object.__setattr__(record, field, value)
        return record

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        values = {field: getattr(self, field) for field in type(self)._fields}
        return type(self)(**(values | changes))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self).restore, (self.values(),)

    def values(self) -> tuple[Any, ...]:
        """The values of all fields, in their order."""
        return tuple(getattr(self, field) for field in type(self)._fields)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.values() == other.values()

    def __hash__(self) -> int:
        return hash((type(self), self.values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{f}={getattr(self, f)!r}" for f in type(self)._fields)
        return f"{type(self).__name__}({fields})"
