"""The shell scripts of a stage: what RUN gives to a shell, with places in the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from grammar.containerfile import Containerfile
from grammar.instructions import Run
from grammar.lint.packages import VARIABLES
from grammar.lint.places import keyword_span, place
from grammar.lint.shell import Command, commands
from grammar.parts import ExecForm, Heredoc
from grammar.scopes import StageScope
from grammar.source import Span

_SHELLS = frozenset("sh bash ash dash ksh mksh zsh".split())
_ERREXIT = re.compile(r"-[a-z]*e[a-z]*")
_MARKER = re.compile(r"\s*\d*<<-?\s*\S+\s*")


@dataclass(frozen=True)
class Script:
    """One text for one shell; `locate` finds a part of it in the file."""

    run: Run
    scope: StageScope
    settings: frozenset[str]  # variables before it that package managers look at
    text: str
    shell: tuple[str, ...]  # and its arguments
    heredoc: Heredoc | None
    locate: Callable[[int, int], Span]

    @cached_property
    def commands(self) -> tuple[Command, ...]:
        """The simple commands."""
        return commands(self.text)

    @property
    def fails_early(self) -> bool:
        """Whether `set -e` is in force, from the shell's arguments or from the script."""
        if any(map(_ERREXIT.fullmatch, self.shell[1:])) or "errexit" in self.shell:
            return True
        return any(
            command.program == "set"
            and ("errexit" in command.arguments or any(map(_ERREXIT.match, command.arguments)))
            for command in self.commands
        )

    @property
    def fails_in_pipes(self) -> bool:
        """Whether `pipefail` is in force."""
        return "pipefail" in self.shell or "pipefail" in self.text

    def span(self, command: Command) -> Span:
        """Where the words of a command stand, as far as they are on one line."""
        first, last = command.words[0], command.words[-1]
        start = self.locate(first.start, first.end)
        end = self.locate(last.start, last.end)
        return start.through(end) if end.end_line == start.line else start


def scripts(containerfile: Containerfile, stages: Iterable[StageScope]) -> Iterator[Script]:
    """All scripts of the stages that a POSIX shell reads."""
    for scope in stages:
        for instruction, variables in scope.walk():
            if isinstance(instruction, Run):
                shell = scope.shell_before(instruction) or ("/bin/sh", "-c")
                settings = VARIABLES.intersection(variables)
                yield from _of(containerfile, scope, instruction, settings, shell)


def _of(
    containerfile: Containerfile,
    scope: StageScope,
    run: Run,
    settings: frozenset[str],
    shell: tuple[str, ...],
) -> Iterator[Script]:
    if isinstance(run.command, ExecForm):
        args = run.command.args
        if len(args) > 2 and _is_shell(args[0]) and args[1].startswith("-") and "c" in args[-2]:
            whole = keyword_span(run)
            yield Script(run, scope, settings, args[-1], args[:-1], None, lambda *_: whole)
        return
    text = run.command.text
    if run.heredocs and _MARKER.fullmatch(text):
        yield from _heredoc_script(containerfile, scope, run, settings, shell)
        return
    if not _is_shell(shell[0]):
        return

    offset = len(run.text) - len(text)

    def locate(start: int, end: int) -> Span:
        return place(containerfile, run, offset + start, offset + end)

    yield Script(run, scope, settings, text, shell, None, locate)
    first = commands(text)[:1] if len(run.heredocs) == 1 else ()
    words = tuple(word.text for command in first for word in command.words)
    if words and _is_shell(words[0]):
        yield from _heredoc_script(containerfile, scope, run, settings, words)


def _heredoc_script(
    containerfile: Containerfile,
    scope: StageScope,
    run: Run,
    settings: frozenset[str],
    shell: tuple[str, ...],
) -> Iterator[Script]:
    heredoc = run.heredocs[0]
    if heredoc.body.startswith("#!"):
        shell = tuple(heredoc.body[2:].partition("\n")[0].split()) or shell
        shell = shell[1:] if shell[0].endswith("/env") and len(shell) > 1 else shell
    if _is_shell(shell[0]):

        def locate(start: int, end: int) -> Span:
            return _in_body(containerfile, heredoc, start, end)

        yield Script(run, scope, settings, heredoc.body, shell, heredoc, locate)


def _is_shell(program: str) -> bool:
    return program.rpartition("/")[2] in _SHELLS


def _in_body(containerfile: Containerfile, heredoc: Heredoc, start: int, end: int) -> Span:
    number = heredoc.body_line + heredoc.body.count("\n", 0, start)
    column = start - (heredoc.body.rfind("\n", 0, start) + 1)
    line = containerfile.source.lines[number - 1]
    tabs = len(line) - len(line.lstrip("\t")) if heredoc.strip_tabs else 0
    length = min(end - start, len(line) - tabs - column)
    return Span.within(number, tabs + column + 1, max(1, length))
