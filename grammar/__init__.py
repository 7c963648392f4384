"""Containerfile text -> typed instructions.

    containerfile = parse(path.read_bytes(), name="Containerfile")
    for instruction in containerfile.stages[-1].instructions:
        match instruction: ...

What the values of words may be is in `grammar.values`; every error has a code of ERRORS.md.
The language is that of https://docs.docker.com/reference/dockerfile/ with one instruction of
our own, BOOTSTRAP. Nothing here reads a file, builds, or knows the other packages.
"""

from grammar.containerfile import Containerfile, Stage
from grammar.directives import Directive
from grammar.durations import duration_ns
from grammar.errors import ContainerfileError, ContainerfileErrors, ContainerfileWarning, Note
from grammar.expand_view import expand_word
from grammar.expansion import expand, expand_body, expand_words, variables
from grammar.explain import explain
from grammar.hints import stage_hint, variable_hint
from grammar.instructions import (
    Add,
    Arg,
    ArgPair,
    Bootstrap,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    KeyValue,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from grammar.parser import parse, parse_trigger
from grammar.parts import Command, ExecForm, Heredoc, ShellForm, Word
from grammar.source import Source, Span
from grammar.words import ExpansionError, unquote

__all__ = [
    "Add",
    "Arg",
    "ArgPair",
    "Bootstrap",
    "Cmd",
    "Command",
    "Containerfile",
    "ContainerfileError",
    "ContainerfileErrors",
    "ContainerfileWarning",
    "Copy",
    "Directive",
    "Entrypoint",
    "Env",
    "ExecForm",
    "ExpansionError",
    "Expose",
    "From",
    "Healthcheck",
    "Heredoc",
    "Instruction",
    "KeyValue",
    "Label",
    "Maintainer",
    "Note",
    "Onbuild",
    "Run",
    "Shell",
    "ShellForm",
    "Source",
    "Span",
    "Stage",
    "Stopsignal",
    "User",
    "Volume",
    "Word",
    "Workdir",
    "duration_ns",
    "expand",
    "expand_body",
    "expand_word",
    "expand_words",
    "explain",
    "parse",
    "parse_trigger",
    "stage_hint",
    "unquote",
    "variable_hint",
    "variables",
]
