"""Build arguments that nothing uses: declared in the file, or given to the build."""

from __future__ import annotations

import re
from collections.abc import Iterator

from grammar.expansion import variables
from grammar.instructions import Add, Arg, ArgPair, Bootstrap, Copy, Instruction, Run
from grammar.lint.model import Problem, rule
from grammar.lint.view import View, problem, triggered
from grammar.parts import Word
from grammar.scopes import AUTOMATIC, PREDEFINED
from grammar.source import Span
from grammar.suggestion import did_you_mean

# A RUN sees all arguments as variables, so any program may use one that no line mentions. These
# read none but a few of their own.
_BLIND = frozenset(
    """
    [ : adduser addgroup apk apt apt-get cat cd chgrp chmod chown cp curl cut dnf dnf5 done echo
    exit export false fi find grep groupadd gunzip gzip head install ln ls microdnf mkdir mv
    printf rm rmdir sed set sha256sum sleep sort tail tar tee test touch tr true unzip useradd
    usermod wc wget yum
    """.split()
)
_OF_PROGRAMS = re.compile(
    r"(?:DEBIAN|DEBCONF|APT|DPKG|DNF|RPM|LC|CURL|SSL|TAR|GREP|GZIP|XDG)_.*"
    r"|LANG|LANGUAGE|TZ|HOME|PATH|TMPDIR|USER|UMASK|POSIXLY_CORRECT"
)


@rule("UnusedArg", "A build argument should be used")
def unused_arg(view: View) -> Iterator[Problem]:
    yield from _unused_globals(view)
    opaque = _opaque_runs(view)
    for scope in view.stages:
        heirs = [other for other in view.stages if scope in other.chain and other is not scope]
        instructions = scope.stage.instructions
        for index, instruction in enumerate(instructions):
            if not isinstance(instruction, Arg):
                continue
            later = [*instructions[index + 1 :], *(i for h in heirs for i in h.stage.instructions)]
            if any(id(other) in opaque for other in later):
                continue
            for pair in instruction.pairs:
                if not _is_special(pair.name) and not _is_mentioned(pair, instruction, later):
                    message = f"ARG {pair.name} is used by nothing after it"
                    yield problem(instruction, message, pair.span)


@rule("UnusedBuildArg", "A build argument that is given should be declared")
def unused_build_arg(view: View) -> Iterator[Problem]:
    args = [
        *view.containerfile.preamble,
        *(found for found in view.instructions() if isinstance(found, Arg)),
    ]
    declared = {pair.name for arg in args for pair in arg.pairs}
    given = {name for name in view.context.build_args if name not in declared}
    for name in sorted(given | set(view.context.unused_build_args)):
        if name not in AUTOMATIC and not _is_special(name):
            message = f"Build argument '{name}' is used nowhere"
            span = Span.within(1, 1, max(1, len(view.containerfile.source.lines[0])))
            hint = did_you_mean(name, declared - {name}) or f"ARG {name} declares it"
            yield Problem(message=message, span=span, instruction=None, hint=hint)


def _unused_globals(view: View) -> Iterator[Problem]:
    used = {
        name
        for stage in view.containerfile.stages
        for word in (stage.from_.image, stage.from_.platform)
        for name in _names(view, word)
    }
    for instruction in view.instructions():
        if isinstance(instruction, Arg):
            used.update(pair.name for pair in instruction.pairs)
    pairs = [(arg, pair) for arg in view.containerfile.preamble for pair in arg.pairs]
    for _, pair in reversed(pairs):
        used |= _names(view, pair.default) if pair.name in used else set()
    for arg, pair in pairs:
        if pair.name not in used and pair.name not in AUTOMATIC and not _is_special(pair.name):
            message = f"ARG {pair.name} is used by no FROM and declared in no stage"
            yield problem(
                arg, message, pair.span, hint=f"in a stage, ARG {pair.name} brings it in"
            )


def _opaque_runs(view: View) -> set[int]:
    """The RUNs of which only the run itself shows what they read."""
    read: dict[int, bool] = {}
    for script in view.scripts:
        blind = all(command.program in _BLIND for command in script.commands)
        read[id(script.run)] = read.get(id(script.run), True) and blind
    runs = (found for found in view.instructions() if isinstance(triggered(found), Run))
    return {id(run) for run in runs if not read.get(id(run), False)}


def _is_mentioned(pair: ArgPair, instruction: Arg, later: list[Instruction]) -> bool:
    name = re.escape(pair.name)
    if re.search(rf"\$\{{?{name}(?!\w)", instruction.text):
        return True
    pattern = re.compile(rf"(?<!\w){name}(?!\w)")
    return any(pattern.search(text) for other in later for text in _texts(other))


def _texts(instruction: Instruction) -> Iterator[str]:
    yield instruction.text
    inner = triggered(instruction)
    if isinstance(inner, Run | Copy | Add | Bootstrap):
        yield from (heredoc.body for heredoc in inner.heredocs)


def _names(view: View, word: Word | None) -> set[str]:
    if word is None:
        return set()
    return set(variables(word.text, escape=view.containerfile.escape))


def _is_special(name: str) -> bool:
    """Whether an argument means something to the builder or to common programs."""
    ours = name == "SOURCE_DATE_EPOCH" or name.startswith("BUILDKIT_")
    return ours or name in PREDEFINED or _OF_PROGRAMS.fullmatch(name) is not None


RULES = (unused_arg, unused_build_arg)
