"""Parser directives: `# name=value` at the very top
(https://docs.docker.com/reference/dockerfile/, "Parser directives").
"""

from __future__ import annotations

import re

from grammar.errors import ContainerfileError, ContainerfileWarning, quoted
from grammar.limits import MAX_DIRECTIVE_FAULTS
from grammar.record import Record
from grammar.source import Source, Span
from grammar.suggestion import nearest

KNOWN = ("check", "escape", "syntax")

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S.*?)\s*")


class Directive(Record):
    """One directive; the name in lower case, the value as written."""

    name: str
    value: str
    span: Span


class Directives(Record):
    """All directives of a file and what follows from them."""

    found: tuple[Directive, ...]
    escape: str
    line_count: int  # the lines they take


def read_directives(
    source: Source, errors: list[ContainerfileError], warnings: list[ContainerfileWarning]
) -> Directives:
    """Read directives up to the first line that is none; the rest are plain comments."""
    found: dict[str, Directive] = {}
    count = 0
    for number, line in enumerate(source.lines, 1):
        if len(errors) == MAX_DIRECTIVE_FAULTS:
            break
        match = _DIRECTIVE.fullmatch(line.strip())
        name = match.group(1).lower() if match else ""
        if match is None or name not in KNOWN:
            break
        count = number
        indent = len(line) - len(line.lstrip())
        span = Span.within(number, indent + 1, len(line.strip()))
        if name in found:
            message = f"directive {quoted(name)} is repeated"
            hint = f"the first one is on line {found[name].span.line}"
            errors.append(
                ContainerfileError(
                    message, span=span, source=source, hint=hint, code="directive-repeated"
                )
            )
            continue
        start, end = match.span(2)
        value_span = Span.within(number, indent + start + 1, end - start)
        found[name] = Directive(name=name, value=match.group(2), span=value_span)
    if "syntax" in found:
        _warn_of_other_language(found["syntax"], warnings)
    _warn_of_other_directives(source, count, warnings)
    escape = _escape(found.get("escape"), source, errors)
    return Directives(found=tuple(found.values()), escape=escape, line_count=count)


def _warn_of_other_language(directive: Directive, warnings: list[ContainerfileWarning]) -> None:
    image = directive.value.split("@")[0].split(":")[0]
    if image.removeprefix("docker.io/").startswith("docker/dockerfile") or image == "pybuild":
        return
    warnings.append(
        ContainerfileWarning(
            code="other-syntax",
            message=f"the file asks for the language of {quoted(directive.value)}",
            span=directive.span,
            hint="it is read as a Containerfile",
        )
    )


def _warn_of_other_directives(
    source: Source, count: int, warnings: list[ContainerfileWarning]
) -> None:
    """Warn of comments above the first instruction that look like directives and are none."""
    for number, line in enumerate(source.lines[count:], count + 1):
        if len(warnings) >= MAX_DIRECTIVE_FAULTS:
            return
        if line.strip() and not line.lstrip().startswith("#"):
            return
        match = _DIRECTIVE.fullmatch(line.strip())
        name = match.group(1).lower() if match else ""
        # `# check=` above an instruction is the linter's business, not a directive.
        near = name if name in KNOWN else nearest(name, KNOWN) if number == count + 1 else None
        if not near or near == "check":
            continue
        hint = "directives stand at the very top, without a blank line or comment above"
        if near != name:
            hint = f"did you mean {near}?"
        warnings.append(
            ContainerfileWarning(
                code="directive-ignored",
                message=f"this is a comment, not the directive {quoted(near)}",
                span=Span.within(number, len(line) - len(line.lstrip()) + 1, len(line.strip())),
                hint=hint,
            )
        )


def _escape(directive: Directive | None, source: Source, errors: list[ContainerfileError]) -> str:
    if directive is None or directive.value in ("\\", "`"):
        return directive.value if directive else "\\"
    message = f"the escape character cannot be {quoted(directive.value)}"
    hint = "it is \\ or `"
    errors.append(
        ContainerfileError(
            message, span=directive.span, source=source, hint=hint, code="bad-escape"
        )
    )
    return "\\"
