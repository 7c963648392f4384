"""Checks of one instruction as a whole, beyond its single words."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from grammar.context import Context
from grammar.errors import quoted
from grammar.parts import Word
from grammar.values.gitref import is_remote, parse_git_reference
from grammar.values.mounts import check_mount


def check_mounts(context: Context, mounts: Iterable[Word]) -> None:
    """Report faults of --mount values, and two mounts on one directory."""
    targets: dict[str, Word] = {}
    for word in mounts:
        target = context.parsed(word, check_mount)
        if not target:
            continue
        target = posixpath.normpath(target)
        if target in targets:
            message = f"two mounts on {quoted(target)}"
            hint = f"the first one is on line {targets[target].span.line}"
            context.report_at(message, word, code="mount-repeated", hint=hint)
        targets.setdefault(target, word)


def check_copied(context: Context, sources: Iterable[Word]) -> None:
    """Report sources that COPY does not take."""
    for word in sources:
        if "$" not in word.text and is_remote(word.text):
            hint = "ADD takes URLs and git repositories"
            context.report_at("COPY takes no URL", word, code="copy-remote", hint=hint)


def check_added(context: Context, sources: Iterable[Word], checksum: Word | None) -> None:
    """Report faulty git references, and a checksum that could be for several sources."""
    count = 0
    for word in sources:
        count += 1
        context.valid(word, parse_git_reference)
    if checksum is not None and count + len(context.line.heredocs) > 1:
        message = "--checksum is for one source, found several"
        context.report_at(message, checksum, code="bad-checksum")


def check_paths(context: Context, keyword: str, words: Iterable[Word]) -> None:
    """Report a directory that is empty once its quotes are gone."""
    for word in words:
        if word.text.strip("\"'") == "":
            message = f"{keyword} needs a directory"
            context.report_at(message, word, code="empty-path")
