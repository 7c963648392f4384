"""What a Containerfile says, shown without building anything (`--call`, `--check`).

No root, no store and no network are needed for any of it.
"""

from __future__ import annotations

import os
import sys

from buildkit.command_line import CommandLine, build_arguments
from buildkit.errors import FindingsError
from buildkit.findings import located_errors, look_for_findings
from buildkit.ignoring import find_ignore_file, read_ignore_file
from buildkit.platforms import read_platforms
from grammar import Containerfile, ContainerfileError, ContainerfileErrors, expand_word, parse
from grammar.dump import to_json, to_sexpr
from grammar.lint import LintContext, formats
from grammar.outline import outline, targets
from grammar.outline_formats import (
    outline_to_json,
    outline_to_text,
    targets_to_json,
    targets_to_text,
)
from runtime.oci.platform import this_platform

_FINDINGS = FindingsError.status


def show(line: CommandLine, text: bytes, name: str) -> int:
    """Print one view; returns the exit status. Raises UsageError for a file with errors."""
    try:
        containerfile = parse(text, name=name)
        if line.call == "check":
            return _check(line, containerfile)
        _print(_view(line, containerfile))
    except ContainerfileErrors as errors:
        if line.call == "check" and line.format == "json":
            _print(formats.errors_to_json(errors))  # who reads findings gets these the same way
        raise located_errors(errors) from errors
    except ContainerfileError as error:
        raise located_errors(ContainerfileErrors([error])) from error
    return 0


def show_word(line: CommandLine) -> int:
    """Print what a word means with some variables set."""
    word, *assignments = line.word
    try:
        _print(expand_word(word, assignments))
    except ContainerfileError as error:
        raise located_errors(ContainerfileErrors([error])) from error
    return 0


def _view(line: CommandLine, containerfile: Containerfile) -> str:
    as_json = line.format == "json"
    match line.call:
        case "ast":
            return to_json(containerfile)
        case "sexpr":
            return to_sexpr(containerfile)
        case "targets":
            found = targets(containerfile)
            return targets_to_json(containerfile, found) if as_json else targets_to_text(found)
        case _:
            arguments = build_arguments(line.build_args)
            seen = outline(containerfile, line.target, arguments, _platform(line))
            return outline_to_json(containerfile, seen) if as_json else outline_to_text(seen)


def _check(line: CommandLine, containerfile: Containerfile) -> int:
    context = os.path.realpath(line.context)
    ignore_file, _ = find_ignore_file(line.file or containerfile.source.name, context)
    result = look_for_findings(
        containerfile,
        LintContext(
            build_args=build_arguments(line.build_args),
            target=line.target,
            platform=_platform(line),
            ignore=read_ignore_file(ignore_file).rules,
        ),
    )
    match line.format:
        case "json":
            _print(formats.to_json(containerfile, result))
        case "sarif":
            _print(formats.to_sarif(containerfile, result))
        case "codeclimate":
            _print(formats.to_codeclimate(containerfile, result))
        case "github":
            _print(formats.to_github(containerfile, result))
        case _:
            _print(formats.to_text(containerfile, result))
    return _FINDINGS if result.findings else 0


def _platform(line: CommandLine) -> str:
    """The platform that is looked at: the first one."""
    return (*read_platforms(line.platforms, this_platform()), this_platform())[0]


def _print(text: str) -> None:
    encoded = text.encode("utf-8", "surrogateescape")
    if encoded:
        sys.stdout.buffer.write(encoded.rstrip(b"\n") + b"\n")
