"""What an image is made to do: its command, working directory and ports."""

from __future__ import annotations

import re
from collections.abc import Iterator

from grammar.instructions import (
    Cmd,
    Entrypoint,
    Expose,
    Healthcheck,
    Instruction,
    Run,
    Workdir,
)
from grammar.lint.model import Problem, rule
from grammar.lint.places import keyword
from grammar.lint.view import View, problem, triggered
from grammar.parts import ExecForm, ShellForm

_VARIABLE = re.compile(r"\$(?:\w|\{)")


@rule(
    "JSONArgsRecommended",
    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS "
    "signals",
    page="json-args-recommended",
)
def json_args_recommended(view: View) -> Iterator[Problem]:
    for scope in view.stages:
        for instruction in scope.stage.instructions:
            if not isinstance(instruction, Cmd | Entrypoint):
                continue
            shell_form = isinstance(instruction.command, ShellForm)
            # Who sets SHELL has thought about it.
            if shell_form and scope.shell_before(instruction) is None:
                message = f"JSON arguments recommended for {keyword(instruction)} to prevent"
                message += " unintended behavior related to OS signals"
                yield problem(instruction, message)


@rule(
    "MultipleInstructionsDisallowed",
    "Multiple instructions of the same type should not be used in the same stage",
    page="multiple-instructions-disallowed",
)
def multiple_instructions_disallowed(view: View) -> Iterator[Problem]:
    for stage in view.containerfile.stages:
        last: dict[type[Instruction], Instruction] = {}
        for instruction in stage.instructions:
            if not isinstance(instruction, Cmd | Entrypoint | Healthcheck):
                continue
            earlier = last.get(type(instruction))
            if earlier is not None:
                message = f"Multiple {keyword(instruction)} instructions should not be used in"
                message += " the same stage because only the last one will be used"
                hint = f"line {instruction.span.line} replaces it"
                yield problem(earlier, message, hint=hint)
            last[type(instruction)] = instruction


@rule(
    "WorkdirRelativePath",
    "Relative workdir without an absolute workdir declared within the build can have unexpected "
    "results if the base image changes",
    page="workdir-relative-path",
)
def workdir_relative_path(view: View) -> Iterator[Problem]:
    with_workdir: set[int] = set()
    for scope, instruction, variables in view.walk():
        if not isinstance(instruction, Workdir):
            continue
        path = view.expand(instruction.path, variables)
        known = any(other.stage.index in with_workdir for other in scope.chain)
        if path and not path.startswith("/") and not known:
            message = f'Relative workdir "{path}" can have unexpected results'
            message += " if the base image changes"
            yield problem(instruction, message, instruction.path.span)
        with_workdir.add(scope.stage.index)


@rule(
    "ExposeProtoCasing",
    "Protocol in EXPOSE instruction should be lowercase",
    page="expose-proto-casing",
)
def expose_proto_casing(view: View) -> Iterator[Problem]:
    for instruction, port, place in _ports(view):
        protocol = port.partition("/")[2]
        if protocol != protocol.lower():
            message = f"Defined protocol '{port}' in EXPOSE instruction should be lowercase"
            yield problem(instruction, message, instruction.ports[place].span)


@rule(
    "ExposeInvalidFormat",
    "IP address and host-port mapping should not be used in EXPOSE instruction. This will become "
    "an error in a future release",
    page="expose-invalid-format",
)
def expose_invalid_format(view: View) -> Iterator[Problem]:
    for instruction, port, place in _ports(view):
        if ":" in port:
            message = "EXPOSE instruction should not define an IP address or host-port mapping"
            span = instruction.ports[place].span
            yield problem(instruction, f"{message}, found '{port}'", span)


@rule("ExecFormVariable", "The exec form has no shell that would replace variables")
def exec_form_variable(view: View) -> Iterator[Problem]:
    for instruction in view.instructions():
        match triggered(instruction):
            case Run(command=ExecForm(args=args)) | Cmd(command=ExecForm(args=args)):
                pass
            case Entrypoint(command=ExecForm(args=args)):
                pass
            case _:
                continue
        # After -c stands a script, and a shell reads it.
        if any(re.fullmatch(r"-\w*c", arg) for arg in args):
            continue
        found = next(filter(_VARIABLE.search, args), None)
        if found is not None:
            message = f"The variable in '{found}' is not replaced: the exec form has no shell"
            hint = 'use the shell form, or ["sh", "-c", "..."]'
            yield problem(instruction, message, hint=hint)


@rule("BrokenJSONForm", "Text that starts with a bracket should be a JSON array")
def broken_json_form(view: View) -> Iterator[Problem]:
    near = [w for w in view.containerfile.warnings if w.code == "json-fallback"]
    for instruction in view.instructions() if near else ():
        for warning in near:
            if instruction.span.line <= warning.span.line <= instruction.span.end_line:
                yield problem(instruction, warning.message, warning.span, hint=warning.hint)


def _ports(view: View) -> Iterator[tuple[Expose, str, int]]:
    """The ports of all EXPOSE as they expand, each with the index of its word."""
    for _, instruction, variables in view.walk():
        if not isinstance(instruction, Expose):
            continue
        for index, word in enumerate(instruction.ports):
            for port in (view.expand(word, variables) or "").split():
                yield instruction, port, index


RULES = (
    json_args_recommended,
    multiple_instructions_disallowed,
    workdir_relative_path,
    expose_proto_casing,
    expose_invalid_format,
    exec_form_variable,
    broken_json_form,
)
