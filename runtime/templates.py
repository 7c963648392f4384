"""What `--format` asks for: JSON, or a template of docker's, as far as fields go."""

from __future__ import annotations

import json
import re

from runtime.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_FIELD = re.compile(r"\{\{-?\s*(json\s+)?((?:\.\w+)+|\.)\s*-?\}\}")
_INDEX = re.compile(r'\{\{\s*index\s+((?:\.\w+)+)\s+"([^"]*)"\s*\}\}')


def filled_in(template: str, document: Mapping[str, Any]) -> str:
    """A template with `{{.Field.Field}}`, `{{json .Field}}`, `{{index .Field "name"}}` alone.

    Raises UsageError for a field that is not there.
    """

    def value(match: re.Match[str]) -> str:
        found = _at(match[2], document)
        if match[1] or isinstance(found, (dict, list)):
            return json.dumps(found)
        return _shown(found)

    def entry(match: re.Match[str]) -> str:
        found = _at(match[1], document)
        if not isinstance(found, dict):
            raise UsageError(f"--format: {match[1]} is no table")
        return _shown(found.get(match[2], ""))

    # What stands in a value is not a field.
    pieces, end = [], 0
    for match in re.finditer(r"\{\{.*?\}\}", template):
        text = match[0]
        if field := _FIELD.fullmatch(text):
            filled = value(field)
        elif index := _INDEX.fullmatch(text):
            filled = entry(index)
        else:
            break
        pieces += [template[end : match.start()], filled]
        end = match.end()
    if "{{" in template[end:]:
        raise UsageError(
            f"--format {template!r}: only {{{{.Field}}}} and {{{{json .Field}}}} are known"
        )
    return "".join([*pieces, template[end:]])


def _at(path: str, document: Any) -> Any:
    found = document
    for name in filter(None, path.split(".")):
        if not isinstance(found, dict) or name not in found:
            raise UsageError(f"--format: no field {path} in what is shown")
        found = found[name]
    return found


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Lines whose columns are below each other."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        "   ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
    return "".join(f"{line}\n" for line in lines)


def rows_text(rows: Sequence[Mapping[str, Any]], form: str, titles: Mapping[str, str]) -> str:
    """Rows as `--format` wants them, each on a line.

    `json`: an object each; `table {{.A}}\\t{{.B}}`: with a head of `titles`; else a template.
    Raises UsageError.
    """
    if form == "json":
        return "".join(f"{json.dumps(row)}\n" for row in rows)
    is_table = form.startswith("table ")
    template = form.removeprefix("table ").strip() if is_table else form
    template = template.replace("\\t", "\t").replace("\\n", "\n")
    filled_in(template, dict.fromkeys(titles, ""))  # an error must not wait for a row
    lines = [filled_in(template, row) for row in rows]
    if not is_table:
        return "".join(f"{line}\n" for line in lines)
    lines.insert(0, filled_in(template, titles))
    cells = [line.split("\t") for line in lines]
    width = max(map(len, cells))
    return aligned([row + [""] * (width - len(row)) for row in cells])
