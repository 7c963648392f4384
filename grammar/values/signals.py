"""STOPSIGNAL: a name with or without SIG, in any case, or a number (signal(7))."""

from __future__ import annotations

from grammar.errors import quoted
from grammar.record import Record
from grammar.suggestion import did_you_mean
from grammar.values.invalid import InvalidValue

# The image is for Linux, whatever this runs on; the numbers are those of x86 and ARM.
_NUMBERS = {
    name: number
    for number, name in enumerate(
        "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT "
        "STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS".split(),
        1,
    )
} | {"IOT": 6, "CLD": 17, "POLL": 29}
_RTMIN, _RTMAX = 34, 64  # 32 and 33 belong to the C library
_NUMBERS |= {"RTMIN": _RTMIN, "RTMAX": _RTMAX}
_NUMBERS |= {f"RTMIN+{n}": _RTMIN + n for n in range(1, 16)}
_NUMBERS |= {f"RTMAX-{n}": _RTMAX - n for n in range(1, 15)}


class Signal(Record):
    """A signal of Linux."""

    number: int
    written: str  # what the image configuration keeps


def parse_signal(text: str) -> Signal:
    """Read the word of STOPSIGNAL; raises InvalidValue."""
    if text.isascii() and text.isdigit():
        if not 1 <= int(text[:4]) <= _RTMAX:
            raise _invalid(f"signal {quoted(text)} is not between 1 and {_RTMAX}", text)
        return Signal(number=int(text), written=text)
    name = text.upper().removeprefix("SIG")
    if name not in _NUMBERS:
        known = [f"SIG{each}" for each in _NUMBERS]
        hint = did_you_mean(f"SIG{name}", known) if name[:1].isalpha() else None
        raise _invalid(f"{quoted(text)} is no signal", text, hint)
    return Signal(number=_NUMBERS[name], written=text)


def _invalid(message: str, text: str, hint: str | None = None) -> InvalidValue:
    return InvalidValue(message, 0, len(text), code="bad-signal", hint=hint)
