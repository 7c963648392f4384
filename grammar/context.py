"""What the functions that read one instruction share: its line, and where faults go."""

from __future__ import annotations

from dataclasses import dataclass

from lark import Token

from grammar.containerfile import within
from grammar.errors import ContainerfileError
from grammar.lines import LogicalLine
from grammar.parts import Word
from grammar.source import Source
from grammar.words import ExpansionError, parse_word


@dataclass(frozen=True, slots=True)
class Context:
    """One logical line; faults are collected, so that one instruction can have several."""

    source: Source
    line: LogicalLine
    escape: str
    errors: list[ContainerfileError]
    start: int = 0  # of the instruction in the line; not 0 below ONBUILD

    def report(self, message: str, start: int, end: int, *, hint: str | None = None) -> None:
        """Note a fault in `line.text[start:end]` and go on."""
        span = self.line.span(start, end)
        self.errors.append(ContainerfileError(message, span=span, source=self.source, hint=hint))

    def report_at(self, message: str, word: Word, *, hint: str | None = None) -> None:
        """Note a fault in a word and go on."""
        error = ContainerfileError(message, span=word.span, source=self.source, hint=hint)
        self.errors.append(error)

    def word(self, start: int, end: int, *, expanded: bool = True) -> Word:
        """The word at `start`; if it is to be expanded, a malformed one is reported now."""
        word = self.line.word(start, end)
        return self.checked(word) if expanded else word

    def token(self, token: Token) -> Word:
        """A token of the grammar as a word that is expanded."""
        return self.word(*place(token))

    def checked(self, word: Word) -> Word:
        """`word`, after a look at its quotes and variables."""
        try:
            parse_word(word.text, self.escape)
        except ExpansionError as error:
            span = within(word, error.start, error.end)
            hint = _quoting_hint(self.line.text, error.message)
            self.errors.append(
                ContainerfileError(error.message, span=span, source=self.source, hint=hint)
            )
        return word


def place(token: Token) -> tuple[int, int]:
    """Offsets of a token in its logical line."""
    start = token.start_pos or 0
    return start, start + len(token)


def _quoting_hint(line: str, message: str) -> str | None:
    if message.startswith("unterminated") and line[:6].upper().startswith(
        ("ADD", "COPY", "VOLUME")
    ):
        return 'blanks always separate words here; one with blanks needs the JSON form: ["a b"]'
    return None
