"""What a program's `--help` consists of: usage, paragraphs, lists as they are, and options."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from runtime.record import Record

_DEEP = 8  # columns: what is indented further goes on with the option above it
_EXIT = "Exit status: "
_OPTION = re.compile(r"-{1,2}[A-Za-z][\w-]*")


class Paragraph(Record):
    """Text that may be filled."""

    text: str


class Verbatim(Record):
    """Lines that stay as they are, but for what all of them are indented by."""

    lines: tuple[str, ...]


class Entry(Record):
    """What is said of an option, or of some of them."""

    term: str  # "-e, --env NAME[=VALUE]"
    text: str = ""

    def taken(self) -> dict[str, str]:
        """What each option of the term takes: "" if nothing, or if its other name says it."""
        found = {}
        for piece in re.split(r",\s+(?=-)", self.term):
            if match := _OPTION.match(piece):
                found[match[0]] = piece[match.end() :].lstrip(" =")
        return found

    def is_about(self, names: Iterable[str]) -> bool:
        """Whether it is about an option of these names: a letter means many things, a word one."""
        ours, theirs = set(self.taken()), set(names)
        our_words, their_words = (
            {name for name in spelled if name.startswith("--")} for spelled in (ours, theirs)
        )
        both = our_words and their_words
        return bool(our_words & their_words if both else ours & theirs)


class Help(Record):
    """The text of one `--help`."""

    usage: tuple[str, ...]
    parts: tuple[Paragraph | Verbatim | Entry, ...]
    exit_status: str  # "" if nothing is said of it

    def entries(self) -> Iterator[Entry]:
        """What is said of options."""
        return (part for part in self.parts if isinstance(part, Entry))


def parse_help(text: str) -> Help:
    """Take a help text apart."""
    head, _, rest = text.partition("\n\n")
    lines = rest.splitlines()
    column = _column(lines)
    parts: list[Paragraph | Verbatim | Entry] = []
    for block in rest.split("\n\n"):
        parts += _parts(block.splitlines(), column)
    exits = [part for part in parts if isinstance(part, Paragraph) and _EXIT in part.text]
    status = "".join(part.text.partition(_EXIT)[2] for part in exits)
    kept: list[Paragraph | Verbatim | Entry] = []
    for part in parts:
        if part in exits and isinstance(part, Paragraph):
            before = part.text.partition(_EXIT)[0].strip()
            kept += [Paragraph(text=before)] if before else []
        else:
            kept.append(part)
    usage = tuple(line[len("usage: ") :] for line in head.splitlines())
    return Help(usage=usage, parts=tuple(kept), exit_status=status)


def _column(lines: list[str]) -> int:
    """Where the right column begins; 0 if there is none."""
    indents = [_indent(line) for line in lines if _indent(line) > _DEEP]
    starts = [match.end() for line in lines if (match := re.match(r" {2,6}-.*?\S {2,}", line))]
    return max(Counter(indents + starts).items(), key=lambda item: item[1], default=(0, 0))[0]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _parts(lines: list[str], column: int) -> Iterator[Paragraph | Verbatim | Entry]:
    """The parts of a block, which has no empty line."""
    text: list[str] = []
    verbatim: list[str] = []
    entry: Entry | None = None
    for line in lines:
        indent, said = _indent(line), line.strip()
        starts = 2 <= indent < _DEEP and said.startswith("-")
        if starts or indent < 2:
            if verbatim:
                yield _verbatim(verbatim)
                verbatim = []
            if entry and not (starts and entry.term.endswith(",") and not entry.text):
                yield entry
                entry = None
        if starts:
            if text:
                yield Paragraph(text=" ".join(text))
                text = []
            before = f"{entry.term} " if entry else ""
            term, said = _split(line, column)
            entry = Entry(term=before + term, text=said)
        elif indent < 2:
            text.append(said)
        elif entry and not entry.text and said.startswith("[,"):
            entry = entry.replace(term=entry.term + said)
        elif entry:
            entry = entry.replace(text=f"{entry.text} {said}".strip())
        else:
            if text:
                yield Paragraph(text=" ".join(text))
                text = []
            verbatim.append(line)
    if entry:
        yield entry
    if verbatim:
        yield _verbatim(verbatim)
    if text:
        yield Paragraph(text=" ".join(text))


def _verbatim(lines: list[str]) -> Verbatim:
    least = min(_indent(line) for line in lines)
    return Verbatim(lines=tuple(line[least:] for line in lines))


def _split(line: str, column: int) -> tuple[str, str]:
    """An option, and what is said of it: in the right column, or after two spaces."""
    if column and line[column - 1 : column] == " " and line[column : column + 1].strip():
        return line[:column].strip(), line[column:].strip()
    term, _, text = line.strip().partition("  ")
    return term, text.strip()
