"""The parsed file as JSON with everything in it, for `pybuild --call=ast` and for tests.

The shorter form is in sexpr.py.
"""

from __future__ import annotations

import json

from grammar.containerfile import Containerfile
from grammar.instructions import Written
from grammar.parts import ExecForm, ShellForm
from grammar.record import Record, fields_of
from grammar.sexpr import to_sexpr
from grammar.source import Span

__all__ = ["to_json", "to_sexpr"]


def to_json(containerfile: Containerfile) -> str:
    """Every field, with spans as `line:column-end_line:end_column`."""
    document = {
        "escape": containerfile.escape,
        "directives": _json_value(containerfile.directives),
        "preamble": _json_value(containerfile.preamble),
        "stages": [
            {
                "span": _json_value(stage.span),
                "index": stage.index,
                "name": stage.name,
                "from": _json_value(stage.from_),
                "instructions": _json_value(stage.instructions),
            }
            for stage in containerfile.stages
        ],
        "blank_continuations": list(containerfile.blank_continuations),
        "warnings": _json_value(containerfile.warnings),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _json_value(value: object) -> object:
    match value:
        case Span():
            return f"{value.line}:{value.column}-{value.end_line}:{value.end_column}"
        case ShellForm():
            return {"shell": value.text}
        case ExecForm():
            return {"exec": list(value.args)}
        case tuple():
            return [_json_value(item) for item in value]
    if not isinstance(value, Record):
        return value
    named = {"instruction": _name(value)} if isinstance(value, Written) else {}
    return named | {
        name.removesuffix("_"): _json_value(member)
        for name, member in fields_of(value)
        if name != "joins"
    }


def _name(instruction: Written) -> str:
    return type(instruction).__name__.upper()
