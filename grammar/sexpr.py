"""The parsed file in the notation of the dumps that BuildKit's parser prints.

    (copy ["--from=base"] "a" "/b")

One instruction on a line: its name in lower case, its flags, its arguments as Go quotes strings.
Quotes and variables in arguments are as written; heredoc bodies are left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import assert_never

from grammar import instructions as ast
from grammar import json_form
from grammar.containerfile import Containerfile
from grammar.parts import Command, ExecForm
from grammar.words import unquote

_ESCAPES = {
    '"': r"\"", "\\": r"\\", "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r",
    "\t": r"\t", "\v": r"\v",
}  # fmt: skip


def to_sexpr(containerfile: Containerfile) -> str:
    """All instructions in order."""
    instructions: list[ast.Instruction] = [*containerfile.preamble]
    for stage in containerfile.stages:
        instructions += (stage.from_, *stage.instructions)
    return "".join(f"{_sexpr(each, containerfile.escape)}\n" for each in instructions)


def _sexpr(instruction: ast.Instruction, escape: str) -> str:
    head, flags, rest = _split(instruction.text, escape)
    parts = [head.lower()]
    if flags:
        parts.append(f"[{' '.join(map(_go_quoted, flags))}]")
    if isinstance(instruction, ast.Onbuild):
        parts.append(_sexpr(instruction.instruction, escape))
    else:
        parts += map(_go_quoted, _arguments(instruction, rest))
    return f"({' '.join(parts)})"


def _split(text: str, escape: str) -> tuple[str, list[str], str]:
    """Name, flags without their quotes, and the rest."""
    head, *tail = text.split(maxsplit=1)
    rest = tail[0] if tail else ""
    flags: list[str] = []
    while match := _flag(escape).match(rest):
        rest = rest[match.end() :].lstrip()
        if match.group() == "--":
            break
        flags.append(unquote(match.group(), escape))
    return head, flags, rest


@cache
def _flag(escape: str) -> re.Pattern[str]:
    e = re.escape(escape)
    return re.compile(rf"""--(?:{e}.|"(?:{e}.|[^"])*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\s"'])*+""")


def _arguments(instruction: ast.Instruction, rest: str) -> Iterator[str]:
    match instruction:
        case ast.Run() | ast.Cmd() | ast.Entrypoint():
            yield from _command(instruction.command)
        case ast.Healthcheck(command=None):
            yield "NONE"
        case ast.Healthcheck(command=command):
            assert command is not None
            yield from ("CMD", *_command(command))
        case ast.Env() | ast.Label():
            for pair in instruction.pairs:
                separator = "" if instruction.legacy else "="
                yield from (pair.key.text, pair.value.text, separator)
        case ast.Arg():
            for arg in instruction.pairs:
                yield arg.name if arg.default is None else f"{arg.name}={arg.default.text}"
        case ast.From() | ast.Expose():
            yield from rest.split()
        case ast.Copy() | ast.Add() | ast.Volume() | ast.Bootstrap() | ast.Shell():
            yield from json_form.string_array(rest) or rest.split()
        case ast.User() | ast.Workdir() | ast.Stopsignal() | ast.Maintainer():
            yield rest
        case ast.Onbuild():
            raise AssertionError("handled by the caller")
        case _:
            assert_never(instruction)


def _command(command: Command) -> tuple[str, ...]:
    return command.args if isinstance(command, ExecForm) else (command.text,)


def _go_quoted(text: str) -> str:
    return f'"{"".join(map(_go_escaped, text))}"'


def _go_escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char == " " or unicodedata.category(char)[0] in "LMNPS":
        return char
    if char < "\x80":
        return f"\\x{ord(char):02x}"
    return f"\\u{ord(char):04x}" if char <= "\uffff" else f"\\U{ord(char):08x}"
