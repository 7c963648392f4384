"""BOOTSTRAP, our extension: the packages of a line, a JSON form and a heredoc list.

A list has one or more packages on a line, `#` comments, and exclusions with a leading `-`,
as in the `%packages` section of a kickstart file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from grammar.arguments import words
from grammar.checks import check_mounts
from grammar.context import Context
from grammar.flags import Flags
from grammar.instructions import Bootstrap
from grammar.parts import Heredoc, Word
from grammar.source import Span

if TYPE_CHECKING:
    from lark import Token

_WORD = re.compile(r"\S+")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*")


def bootstrap(context: Context, flags: Flags, tokens: Sequence[Token]) -> Bootstrap:
    """Build the instruction; the words of lists follow those of the line."""
    listed = [word for heredoc in context.line.heredocs for word in _listed(context, heredoc)]
    packages = [word for word in listed if not word.text.startswith("-")]
    excluded = [_without_dash(word) for word in listed if word.text.startswith("-")]
    check_mounts(context, flags.all("mount"))
    instruction = Bootstrap(
        span=context.line.span(context.start, len(context.line.text)),
        text=context.line.text[context.start :],
        comments=context.line.comments,
        packages=(*words(context, tokens), *packages),
        heredocs=context.line.heredocs,
        manager=flags.one("manager"),
        releasever=flags.one("releasever"),
        arch=flags.one("arch"),
        repos=flags.all("repo"),
        keys=flags.all("key"),
        excludes=(*flags.all("exclude"), *excluded),
        modules=flags.all("module"),
        setopts=flags.all("setopt"),
        from_files=flags.all("from-file"),
        mounts=flags.all("mount"),
        langs=flags.one("langs"),
        dbpath=flags.one("dbpath"),
        clean=flags.one("clean"),
        lock=flags.one("lock"),
        tools=flags.one("tools"),
        weak=flags.on("weak"),
        docs=flags.on("docs"),
        nogpgcheck=flags.on("nogpgcheck"),
        allow_scriptlet_failure=flags.on("allow-scriptlet-failure"),
    )
    if not (instruction.packages or instruction.modules or instruction.from_files):
        hint = "name packages or groups, or give --from-file=FILE"
        end = context.start + len("BOOTSTRAP")
        context.report(
            "BOOTSTRAP needs something to install",
            context.start,
            end,
            code="missing-argument",
            hint=hint,
        )
    return instruction


def _listed(context: Context, heredoc: Heredoc) -> Iterator[Word]:
    for number, body_line in enumerate(heredoc.body.split("\n")[:-1], heredoc.body_line):
        line = context.source.lines[number - 1]
        tabs = len(line) - len(body_line)  # those that <<- took away
        for match in _WORD.finditer(_COMMENT.sub("", body_line)):
            span = Span.within(number, tabs + match.start() + 1, len(match.group()))
            word = Word(text=match.group(), span=span, literal=not heredoc.expand)
            yield word if word.literal else context.checked(word)


def _without_dash(word: Word) -> Word:
    span = Span.within(word.span.line, word.span.column + 1, len(word.text) - 1)
    return Word(text=word.text[1:], span=span, literal=word.literal)
