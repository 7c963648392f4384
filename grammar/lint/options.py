"""The options of a check: `skip=A,B;error=true;experimental=C`
(https://docs.docker.com/reference/dockerfile/, "check").

They stand in the directive at the top of a file, in the build argument BUILDKIT_DOCKERFILE_CHECK,
which replaces the directive, and in a comment `# check=` right above an instruction, where only
`skip` has a meaning and the words after it are a reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from grammar.errors import quoted
from grammar.instructions import Instruction
from grammar.suggestion import did_you_mean

ALL = "all"

_OPTIONS = ("skip", "error", "experimental")
_COMMENT = re.compile(r"check\s*=\s*(\S+)", re.IGNORECASE)


class CheckOptionError(ValueError):
    """Options that cannot be read."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """Names of rules, or `all` in their place."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    def wants(self, name: str, *, experimental: bool) -> bool:
        """Whether a rule runs; `skip` says nothing about experimental ones."""
        if experimental:
            return name in self.experimental or ALL in self.experimental
        return name not in self.skip and ALL not in self.skip


def parse_options(text: str) -> CheckOptions:
    """Read options; raises CheckOptionError."""
    values: dict[str, str] = {}
    for part in text.split(";") if text.strip() else ():
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in _OPTIONS or not equals:
            hint = did_you_mean(name, _OPTIONS) or f"the options are {', '.join(_OPTIONS)}"
            raise CheckOptionError(f"{quoted(part.strip())} is no check option", hint=hint)
        if name in values:
            raise CheckOptionError(f"check option {name} is repeated")
        values[name] = value
    return CheckOptions(
        skip=_names(values.get("skip", "")),
        experimental=_names(values.get("experimental", "")),
        error=_boolean(values.get("error", "false")),
    )


def skipped_at(instruction: Instruction) -> frozenset[str]:
    """The rules that the comments right above an instruction switch off for it.

    What cannot be read is a comment like any other; the rule InvalidCheckOption reports it.
    """
    names: frozenset[str] = frozenset()
    for text in options_above(instruction):
        try:
            names |= parse_options(text).skip
        except CheckOptionError:
            continue
    return names


def options_above(instruction: Instruction) -> tuple[str, ...]:
    """The options in the comments right above an instruction, without the reasons."""
    return tuple(match[1] for match in map(_COMMENT.match, instruction.comments) if match)


def is_option(comment: str) -> bool:
    """Whether a comment line above an instruction is options, not text."""
    return _COMMENT.match(comment) is not None


def _names(value: str) -> frozenset[str]:
    return frozenset(filter(None, (name.strip() for name in value.split(","))))


def _boolean(value: str) -> bool:
    if value.lower() in ("true", "t", "1"):
        return True
    if value.lower() in ("false", "f", "0"):
        return False
    raise CheckOptionError(f"check option error is either true or false, not {quoted(value)}")
