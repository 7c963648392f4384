"""Shell text taken apart into simple commands, as far as the rules about RUN need it.

Not a shell: what stands in `$(...)` or backticks is part of a word, and nothing is expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<blank>[ \t\r]++|\\\n)
    | (?P<comment>(?<!\S)\#[^\n]*+)
    | (?P<operator>&&|\|\||;;|\|&|[|;()\n]|&(?!>))
    | (?P<redirect>\d*+(?:>>|>\||>&|<&|<<<|<<-?|<>|[<>])|&>>?)
    """,
    re.VERBOSE,
)
_ATOM = re.compile(
    r"""\\.|'[^']*+(?:'|\Z)|"(?:\\.|[^"\\])*+(?:"|\Z)|`[^`]*+(?:`|\Z)|(?P<inner>\$\()|\$"""
    r"""|[^\s\\'"`$&|;()<>]++""",
    re.DOTALL,
)
_BRACKET = re.compile(r"\\.|'[^']*'|[()]", re.DOTALL)
_ASSIGNMENT = re.compile(r"\w+\+?=")
_QUOTES = re.compile(r"""\\(.)|['"]""", re.DOTALL)
_PREFIXES = frozenset(
    "sudo exec env time nice nohup command builtin if then elif else while until do ! {".split()
)
_STEPS = frozenset(("", "\n", ";", "&", "(", ")", ";;"))


@dataclass(frozen=True, slots=True)
class ShellWord:
    """One word, quotes and escapes removed; offsets are those of what was written."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One simple command; `before` is the operator that it follows."""

    before: str
    before_at: int
    words: tuple[ShellWord, ...]
    written_to: tuple[ShellWord, ...]  # targets of `>`

    @property
    def program(self) -> str:
        """Name of the program, without its directory."""
        return self.words[0].text.rpartition("/")[2] if self.words else ""

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words after the program."""
        return tuple(word.text for word in self.words[1:])

    @property
    def starts_step(self) -> bool:
        """Whether the shell goes on to it whatever came before."""
        return self.before in _STEPS

    def has(self, *words: str) -> bool:
        """Whether one of `words` is an argument."""
        return not set(words).isdisjoint(self.arguments)


def commands(text: str) -> tuple[Command, ...]:
    """The simple commands of a script, in order."""
    found: list[Command] = []
    words: list[ShellWord] = []
    written: list[ShellWord] = []
    before, before_at, depth, redirect = "", 0, 0, ""
    for kind, start, end in (*_tokens(text), ("operator", len(text), len(text))):
        token = text[start:end]
        if kind == "redirect":
            redirect = token
        elif kind == "word":
            word = ShellWord(_QUOTES.sub(r"\1", token), start, end)
            if not redirect:
                words.append(word)
            elif ">" in redirect:
                written.append(word)
            redirect = ""
        elif kind == "operator":
            depth += token == "("
            if token == ")" and depth == 0:
                # The pattern of a `case`: its `|` are no pipes.
                while before == "|" and found:
                    before = found.pop().before
                words, written = [], []
            depth -= token == ")" and depth > 0
            program = _without_prefixes(words)
            if program or written:
                found.append(
                    Command(
                        before=before,
                        before_at=before_at,
                        words=tuple(program),
                        written_to=tuple(written),
                    )
                )
            if token != "\n" or words or before not in ("|", "&&", "||"):
                before, before_at = token, start
            words, written, redirect = [], [], ""
    return tuple(found)


def _without_prefixes(words: list[ShellWord]) -> list[ShellWord]:
    """The words from the program on: no assignments, keywords, `sudo` and the like."""
    for index, word in enumerate(words):
        if word.text not in _PREFIXES and not _ASSIGNMENT.match(word.text):
            return words[index:]
    return []


def _tokens(text: str) -> Iterator[tuple[str, int, int]]:
    position = 0
    while position < len(text):
        start = position
        match = _TOKEN.match(text, start)
        position = match.end() if match else _word_end(text, start)
        if match is None or match.lastgroup not in ("blank", "comment"):
            yield (match and match.lastgroup) or "word", start, position


def _word_end(text: str, position: int) -> int:
    start = position
    while match := _ATOM.match(text, position):
        position = match.end() if match["inner"] is None else _closing(text, match.end())
    return max(position, start + 1)


def _closing(text: str, position: int) -> int:
    """The end of `$(...)` whose inside starts at `position`."""
    depth = 1
    for match in _BRACKET.finditer(text, position):
        depth += {"(": 1, ")": -1}.get(match.group(), 0)
        if depth == 0:
            return match.end()
    return len(text)
