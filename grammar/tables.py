"""The lark parser of containerfile.lark, from tables that are part of the package.

Making the tables costs about 20 ms, reading them 3 ms. `python -m grammar.make_tables` writes
containerfile.tables.json, and a test compares it with the grammar, so a start neither makes tables
nor reads a file that somebody else could have written. JSON, not the pickle of lark's own
cache: whoever can change data of a package must not thereby run code.

The layout of the tables is lark's own affair. Where this lark may have another one, or no tables
are there, the parser is made from the grammar in memory, which is slower but the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lark import Lark

TABLES = "containerfile.tables.json"
GRAMMAR = "containerfile.lark"
# Series whose layout is the same: the tests of this package passed with a version of each.
SERIES = ("1.1", "1.2", "1.3")

# How the grammar file writes the escape character.
_ESCAPE_IN_GRAMMAR = r"[\\]"


@cache
def parser_for(escape: str) -> Lark:
    """The LALR parser of one instruction, for one escape character."""
    import lark  # not at the top: a program that only needs the types should not pay for it

    if lark.__version__.rpartition(".")[0] in SERIES:
        try:
            return lark.Lark.load(_tables(escape))  # it takes a dict as well as a file
        except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError):
            pass  # no tables, or another layout after all
    return build(escape)


def build(escape: str) -> Lark:
    """The parser made from the grammar itself."""
    from lark import Lark

    return Lark(_with_escape(_read(GRAMMAR), escape), parser="lalr", propagate_positions=False)


def serialized() -> dict[str, Any]:
    """The tables for the backslash; the other escape character differs in patterns only."""
    from lark.grammar import Rule
    from lark.lexer import TerminalDef

    data, memo = build("\\").memo_serialize([TerminalDef, Rule])
    # An option that has no effect here, and that older versions refuse to read.
    data["options"].pop("cache_grammar", None)
    grammar = hashlib.sha256(_read(GRAMMAR).encode()).hexdigest()
    return {"grammar": grammar, "data": data, "memo": memo}


def _tables(escape: str) -> dict[str, Any]:
    text = _read(TABLES)
    # In the file the pattern is a JSON string.
    written, wanted = (
        json.dumps(_with_escape(_ESCAPE_IN_GRAMMAR, e))[1:-1] for e in ("\\", escape)
    )
    tables: dict[str, Any] = json.loads(text.replace(written, wanted), object_hook=_numbered)
    return tables


def _numbered(value: dict[str, Any]) -> dict[Any, Any]:
    """JSON has no numbers as keys; lark's tables have."""
    return {int(key) if key.isdecimal() else key: each for key, each in value.items()}


def _with_escape(grammar: str, escape: str) -> str:
    return grammar.replace(
        _ESCAPE_IN_GRAMMAR, _ESCAPE_IN_GRAMMAR if escape == "\\" else f"[{escape}]"
    )


def path_of(name: str) -> str:
    """Where a data file of this package is. Importing importlib.resources would cost 10 ms."""
    return os.path.join(os.path.dirname(__file__), name)


def _read(name: str) -> str:
    with open(path_of(name), encoding="utf-8") as file:
        return file.read()
