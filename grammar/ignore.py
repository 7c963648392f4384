"""Ignore files: which paths of a build context a build does not see
(https://docs.docker.com/build/concepts/context/#dockerignore-files).

The rules are those of Moby's patternmatcher: anchored at the root, `**` for any number of
directories, `!` takes back, a match covers everything below it, the last match wins. Where its
translation into regular expressions leaks (`[*]`, `^`, `|`, `\\d`), a pattern means here what
Go's filepath.Match says. A final `/` has no meaning: files and directories are alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from os.path import join

from grammar.errors import ContainerfileError, ContainerfileErrors
from grammar.ignore_patterns import (
    IgnorePatternError,
    Pattern,
    above,
    any_of,
    cleaned,
    read_pattern,
    to_regex,
)
from grammar.record import Record
from grammar.source import Source, Span

NAMES = (".containerignore", ".dockerignore")  # in a context, by precedence
_BYTE_ORDER_MARK = "\ufeff"


class IgnoreRule(Record):
    """One line of the file; `pattern` as written, with its `!`."""

    line: int
    pattern: str
    includes: bool  # it starts with `!`
    parts: Pattern


class IgnoreRules:
    """A compiled ignore file. Paths are relative to the context, with `/` and without `.`."""

    def __init__(self, name: str, rules: tuple[IgnoreRule, ...]) -> None:
        self.name = name
        self.rules = rules
        self.takes_back = any(rule.includes for rule in rules)
        excluding = any_of(rule.parts for rule in rules if not rule.includes)
        # One alternative for each rule, the last one first: the first that matches decides, and
        # its group number says which it is.
        ordered = "|".join(f"({to_regex(rule.parts)})" for rule in reversed(rules))
        self._any = re.compile(excluding, re.DOTALL)
        self._last_first = re.compile(ordered or "(?!)", re.DOTALL)

    def excludes(self, path: str) -> bool:
        """Whether the build does not see `path`. The root of the context is always seen."""
        if self._any.match(path) is None:
            return False
        return self._deciding(path) is not None if self.takes_back else path not in ("", ".")

    def rule_for(self, path: str) -> tuple[int, str] | None:
        """Line and pattern of the rule that hides `path`, or None when it is seen."""
        index = self._deciding(path)
        return None if index is None else (self.rules[index].line, self.rules[index].pattern)

    def may_have_included_children(self, path: str) -> bool:
        """Whether a walk has to enter the directory `path`.

        False only when everything below is excluded for certain. True may be wrong: a pattern
        says nothing about which files there are.
        """
        deciding = self._deciding(path)
        if deciding is None:
            return True
        # That rule covers all that is below, so only a later one can take it back.
        later = (rule for rule in self.rules[deciding + 1 :] if rule.includes)
        regexes = filter(None, (above(rule.parts) for rule in later))
        return any(re.match(regex, path, re.DOTALL) for regex in regexes)

    def _deciding(self, path: str) -> int | None:
        """Index of the rule that hides `path`, or None when it is seen."""
        match = self._last_first.match(path)
        if match is None or path in ("", "."):
            return None
        index = len(self.rules) - (match.lastindex or 0)
        return None if self.rules[index].includes else index


def parse_ignore(text: bytes | str, *, name: str = ".containerignore") -> IgnoreRules:
    """Read an ignore file. Raises ContainerfileErrors, which holds all its faults.

    Bytes that are not UTF-8 become lone surrogates, as in file names that Python reads.
    """
    decoded = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
    source = Source(name, decoded.removeprefix(_BYTE_ORDER_MARK))
    rules: list[IgnoreRule] = []
    errors: list[ContainerfileError] = []
    for number, line in enumerate(source.lines, 1):
        written = line.strip()
        # Only in the first column: elsewhere `#` is part of a name.
        if not written or line.startswith("#"):
            continue
        try:
            rules.append(_rule(written, number))
        except IgnorePatternError as error:
            span = Span.within(number, line.index(written) + 1, len(written))
            fault = ContainerfileError(str(error), span=span, source=source, hint=error.hint)
            errors.append(fault)
    if errors:
        raise ContainerfileErrors(errors)
    return IgnoreRules(name, tuple(rules))


def exclusions(patterns: Iterable[str], *, name: str = "--exclude") -> IgnoreRules:
    """The rules of `--exclude` patterns, which are those of an ignore file's lines.

    Raises IgnorePatternError for the first that cannot be read.
    """
    rules = (_rule(pattern, number) for number, pattern in enumerate(patterns, 1))
    return IgnoreRules(name, tuple(rules))


def candidates(containerfile: str, context: str) -> tuple[str, ...]:
    """The ignore files of a build by precedence; the first that exists is used, alone.

    The one beside the Containerfile comes first, as in BuildKit and buildah, which differ in
    what they know: `.containerignore` is buildah's. It applies to `context` all the same.
    """
    return (
        f"{containerfile}.dockerignore",
        f"{containerfile}.containerignore",
        *(join(context, name) for name in NAMES),
    )


def _rule(written: str, line: int) -> IgnoreRule:
    includes = written.startswith("!")
    path = cleaned(written[1:].strip() if includes else written)
    if includes and path in ("", "/"):
        raise IgnorePatternError("'!' takes nothing back", hint="write !PATTERN")
    return IgnoreRule(line=line, pattern=written, includes=includes, parts=read_pattern(path))
