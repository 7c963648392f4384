"""The parsed file as text, for `pybuild --call=ast` and for tests that compare trees.

Both forms are deterministic. JSON has everything; the s-expression leaves out places and
whatever was not written, for reading.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from grammar.containerfile import Containerfile
from grammar.instructions import Instruction, Written
from grammar.parts import ExecForm, Heredoc, ShellForm, Word
from grammar.source import Span

_PLACES = ("span", "name_span", "body_line", "joins", "text", "comments")


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
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def to_sexpr(containerfile: Containerfile) -> str:
    """One instruction on a line, those of a stage indented below its FROM."""
    lines = [_sexpr(arg) for arg in containerfile.preamble]
    for stage in containerfile.stages:
        lines.append(f"(stage {stage.index} {_atom(stage.name or '')}")
        lines += (f"  {_sexpr(each)}" for each in (stage.from_, *stage.instructions))
        lines[-1] += ")"
    return "\n".join(lines) + "\n"


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
    if not is_dataclass(value) or isinstance(value, type):
        return value
    named = {"instruction": _name(value)} if isinstance(value, Written) else {}
    return named | {
        field.name.removesuffix("_"): _json_value(getattr(value, field.name))
        for field in fields(value)
        if field.name != "joins"
    }


def _name(instruction: Written) -> str:
    return type(instruction).__name__.upper()


def _sexpr(instruction: Instruction) -> str:
    return f"({' '.join((_name(instruction).lower(), *_members(instruction)))})"


def _members(value: object) -> Iterator[str]:
    assert is_dataclass(value)
    for field in fields(value):
        member = getattr(value, field.name)
        # `text` is the whole line of an instruction, but the content of a word.
        if field.name in _PLACES or member is None or member is False or member in ((), 0):
            continue
        yield f"({field.name.strip('_')} {_member(member)})"


def _member(member: object) -> str:
    match member:
        case Word() | ShellForm():
            return _atom(member.text)
        case ExecForm():
            return f"({' '.join(map(_atom, member.args))})"
        case Heredoc():
            return f"(heredoc {_atom(member.name)} {_atom(member.body)})"
        case Written():
            return f"({' '.join((_name(member).lower(), *_members(member)))})"
        case tuple():
            return " ".join(map(_member, member))
        case str():
            return _atom(member)
        case bool() | int():
            return str(member).lower()
    return f"({' '.join(_members(member))})"


def _atom(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
