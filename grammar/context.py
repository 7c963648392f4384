"""What the functions that read one instruction share: its line, and where faults go."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from grammar.containerfile import within
from grammar.errors import ContainerfileError, ContainerfileWarning
from grammar.lines import LogicalLine
from grammar.parts import Word
from grammar.record import Record
from grammar.source import Source
from grammar.values.invalid import InvalidValue
from grammar.words import ExpansionError, parse_word, unquote

if TYPE_CHECKING:
    from lark import Token

_T = TypeVar("_T")


class Context(Record, kw_only=False):
    """One logical line; faults are collected, so that one instruction can have several."""

    source: Source
    line: LogicalLine
    escape: str
    errors: list[ContainerfileError]
    warnings: list[ContainerfileWarning]
    start: int = 0  # of the instruction in the line; not 0 below ONBUILD

    def report(
        self, message: str, start: int, end: int, *, code: str, hint: str | None = None
    ) -> None:
        """Note a fault in `line.text[start:end]` and go on."""
        span = self.line.span(start, end)
        self.errors.append(
            ContainerfileError(message, span=span, source=self.source, hint=hint, code=code)
        )

    def report_at(self, message: str, word: Word, *, code: str, hint: str | None = None) -> None:
        """Note a fault in a word and go on."""
        self.errors.append(
            ContainerfileError(message, span=word.span, source=self.source, hint=hint, code=code)
        )

    def warn(
        self, message: str, start: int, end: int, *, code: str, hint: str | None = None
    ) -> None:
        """Note that `line.text[start:end]` may not mean what was meant."""
        span = self.line.span(start, end)
        self.warnings.append(
            ContainerfileWarning(code=code, message=message, span=span, hint=hint)
        )

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
                ContainerfileError(
                    error.message, span=span, source=self.source, hint=hint, code=error.code
                )
            )
        return word

    def valid(self, word: Word, parse: Callable[[str], object]) -> None:
        """Report what `parse` finds wrong in a word that needs no expansion."""
        if word.text and "$" not in word.text:
            self.parsed(word, parse)

    def parsed(self, word: Word, parse: Callable[[str], _T]) -> _T | None:
        """What `parse` makes of a word without its quotes; None after reporting a fault."""
        text = unquote(word.text, self.escape)
        try:
            return parse(text)
        except InvalidValue as error:
            exact = text == word.text and error.start < error.end
            hint = "a comment has its own line" if text.startswith("#") else error.hint
            span = within(word, error.start, error.end) if exact else word.span
            self.errors.append(
                ContainerfileError(
                    error.message,
                    span=span,
                    source=self.source,
                    hint=hint,
                    code=error.code,
                )
            )
            return None


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
