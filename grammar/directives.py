"""Parser directives: `# name=value` at the very top
(https://docs.docker.com/reference/dockerfile/, "Parser directives").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from grammar.errors import ContainerfileError, quoted
from grammar.source import Source, Span

KNOWN = ("check", "escape", "syntax")

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S.*?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One directive; the name in lower case, the value as written."""

    name: str
    value: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Directives:
    """All directives of a file and what follows from them."""

    found: tuple[Directive, ...]
    escape: str
    line_count: int  # the lines they take


def read_directives(source: Source, errors: list[ContainerfileError]) -> Directives:
    """Read directives up to the first line that is none; the rest are plain comments."""
    found: dict[str, Directive] = {}
    count = 0
    for number, line in enumerate(source.lines, 1):
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
            errors.append(ContainerfileError(message, span=span, source=source, hint=hint))
            continue
        start, end = match.span(2)
        value_span = Span.within(number, indent + start + 1, end - start)
        found[name] = Directive(name=name, value=match.group(2), span=value_span)
    escape = _escape(found.get("escape"), source, errors)
    return Directives(found=tuple(found.values()), escape=escape, line_count=count)


def _escape(directive: Directive | None, source: Source, errors: list[ContainerfileError]) -> str:
    if directive is None or directive.value in ("\\", "`"):
        return directive.value if directive else "\\"
    message = f"the escape character cannot be {quoted(directive.value)}"
    hint = "it is \\ or `"
    errors.append(ContainerfileError(message, span=directive.span, source=source, hint=hint))
    return "\\"
