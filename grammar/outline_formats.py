"""The outline and the targets of a file as text and as BuildKit's JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence

from grammar.containerfile import Containerfile
from grammar.outline import Needed, Outline, Target
from grammar.source import Span, printable

Json = dict[str, object]


def targets_to_text(targets: Iterable[Target]) -> str:
    """A table of the targets."""
    rows = []
    for target in targets:
        names = (target.name or "", "(default)" if target.is_default else "")
        rows.append((" ".join(filter(None, names)), target.description))
    return _table(("TARGET", "DESCRIPTION"), rows)


def targets_to_json(containerfile: Containerfile, targets: Iterable[Target]) -> str:
    """The answer to `frontend.targets`."""
    listed = [
        _present(
            name=target.name,
            default=target.is_default,
            description=target.description,
            base=target.base,
            platform=target.platform,
            location=_location(target.span),
        )
        for target in targets
    ]
    return _dump({"targets": listed, "sources": _sources(containerfile)})


def outline_to_text(outline: Outline) -> str:
    """The target, then a table of each kind of thing it takes."""
    head = [f"TARGET:      {outline.target.name or '(default)'}"]
    if outline.target.description:
        head.append(f"DESCRIPTION: {outline.target.description}")
    parts = ["".join(f"{printable(line)}\n" for line in head)]
    if outline.arguments:
        rows = [(a.name, a.value or "", a.description) for a in outline.arguments]
        parts.append(_table(("BUILD ARG", "VALUE", "DESCRIPTION"), rows))
    for title, needed in (("SECRET", outline.secrets), ("SSH", outline.ssh)):
        if needed:
            parts.append(_table((title, "REQUIRED"), [_row(need) for need in needed]))
    return "\n".join(parts)


def outline_to_json(containerfile: Containerfile, outline: Outline) -> str:
    """The answer to `frontend.outline`."""
    arguments = [
        _present(
            name=argument.name,
            description=argument.description,
            value=argument.value,
            location=_location(argument.span),
        )
        for argument in outline.arguments
    ]
    document = _present(
        name=outline.target.name,
        description=outline.target.description,
        args=arguments,
        secrets=[_needed(need) for need in outline.secrets],
        ssh=[_needed(need) for need in outline.ssh],
        cache=[{"ID": need.name, "location": _location(need.span)} for need in outline.caches],
        sources=_sources(containerfile),
    )
    return _dump(document)


def _needed(need: Needed) -> Json:
    return _present(name=need.name, required=need.required, location=_location(need.span))


def _row(need: Needed) -> tuple[str, str]:
    return need.name, "true" if need.required else ""


def _present(**members: object) -> Json:
    """The members that say something: BuildKit leaves out the others."""
    return {name: value for name, value in members.items() if value}


def _location(span: Span) -> Json:
    start = {"line": span.line, "character": span.column - 1}
    end = {"line": span.end_line, "character": span.end_column - 1}
    return {"ranges": [{"start": start, "end": end}]}


def _sources(containerfile: Containerfile) -> list[str]:
    return [base64.b64encode(containerfile.source.text.encode()).decode()]


def _dump(document: Json) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    shown = [titles, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = ("   ".join(map(str.ljust, row, widths)).rstrip() for row in shown)
    return "".join(f"{line}\n" for line in lines)
