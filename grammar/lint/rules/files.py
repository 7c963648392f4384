"""COPY, ADD and VOLUME: what is copied, when, and where to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from posixpath import join, normpath

from grammar.ignore import IgnoreRules
from grammar.instructions import Add, Copy, Instruction, Run, Volume, Workdir
from grammar.lint.model import Problem, rule
from grammar.lint.packages import installs_dependencies
from grammar.lint.shell import Command, ShellWord
from grammar.lint.view import View, problem
from grammar.mount_keys import mount_target, read_mount
from grammar.scopes import Value
from grammar.source import Span

_REMOTE = re.compile(r"(?:https?|ssh|git)://|git@", re.I)
_ARCHIVE = re.compile(r"\.(?:tar(?:\.\w+)?|t[gbx]z\d?|tbz2?|tzst)$", re.I)
_WILDCARD = re.compile(r"[*?\[\\]")
_WRITERS = frozenset("chgrp chmod chown cp dd install ln mkdir mv rm rsync tee touch".split())


@rule(
    "CopyIgnoredFile",
    "Attempting to Copy file that is excluded by .dockerignore",
    page="copy-ignored-file",
)
def copy_ignored_file(view: View) -> Iterator[Problem]:
    rules = view.context.ignore
    if rules is None:
        return
    for _, instruction, variables in view.walk():
        for source, span in _context_sources(view, instruction, variables):
            path = _excluded(rules, source)
            if path is None:
                continue
            verb = "Add" if isinstance(instruction, Add) else "Copy"
            message = f'Attempting to {verb} file "{path}" that is excluded by {rules.name}'
            line, pattern = rules.rule_for(path) or (0, "")
            hint = f"line {line} of {rules.name} says {pattern}"
            yield problem(instruction, message, span, hint=hint)


@rule("CopyBeforeInstall", "Dependencies should be installed before all of the source is copied")
def copy_before_install(view: View) -> Iterator[Problem]:
    installing: dict[int, tuple[Run, Command]] = {}
    for script in view.scripts:
        found = next(filter(installs_dependencies, script.commands), None)
        if found is not None:
            installing[id(script.run)] = (script.run, found)
    for scope in view.stages:
        copied: tuple[Instruction, Span] | None = None
        for instruction, variables in scope.walk():
            for source, span in _context_sources(view, instruction, variables):
                if source == "." and copied is None:
                    copied = (instruction, span)
            if copied is not None and id(instruction) in installing:
                run, command = installing[id(instruction)]
                words = " ".join(word.text for word in command.words[:2])
                message = f"Any change of any file repeats '{words}' on line {run.span.line}"
                hint = "copy the lists of dependencies, install them, then copy the rest"
                yield problem(copied[0], message, copied[1], hint=hint)
                break


@rule("CopyRecommended", "COPY should be used for plain files; ADD also downloads and unpacks")
def copy_recommended(view: View) -> Iterator[Problem]:
    for _, instruction, variables in view.walk():
        if not isinstance(instruction, Add) or instruction.unpack is not None:
            continue
        if instruction.checksum is not None or instruction.keep_git_dir is not None:
            continue
        sources = [view.expand(word, variables) for word in instruction.sources]
        # A wildcard may find archives, and an archive may have any name that ends so.
        plain = [s for s in sources if s and not (_REMOTE.match(s) or _ARCHIVE.search(s))]
        if len(plain) == len(sources) and not any(map(_WILDCARD.search, plain)):
            message = "ADD does nothing here that COPY does not"
            hint = "COPY never downloads and never unpacks, whatever the files are"
            yield problem(instruction, message, hint=hint)


@rule("WriteBelowVolume", "Nothing should be written to a volume after VOLUME")
def write_below_volume(view: View) -> Iterator[Problem]:
    by_run = {id(script.run): script for script in view.scripts}
    for scope in view.stages:
        volumes: list[str] = []
        workdir = "/"
        for instruction, variables in scope.walk():
            written: list[tuple[str, Span]] = []
            match instruction:
                case Workdir(path=word):
                    workdir = join(workdir, view.expand(word, variables) or ".")
                    continue
                case Volume(paths=paths):
                    volumes += [normpath(view.expand(word, variables) or "/") for word in paths]
                    continue
                case Copy(destination=word) | Add(destination=word):
                    destination = join(workdir, view.expand(word, variables) or "")
                    written = [(destination, word.span)]
                case Run() if id(instruction) in by_run:
                    script = by_run[id(instruction)]
                    mounted = [mount_target(read_mount(mount)) for mount in instruction.mounts]
                    written = [
                        (join(workdir, word.text), script.locate(word.start, word.end))
                        for command in script.commands
                        for word in _written_words(command)
                    ]
                    written = [w for w in written if not _is_below(w[0], mounted)]
            for path, span in written:
                if _is_below(path, volumes):
                    message = (
                        f"'{path}' is below a VOLUME: some builders drop what is written there"
                    )
                    yield problem(instruction, message, span, hint="put VOLUME last")
                    break


def _written_words(command: Command) -> Iterator[ShellWord]:
    yield from command.written_to
    if command.program in _WRITERS:
        yield from (word for word in command.words[1:] if "/" in word.text)


def _is_below(path: str, directories: list[str]) -> bool:
    path = normpath(path)
    return any(
        directory not in ("", "/") and (path + "/").startswith(directory.rstrip("/") + "/")
        for directory in directories
    )


def _context_sources(
    view: View, instruction: Instruction, variables: Mapping[str, Value]
) -> Iterator[tuple[str, Span]]:
    """Sources that come from the build context, as paths in it, with their places."""
    if not isinstance(instruction, Copy | Add):
        return
    if isinstance(instruction, Copy) and instruction.from_ is not None:
        return
    for word in instruction.sources:
        source = view.expand(word, variables)
        if source and not (isinstance(instruction, Add) and _REMOTE.match(source)):
            yield normpath("/" + source.replace("/./", "/").lstrip("/"))[1:] or ".", word.span


def _excluded(rules: IgnoreRules, source: str) -> str | None:
    """The source if nothing of it is seen; with a wildcard, its directory."""
    wildcard = _WILDCARD.search(source)
    path = source[: wildcard.start()].rpartition("/")[0] if wildcard else source
    if not path or not rules.excludes(path) or rules.may_have_included_children(path):
        return None
    return path


RULES = (copy_ignored_file, copy_before_install, copy_recommended, write_below_volume)
