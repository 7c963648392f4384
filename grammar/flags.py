"""Flags: the `--name[=value]` words between an instruction's name and its arguments.

The table says which instruction has which flag, how often, and what a value without variables
must be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import cache
from typing import TYPE_CHECKING

from grammar.context import Context
from grammar.errors import quoted
from grammar.parts import Word
from grammar.record import Record
from grammar.suggestion import did_you_mean
from grammar.values.checksums import parse_checksum
from grammar.values.modes import parse_mode
from grammar.values.owners import parse_owner
from grammar.values.platforms import parse_platform
from grammar.values.sandbox import parse_device, parse_network, parse_security

if TYPE_CHECKING:
    from lark import Token


class Kind(Enum):
    """How a flag is written."""

    SWITCH = auto()  # --link, --link=true, --link=false
    VALUE = auto()  # --chown=1000, once
    LIST = auto()  # --exclude=a --exclude=b


class Flag(Record, kw_only=False):
    """One flag of one instruction."""

    kind: Kind
    expanded: bool  # variables in its value are replaced
    parse: Callable[[str], object] | None = None  # raises InvalidValue


_SWITCH = Flag(Kind.SWITCH, expanded=False)
_VALUE = Flag(Kind.VALUE, expanded=True)
_PLAIN = Flag(Kind.VALUE, expanded=False)
_LIST = Flag(Kind.LIST, expanded=True)
_PLAIN_LIST = Flag(Kind.LIST, expanded=False)


def _checked(parse: Callable[[str], object], kind: Kind = Kind.VALUE) -> Flag:
    return Flag(kind, expanded=True, parse=parse)


_COPYING = {
    "chown": _checked(parse_owner),
    "chmod": _checked(parse_mode),
    "link": _SWITCH,
    "exclude": _PLAIN_LIST,
}

# By rule of containerfile.lark; an instruction that is not here has no flags.
FLAGS: Mapping[str, Mapping[str, Flag]] = {
    "from": {"platform": _checked(parse_platform)},
    "run": {
        "mount": _LIST,
        "network": _checked(parse_network),
        "security": _checked(parse_security),
        "device": _checked(parse_device, Kind.LIST),
    },
    "copy": {"from": _VALUE, "parents": _SWITCH, **_COPYING},
    "add": {
        "checksum": _checked(parse_checksum),
        "keep-git-dir": _SWITCH,
        "unpack": _SWITCH,
        **_COPYING,
    },
    "healthcheck": {
        "interval": _PLAIN,
        "timeout": _PLAIN,
        "start-period": _PLAIN,
        "start-interval": _PLAIN,
        "retries": _PLAIN,
    },
    "bootstrap": {
        "manager": _VALUE,
        "releasever": _VALUE,
        "arch": _VALUE,
        "repo": _LIST,
        "key": _LIST,
        "exclude": _LIST,
        "module": _LIST,
        "setopt": _LIST,
        "from-file": _LIST,
        "mount": _LIST,
        "langs": _VALUE,
        "dbpath": _VALUE,
        "clean": _VALUE,
        "lock": _VALUE,
        "tools": _VALUE,
        "weak": _SWITCH,
        "docs": _SWITCH,
        "nogpgcheck": _SWITCH,
        "allow-scriptlet-failure": _SWITCH,
    },
}


class Flags(Record, kw_only=False):
    """The flags of one instruction, checked against the table."""

    values: Mapping[str, tuple[Word, ...]]
    switches: Mapping[str, bool]

    def one(self, name: str) -> Word | None:
        """The value of a flag that may be given once."""
        return next(iter(self.values.get(name, ())), None)

    def all(self, name: str) -> tuple[Word, ...]:
        """The values of a flag that may be repeated."""
        return self.values.get(name, ())

    def on(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.switches.get(name, False)

    def choice(self, name: str) -> bool | None:
        """A switch for which "not given" has a meaning of its own."""
        return self.switches.get(name)


def read_flags(context: Context, instruction: str, token: Token | None) -> Flags:
    """Read the FLAGS token; reports every wrong flag in it."""
    known = FLAGS.get(instruction, {})
    values: dict[str, list[Word]] = {}
    switches: dict[str, bool] = {}
    if token is not None:
        origin = token.start_pos or 0
        for match in _flag(context.escape).finditer(str(token)):
            start, end = origin + match.start(), origin + match.end()
            name, equals, _ = match.group()[2:].partition("=")
            value_start = start + 2 + len(name) + len(equals)
            flag = known.get(name)
            if flag is None:
                _report_unknown(context, instruction, name, start)
            elif flag.kind is not Kind.LIST and (name in values or name in switches):
                context.report(f"--{name} is repeated", start, end, code="flag-repeated")
            elif flag.kind is Kind.SWITCH:
                switches[name] = _switch(context, name, equals, value_start, start, end)
            elif not equals:
                context.report(
                    f"--{name} needs a value",
                    start,
                    end,
                    code="flag-without-value",
                    hint=f"--{name}=VALUE",
                )
            else:
                word = context.word(value_start, end, expanded=flag.expanded)
                if flag.parse is not None:
                    context.valid(word, flag.parse)
                values.setdefault(name, []).append(word)
    return Flags({name: tuple(words) for name, words in values.items()}, switches)


@cache
def _flag(escape: str) -> re.Pattern[str]:
    e = re.escape(escape)
    return re.compile(rf"""--(?:{e}.|"(?:{e}.|[^"])*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\s"'])++""")


def _switch(
    context: Context, name: str, equals: str, value_start: int, start: int, end: int
) -> bool:
    value = context.line.text[value_start:end].lower()
    if equals and value not in ("true", "false"):
        message = f"--{name} is either true or false, not {quoted(value)}"
        context.report(message, start, end, code="bad-switch")
    return value != "false"


def _report_unknown(context: Context, instruction: str, name: str, start: int) -> None:
    known = FLAGS.get(instruction, {})
    message = f"{instruction.upper()} has no flag {quoted('--' + name)}"
    hint = did_you_mean(f"--{name}", [f"--{flag}" for flag in known])
    if hint is None and not known:
        hint = f"{instruction.upper()} has no flags; to pass this as an argument, put -- before it"
    context.report(message, start, start + 2 + len(name), code="unknown-flag", hint=hint)
