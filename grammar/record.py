"""`Record`: a frozen, slotted value, as `dataclass(frozen=True, slots=True, kw_only=True)` makes.

Not a dataclass, because every start of the builder pays for it: `dataclasses` imports `inspect`
(11 ms), and making the 60 classes of this package took another 17 ms, since each is compiled
several times over. Here a class costs next to nothing until its first instance, and then one
small `__init__`. mypy checks records as dataclasses.

Modules that define records use `from __future__ import annotations`: the fields are read from
the class body, and their types are never evaluated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

_R = TypeVar("_R", bound="Record")


@dataclass_transform(eq_default=True, frozen_default=True, kw_only_default=True)
class _RecordType(type):
    _fields: tuple[str, ...]
    _defaults: dict[str, Any]

    # `kw_only=False` is for the type checker: `Text("a", quoted=True)`.
    def __new__(
        mcls, name: str, bases: tuple[type, ...], body: dict[str, Any], *, kw_only: bool = True
    ) -> _RecordType:
        own = tuple(body.get("__annotations__", ()))
        defaults = {field: body.pop(field) for field in own if field in body}
        body["__slots__"] = own
        body.setdefault("__init__", _first_init)
        cls = super().__new__(mcls, name, bases, body)
        for base in bases:
            if isinstance(base, _RecordType):
                own = base._fields + own
                defaults = base._defaults | defaults
        cls._fields = own
        cls._defaults = defaults
        return cls

    def __init__(
        cls, name: str, bases: tuple[type, ...], body: dict[str, Any], *, kw_only: bool = True
    ) -> None:
        super().__init__(name, bases, body)


def _first_init(self: Record, *args: object, **values: object) -> None:
    """The `__init__` of a class until it is called: makes the real one."""
    cls = type(self)
    init = _init_of(cls)
    cls.__init__ = init  # type: ignore[method-assign]
    init(self, *args, **values)


def _init_of(cls: type[Record]) -> Callable[..., None]:
    defaults = cls._defaults
    namespace: dict[str, Any] = {"defaults": defaults}
    parameters = [field for field in cls._fields if field not in defaults]
    parameters += [f"{field}=defaults[{field!r}]" for field in cls._fields if field in defaults]
    lines = [f"def __init__(self, {', '.join(parameters)}):"]
    for field in cls._fields:
        # Past our own __setattr__, and faster than object's.
        namespace[f"set_{field}"] = getattr(cls, field).__set__
        lines.append(f" set_{field}(self, {field})")
    exec("\n".join([*lines, " pass"]), namespace)
    init: Callable[..., None] = namespace["__init__"]
    return init


class Record(metaclass=_RecordType):
    """Base of a value: equal by its fields, hashable, never changed once made."""

    __slots__ = ()

    def replace(self: _R, **changes: Any) -> _R:
        """A copy with some fields changed."""
        values = {field: getattr(self, field) for field in type(self)._fields}
        return type(self)(**(values | changes))

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, field) for field in type(self)._fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record) or type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        shown = (f"{field}={getattr(self, field)!r}" for field in type(self)._fields)
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (type(self), self._values())

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be removed")


def fields_of(value: Record) -> tuple[tuple[str, object], ...]:
    """Names and values of a record's fields, in the order of its class."""
    return tuple(zip(type(value)._fields, value._values(), strict=True))


def _restored(cls: type[_R], values: tuple[object, ...]) -> _R:
    return cls(**dict(zip(cls._fields, values, strict=True)))
