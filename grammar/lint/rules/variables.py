"""Variables: undefined, unused, secret, and read one instruction too early."""

from __future__ import annotations

import re
from collections.abc import Iterator

from grammar.containerfile import within
from grammar.expansion import variables
from grammar.instructions import (
    Add,
    Arg,
    Copy,
    Env,
    Expose,
    Instruction,
    Label,
    Run,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from grammar.lint.model import Problem, rule
from grammar.lint.view import View, problem
from grammar.parts import Word
from grammar.scopes import PREDEFINED
from grammar.source import Span
from grammar.suggestion import nearest
from grammar.words import Variable, parse_word

_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.I
)
_HARMLESS = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.I)


@rule("UndefinedVar", "Variables should be defined before their use", page="undefined-var")
def undefined_var(view: View) -> Iterator[Problem]:
    for scope, instruction, environment in view.walk():
        own = _own_arguments(instruction)
        looked_into = scope.from_scratch or scope.origin.image in view.context.base_variables
        for name, span in _looked_up(view, instruction):
            if name in environment or name in own or name in PREDEFINED:
                continue
            near = nearest(name, environment)
            more = f" (did you mean ${near}?)" if near else ""
            hint = None if looked_into else "the base image was not asked for its variables"
            if name in view.scopes.globals:
                hint = f"it is declared before FROM; ARG {name} brings it into the stage"
            message = f"Usage of undefined variable '${name}'{more}"
            yield problem(instruction, message, span, hint=hint)


@rule(
    "SecretsUsedInArgOrEnv",
    "Sensitive data should not be used in the ARG or ENV commands",
    page="secrets-used-in-arg-or-env",
)
def secrets_used_in_arg_or_env(view: View) -> Iterator[Problem]:
    for instruction in view.instructions():
        for kind, name, span in _names(instruction):
            if _SECRET.search(name) and not _HARMLESS.search(name):
                message = (
                    f'Do not use ARG or ENV instructions for sensitive data ({kind} "{name}")'
                )
                hint = "RUN --mount=type=secret leaves no trace in the image"
                yield problem(instruction, message, span, hint=hint)


@rule("SameInstructionVariable", "ENV should not use a variable that it sets itself")
def same_instruction_variable(view: View) -> Iterator[Problem]:
    for _, instruction, environment in view.walk():
        if not isinstance(instruction, Env):
            continue
        before: set[str] = set()
        for pair in instruction.pairs:
            for name in sorted(before & _variables(view, pair.value)):
                value = "its old value" if name in environment else "no value"
                message = f"'${name}' has {value} here: all of one ENV see what was before it"
                hint = f"set {name} in an ENV of its own, before this one"
                yield problem(instruction, message, pair.value.span, hint=hint)
            before.add(pair.key.text)


def _names(instruction: Instruction) -> Iterator[tuple[str, str, Span]]:
    match instruction:
        case Arg(pairs=args):
            yield from (("ARG", pair.name, pair.span) for pair in args)
        case Env(pairs=pairs):
            yield from (("ENV", pair.key.text, pair.key.span) for pair in pairs)


def _own_arguments(instruction: Instruction) -> frozenset[str]:
    """Names on an ARG line: a later one sees an earlier one."""
    pairs = instruction.pairs if isinstance(instruction, Arg) else ()
    return frozenset(pair.name for pair in pairs)


def _looked_up(view: View, instruction: Instruction) -> Iterator[tuple[str, Span]]:
    """The variables that an instruction needs, once each; `${a:-b}` can do without."""
    found: dict[str, Span] = {}
    for word in _expanded(instruction):
        if word.literal or "$" not in word.text:
            continue
        for part in parse_word(word.text, view.containerfile.escape):
            if isinstance(part, Variable) and not part.operator.endswith(("-", "+", "?")):
                found.setdefault(part.name, within(word, part.start, part.end))
    return ((name, span) for name, span in found.items() if name.isidentifier())


def _expanded(instruction: Instruction) -> tuple[Word, ...]:
    """The words of an instruction whose variables the builder replaces."""
    found: tuple[Word | None, ...] = ()
    match instruction:
        case Add(checksum=checksum):
            found = (*instruction.sources, instruction.destination)
            found += (instruction.chown, instruction.chmod, checksum)
        case Copy():
            found = (*instruction.sources, instruction.destination)
            found += (instruction.chown, instruction.chmod)
        case Arg(pairs=args):
            found = tuple(pair.default for pair in args)
        case Env(pairs=pairs) | Label(pairs=pairs):
            found = tuple(word for pair in pairs for word in (pair.key, pair.value))
        case Run(mounts=mounts):
            found = mounts
        case Expose(ports=words) | Volume(paths=words):
            found = words
        case User(user=word) | Workdir(path=word) | Stopsignal(signal=word):
            found = (word,)
    return tuple(word for word in found if word is not None)


def _variables(view: View, word: Word) -> frozenset[str]:
    return frozenset() if word.literal else variables(word.text, escape=view.containerfile.escape)


RULES = (
    undefined_var,
    secrets_used_in_arg_or_env,
    same_instruction_variable,
)
