"""A Containerfile as a whole: its stages, and words with their values filled in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TypeVar

from grammar.directives import Directive
from grammar.errors import ContainerfileError, ContainerfileWarning
from grammar.expansion import expand, expand_body, expand_words
from grammar.hints import variable_hint
from grammar.instructions import Arg, From, Instruction
from grammar.parts import Heredoc, Word
from grammar.record import Record
from grammar.source import Source, Span
from grammar.values.invalid import InvalidValue
from grammar.values.mounts import Mount, parse_mount
from grammar.words import ExpansionError, unquote

_NOTHING: frozenset[str] = frozenset()
_T = TypeVar("_T")


class Stage(Record):
    """One FROM and the instructions after it."""

    span: Span
    index: int
    name: str | None  # lower-cased
    from_: From
    instructions: tuple[Instruction, ...]


class Containerfile(Record):
    """The parsed file. It has at least one stage."""

    source: Source
    escape: str
    directives: tuple[Directive, ...]
    preamble: tuple[Arg, ...]  # the global ARGs, before the first FROM
    stages: tuple[Stage, ...]
    blank_continuations: tuple[int, ...]  # numbers of blank lines inside instructions
    warnings: tuple[ContainerfileWarning, ...] = ()  # in the order of the file

    def error(
        self, message: str, span: Span, *, hint: str | None = None, code: str = "error"
    ) -> ContainerfileError:
        """An error at a place of this file, for what the grammar cannot know."""
        return ContainerfileError(message, span=span, source=self.source, hint=hint, code=code)

    def expand(
        self, word: Word, environment: Mapping[str, str], *, keep: Collection[str] = _NOTHING
    ) -> str:
        """The value of `word`; raises a ContainerfileError that points into it."""
        if word.literal:
            return word.text
        try:
            return expand(word.text, environment, escape=self.escape, keep=keep)
        except ExpansionError as error:
            raise self._unexpanded(
                error, within(word, error.start, error.end), environment
            ) from None

    def value(self, word: Word, environment: Mapping[str, str], parse: Callable[[str], _T]) -> _T:
        """What `parse` (one of grammar.values) makes of the expanded word.

        Raises a ContainerfileError that points at the part at fault.
        """
        text = self.expand(word, environment)
        try:
            return parse(text)
        except InvalidValue as error:
            raise self._invalid(error, word, exact=text == word.text) from None

    def mount(self, word: Word, environment: Mapping[str, str]) -> Mount:
        """A `--mount`; its commas are those that are written, not those of variables."""
        text = self.unquote(word)
        expansion = partial(expand, environment=environment, escape=self.escape)
        try:
            return parse_mount(text, expand=expansion)
        except InvalidValue as error:
            raise self._invalid(error, word, exact=text == word.text) from None
        except ExpansionError as error:
            raise self._unexpanded(error, word.span, environment) from None

    def expand_words(self, word: Word, environment: Mapping[str, str]) -> tuple[str, ...]:
        """The values of `word`, which is split at blanks after expansion (EXPOSE)."""
        try:
            return expand_words(word.text, environment, escape=self.escape)
        except ExpansionError as error:
            raise self._unexpanded(
                error, within(word, error.start, error.end), environment
            ) from None

    def expand_heredoc(self, heredoc: Heredoc, environment: Mapping[str, str]) -> str:
        """The content of a COPY or ADD heredoc."""
        if not heredoc.expand:
            return heredoc.body
        try:
            return expand_body(heredoc.body, environment)
        except ExpansionError as error:
            span = self._span_in_body(heredoc, error.start, error.end)
            raise self._unexpanded(error, span, environment) from None

    def unquote(self, word: Word) -> str:
        """The text of a word that is never expanded, such as `--exclude=PATTERN`."""
        return word.text if word.literal else unquote(word.text, self.escape)

    def _unexpanded(
        self, error: ExpansionError, span: Span, environment: Mapping[str, str]
    ) -> ContainerfileError:
        hint = variable_hint(self, error.variable, environment) if error.variable else None
        return self.error(error.message, span, hint=hint, code=error.code)

    def _invalid(self, error: InvalidValue, word: Word, *, exact: bool) -> ContainerfileError:
        exact = exact and error.start < error.end
        span = within(word, error.start, error.end) if exact else word.span
        return self.error(error.message, span, hint=error.hint, code=error.code)

    def _span_in_body(self, heredoc: Heredoc, start: int, end: int) -> Span:
        index = heredoc.body.count("\n", 0, start)
        column = start - (heredoc.body.rfind("\n", 0, start) + 1)
        line = self.source.lines[heredoc.body_line + index - 1]
        tabs = len(line) - len(line.lstrip("\t")) if heredoc.strip_tabs else 0
        length = min(end - start, len(line) - tabs - column)
        return Span.within(heredoc.body_line + index, tabs + column + 1, max(1, length))


def within(word: Word, start: int, end: int) -> Span:
    """Where `word.text[start:end]` stands; all of the word when its text was decoded."""
    single_line = word.span.line == word.span.end_line
    if single_line and word.span.end_column - word.span.column != len(word.text):
        return word.span
    first = _place(word, start)
    last = _place(word, max(start, end - 1))
    return Span(line=first[0], column=first[1], end_line=last[0], end_column=last[1] + 1)


def _place(word: Word, offset: int) -> tuple[int, int]:
    line, column, origin = word.span.line, word.span.column, 0
    for join in word.joins:
        if join.offset > offset:
            break
        line, column, origin = join.line, join.column, join.offset
    return line, column + offset - origin
