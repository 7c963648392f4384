"""What a word means in an environment: quotes removed, variables replaced.

The rules are those of the Dockerfile reference, "Environment replacement", as BuildKit reads
them, with one difference: the operand of `${a:-word}` is looked at only when it is used, as
in a shell. Everything here is a pure function.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from grammar.patterns import PatternError, parse_pattern
from grammar.words import (
    ExpansionError,
    Template,
    Text,
    Variable,
    parse_body,
    parse_word,
)

# `ENV A=$A$A` again and again doubles a value each time; the length of a result is bounded.
MAX_LENGTH = 1 << 20

_NOTHING: frozenset[str] = frozenset()


def expand(
    text: str,
    environment: Mapping[str, str],
    *,
    escape: str = "\\",
    keep: Collection[str] = _NOTHING,
) -> str:
    """One word in, one word out. Variables in `keep` stay as they are written."""
    return _Expansion(text, environment, keep).joined(parse_word(text, escape))


def expand_words(
    text: str, environment: Mapping[str, str], *, escape: str = "\\"
) -> tuple[str, ...]:
    """As `expand`, then split at the blanks that no quote or escape protects."""
    words: list[str] = []
    word: list[str] = []
    for piece, quoted in _Expansion(text, environment, _NOTHING).pieces(parse_word(text, escape)):
        if quoted:
            word.append(piece)
            continue
        first, *rest = _split_keeping_ends(piece)
        word.append(first)
        for part in rest:
            words.append("".join(word))
            word = [part]
    words.append("".join(word))
    return tuple(filter(None, words))


def expand_body(text: str, environment: Mapping[str, str]) -> str:
    """The body of a heredoc whose delimiter is not quoted."""
    return _Expansion(text, environment, _NOTHING).joined(parse_body(text))


def variables(text: str, *, escape: str = "\\") -> frozenset[str]:
    """Names of the variables that `text` can look at."""
    return frozenset(_names(parse_word(text, escape)))


def _names(template: Template) -> Iterator[str]:
    for part in template:
        if isinstance(part, Variable):
            yield part.name
            yield from _names(part.operand)
            yield from _names(part.replacement)


def _split_keeping_ends(piece: str) -> list[str]:
    """Like str.split(), with an empty string where `piece` starts or ends with a blank."""
    parts = piece.split()
    if not parts:
        return ["", ""] if piece else [""]
    return [
        *([""] if piece[0].isspace() else []),
        *parts,
        *([""] if piece[-1].isspace() else []),
    ]


class _Expansion:
    """One evaluation of a template: what the functions below share, and nothing more."""

    def __init__(self, source: str, environment: Mapping[str, str], keep: Collection[str]) -> None:
        self._source = source
        self._environment = environment
        self._keep = keep
        self._room = MAX_LENGTH + len(source)

    def joined(self, template: Template) -> str:
        return "".join(piece for piece, _ in self.pieces(template))

    def pieces(self, template: Template) -> Iterator[tuple[str, bool]]:
        """The parts of the result, each with whether it was quoted."""
        for part in template:
            if isinstance(part, Text):
                yield part.text, part.quoted
            elif part.name in self._keep:
                yield self._source[part.start : part.end], part.quoted
            else:
                value = self._value(part)
                self._room -= len(value)
                if self._room < 0:
                    message = f"expands to more than {MAX_LENGTH} characters"
                    raise ExpansionError(message, part.start, part.end, code="expansion-too-long")
                yield value, part.quoted

    def _value(self, variable: Variable) -> str:
        value = self._environment.get(variable.name)
        absent = value is None or (value == "" and variable.operator.startswith(":"))
        match variable.operator.removeprefix(":"):
            case "-":
                return self.joined(variable.operand) if absent else value or ""
            case "+":
                return "" if absent else self.joined(variable.operand)
            case "?":
                if absent:
                    raise self._refused(variable)
                return value or ""
            case "":
                return value or ""
        return self._reshaped(value or "", variable)

    def _reshaped(self, value: str, variable: Variable) -> str:
        try:
            pattern = parse_pattern(self.joined(variable.operand))
        except PatternError as error:
            raise ExpansionError(
                str(error), variable.start, variable.end, code="bad-pattern"
            ) from None
        operator = variable.operator
        longest = len(operator) == 2
        match operator[0]:
            case "#":
                return pattern.strip_prefix(value, longest=longest)
            case "%":
                return pattern.strip_suffix(value, longest=longest)
        return pattern.substitute(value, self.joined(variable.replacement), every=longest)

    def _refused(self, variable: Variable) -> ExpansionError:
        state = "empty" if variable.name in self._environment else "not set"
        reason = self.joined(variable.operand) or f"is {state}"
        return ExpansionError(
            f"{variable.name}: {reason}",
            variable.start,
            variable.end,
            code="variable-required",
            variable=variable.name,
        )
