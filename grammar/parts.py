"""What instructions are made of: words, commands and inline documents."""

from __future__ import annotations

from grammar.record import Record
from grammar.source import Span


class Join(Record):
    """From `offset` on, a word's text stands at this place: a continuation lies before it."""

    offset: int
    line: int
    column: int


class Word(Record):
    """Raw text of one argument and where it stands.

    A `literal` word (from a quoted heredoc) means exactly its text. In JSON forms the text is
    decoded, so it can differ from the source where the string has escapes.
    """

    text: str
    span: Span
    literal: bool = False
    joins: tuple[Join, ...] = ()


class ShellForm(Record):
    """Text for the current SHELL, as written."""

    text: str


class ExecForm(Record):
    """An argument vector; may be empty for CMD and ENTRYPOINT, which resets them."""

    args: tuple[str, ...]


Command = ShellForm | ExecForm


class Heredoc(Record):
    """An inline document. With `strip_tabs` the tabs are already gone from `body`."""

    name: str
    body: str  # each line ends with LF
    expand: bool  # the delimiter was not quoted
    strip_tabs: bool
    fd: int | None
    span: Span  # of the marker
    body_line: int  # where the body starts
