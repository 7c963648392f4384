"""`--chmod`: an octal mode or a list of symbolic clauses, as chmod(1) has them, without a umask.

clause: [ugoa]* [-+=] ([rwxXst]* | u | g | o)
"""

from __future__ import annotations

import re

from grammar.errors import quoted
from grammar.record import Record
from grammar.values.invalid import InvalidValue

_CLAUSE = re.compile(r"([ugoa]*)([-+=])([ugo]|[rwxXst]*)")
_MAX_MODE = 0o7777
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
_PERMISSIONS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}
_SHIFT = {"u": 6, "g": 3, "o": 0}


class OctalMode(Record, kw_only=False):
    """`--chmod=0755`."""

    bits: int

    def apply(self, mode: int, *, is_directory: bool) -> int:
        """The new permission bits of a file that has `mode`."""
        return self.bits


class Clause(Record, kw_only=False):
    """`u+x`: whose bits, what is done, and to which of them."""

    who: str  # empty: everyone's
    operator: str
    permissions: str

    def apply(self, mode: int, *, is_directory: bool) -> int:
        """The permission bits after this clause."""
        affected = 0
        for each in self.who or "a":
            affected |= _WHO[each]
        bits = self._bits(mode, is_directory=is_directory) & affected
        if self.operator == "+":
            return mode | bits
        if self.operator == "-":
            return mode & ~bits
        return (mode & ~affected) | bits

    def _bits(self, mode: int, *, is_directory: bool) -> int:
        if self.permissions in _SHIFT:
            return (mode >> _SHIFT[self.permissions] & 0o7) * 0o111
        bits = 0
        for each in self.permissions:
            # X is x for directories and for what someone may run already.
            if each == "X":
                bits |= 0o111 if is_directory or mode & 0o111 else 0
            else:
                bits |= _PERMISSIONS[each]
        return bits


class SymbolicMode(Record, kw_only=False):
    """`--chmod=u=rwX,go-w`; the clauses are applied one after another."""

    clauses: tuple[Clause, ...]

    def apply(self, mode: int, *, is_directory: bool) -> int:
        """The new permission bits of a file that has `mode`."""
        for clause in self.clauses:
            mode = clause.apply(mode & _MAX_MODE, is_directory=is_directory)
        return mode


Mode = OctalMode | SymbolicMode


def parse_mode(text: str) -> Mode:
    """Read a value of --chmod; raises InvalidValue."""
    if text[:1].isdigit():
        return _octal(text)
    clauses: list[Clause] = []
    offset = 0
    for part in text.split(","):
        match = _CLAUSE.fullmatch(part)
        if match is None:
            message = f"{quoted(part)} is no mode"
            hint = "a mode is written 0755 or u=rwX,go-w"
            raise InvalidValue(message, offset, offset + len(part), code="bad-mode", hint=hint)
        clauses.append(Clause(*match.groups()))
        offset += len(part) + 1
    return SymbolicMode(tuple(clauses))


def _octal(text: str) -> OctalMode:
    if not re.fullmatch(r"[0-7]{1,10}", text):
        message = f"{quoted(text)} is no octal mode"
    elif int(text, 8) > _MAX_MODE:
        message = f"mode {quoted(text)} is greater than 7777"
    else:
        return OctalMode(int(text, 8))
    raise InvalidValue(message, 0, len(text), code="bad-mode")
