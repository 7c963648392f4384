"""One pattern of an ignore file -> a regular expression for the paths it covers.

No pattern makes the matcher slow. Text between two `*` is found once, as early as it occurs,
and kept (an atomic group): a later place cannot help, since a `*` ends with its name. The same
holds for the directories between two `**`. So time grows with the path, not with its power.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from posixpath import normpath

_MAX_INSIDE = 4  # each doubles the regular expression


class IgnorePatternError(ValueError):
    """A pattern that cannot be read."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Wild(Enum):
    """What is more than one character."""

    SLASH = auto()
    STAR = auto()  # within a name
    DIRECTORIES = auto()  # `**` and the slash after it: none or more; all the rest at the end
    ANYTHING = auto()  # `**text`: whatever ends with the text


# A part that is a string is a regular expression for one character.
Part = str | Wild
Pattern = tuple[Part, ...]


def cleaned(path: str) -> str:
    """The shortest path that means the same, without the `/` it may start with."""
    if not path:
        return ""
    clean = normpath("/" + path.lstrip("/") if path.startswith("/") else path)
    return clean[1:] if clean.startswith("/") and len(clean) > 1 else clean


def read_pattern(text: str) -> Pattern:
    """Take a cleaned pattern apart; raises IgnorePatternError."""
    if _PLAIN_END.fullmatch(text):
        return (Wild.ANYTHING, *map(_character, text[2:]))
    parts: list[Part] = []
    position = 0
    while position < len(text):
        char = text[position]
        if text.startswith("**", position):
            position += 3 if text.startswith("/", position + 2) else 2
            if parts[-1:] != [Wild.DIRECTORIES]:
                parts.append(Wild.DIRECTORIES)
            continue
        if char == "[":
            part, position = _class(text, position + 1)
            parts.append(part)
            continue
        if char == "\\":
            char, position = _quoted(text, position)
            parts.append(re.escape(char))
            continue
        parts.append(_WILD.get(char) or _character(char))
        position += 1
    if sum(_inside_name(parts, index) for index in range(len(parts))) > _MAX_INSIDE:
        raise IgnorePatternError("too many '**' within names")
    return tuple(parts)


def to_regex(pattern: Pattern) -> str:
    """Matches, at the start of a path, when the pattern covers the path or one of its parents."""
    if pattern[:1] == (Wild.ANYTHING,):
        return ".*" + _names_regex(pattern[1:]) + _END
    forms = [_form_regex(form) for form in _forms(pattern)]
    return forms[0] if len(forms) == 1 else f"(?:{'|'.join(forms)})"


def any_of(patterns: Iterable[Pattern]) -> str:
    """As `to_regex`, for all of `patterns` at once; faster than their regular expressions.

    Most patterns of real files are `**/name` and `**/*.suffix`: they walk a path together.
    """
    alone: list[str] = []
    names: list[str] = []
    suffixes: list[str] = []
    for pattern in patterns:
        led = pattern[:1] == (Wild.DIRECTORIES,) and len(pattern) > 1
        if not led or Wild.DIRECTORIES in pattern[1:]:
            alone.append(to_regex(pattern))
        elif pattern[1] is Wild.STAR and all(isinstance(part, str) for part in pattern[2:]):
            suffixes.append(_names_regex(pattern[2:]))
        else:
            names.append(_names_regex(pattern[1:]))
    if suffixes:
        names.append(f"[^/]*(?:{'|'.join(suffixes)})")
    if names:
        alone.append(f"(?:[^/]*/)*?(?:{'|'.join(names)}){_END}")
    return "|".join(alone) if alone else "(?!)"


def above(pattern: Pattern) -> str | None:
    """Matches directories that can hold a match; None when the root alone can."""
    names, *more = _split(pattern, Wild.DIRECTORIES)
    if pattern[:1] == (Wild.ANYTHING,):
        return ".*"
    # The last name is that of a match itself, or `**` can add to it.
    *directories, _ = _split(names, Wild.SLASH)
    if not directories:
        return ".*" if more else None
    regex = "(?:/.*)?" if more else ""
    for index in reversed(range(len(directories))):
        regex = _name_regex(directories[index]) + regex
        if index:
            regex = f"(?:/{regex})?"
    return rf"{regex}\Z"


_END = r"(?=/|\Z)"
_PLAIN_END = re.compile(r"\*\*[^/*?\[\]\\][^*?\[\]\\]*", re.DOTALL)
_WILD: dict[str, Part] = {"*": Wild.STAR, "?": "[^/]"}


def _character(char: str) -> Part:
    return Wild.SLASH if char == "/" else re.escape(char)


def _quoted(text: str, position: int) -> tuple[str, int]:
    """The character after the backslash at `position`, and where it ends."""
    if position + 1 >= len(text):
        raise IgnorePatternError("a backslash at the end quotes nothing")
    return text[position + 1], position + 2


def _class(text: str, position: int) -> tuple[str, int]:
    """`[a-z]`, `[^a]`, from after the bracket on, and where it ends.

    The slash is in none: a name is all that a bracket is about.
    """
    negated = text.startswith("^", position)
    position += negated
    ranges: list[str] = []
    while not (ranges and text.startswith("]", position)):
        low, position = _class_character(text, position)
        high = low
        if text.startswith("-", position):
            high, position = _class_character(text, position + 1)
        if high < low:
            raise IgnorePatternError(f"the range {low}-{high} in brackets is empty")
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"(?!/)[{'^' if negated else ''}{''.join(ranges)}]", position + 1


def _class_character(text: str, position: int) -> tuple[str, int]:
    char = text[position : position + 1]
    if not char:
        raise IgnorePatternError("'[' is not closed", hint="a bracket as such is written \\[")
    if char in "-]":
        hint = f"as such it is written \\{char}"
        raise IgnorePatternError(f"'{char}' stands where a character is expected", hint=hint)
    return _quoted(text, position) if char == "\\" else (char, position + 1)


def _forms(pattern: Pattern) -> list[Pattern]:
    """The pattern with each `**` at the start of a name, several where one stood elsewhere.

    `a**b` covers `ab`, and `aX/b` and `aX/Y/b`: what `ab` and `a*/**/b` cover.
    """
    forms: list[Pattern] = [()]
    for index, part in enumerate(pattern):
        ways: tuple[Pattern, ...] = ((part,),)
        if _inside_name(pattern, index):
            ways = ((), (Wild.STAR, Wild.SLASH, Wild.DIRECTORIES))
        forms = [(*form, *way) for form in forms for way in ways]
    return forms


def _inside_name(parts: Sequence[Part], index: int) -> bool:
    """Whether a `**` stands right after text; at the end of a pattern that makes no difference."""
    return (
        parts[index] is Wild.DIRECTORIES
        and 0 < index < len(parts) - 1
        and parts[index - 1] is not Wild.SLASH
    )


def _form_regex(form: Pattern) -> str:
    first, *rest = (_names_regex(names) for names in _split(form, Wild.DIRECTORIES))
    if not rest:
        return first + _END
    *middle, last = rest
    regex = first + "".join(f"(?>(?:[^/]*/)*?{names})" for names in middle)
    return f"{regex}(?:[^/]*/)*?{last}{_END}" if last else regex


def _names_regex(names: Pattern) -> str:
    return "/".join(map(_name_regex, _split(names, Wild.SLASH)))


def _name_regex(name: Pattern) -> str:
    """Matches one name up to its end, which the caller asks for."""
    first, *rest = ("".join(map(str, chunk)) for chunk in _split(name, Wild.STAR))
    if not rest:
        return first
    *middle, last = rest
    return f"{first}{''.join(f'(?>[^/]*?{chunk})' for chunk in middle)}[^/]*{last}"


def _split(parts: Pattern, at: Wild) -> list[Pattern]:
    split: list[list[Part]] = [[]]
    for part in parts:
        if part is at:
            split.append([])
        else:
            split[-1].append(part)
    return [tuple(piece) for piece in split]
