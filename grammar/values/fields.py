"""`key=value,key,…`: one record of CSV (RFC 4180), each field with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator

from grammar.record import Record
from grammar.values.invalid import InvalidValue

_FIELD = re.compile(r'"(?P<quoted>(?:[^"]|"")*+)"(?=,|\Z)|(?P<plain>[^",]*+)(?=,|\Z)')


class Field(Record):
    """One field; `value` is None for a bare key. The key is in lower case."""

    key: str
    written: str  # the key in its own case
    value: str | None
    start: int
    end: int
    key_end: int  # where the key ends, so that an error can point at either half

    @property
    def value_start(self) -> int:
        """Where the value starts, or the key if there is none."""
        return self.start if self.value is None else min(self.key_end + 1, self.end)


def read_fields(text: str, *, code: str) -> Iterator[Field]:
    """The fields of `text`; raises InvalidValue with `code` for a misplaced quote."""
    position = 0
    while position <= len(text):
        match = _FIELD.match(text, position)
        if match is None:
            message = 'a double quote in the middle: "key=a,b" quotes a whole field'
            raise InvalidValue(message, position, len(text), code=code)
        written = match.group("plain")
        shift = 0 if written is not None else 1
        if written is None:
            written = match.group("quoted").replace('""', '"')
        key, equals, value = written.partition("=")
        yield Field(
            key=key.lower(),
            written=key,
            value=value if equals else None,
            start=position,
            end=match.end(),
            key_end=position + shift + len(key),
        )
        position = match.end() + 1
