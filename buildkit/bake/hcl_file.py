"""docker-bake files in HCL, as the documents that those in JSON are.

Read are blocks, attributes, and expressions as `expressions` has them; refused are `for`,
functions of one's own, and attributes outside of blocks.
"""

from __future__ import annotations

from typing import Any

from buildkit.bake.expressions import Expression, Reader
from buildkit.bake.problems import Problem
from buildkit.bake.tokens import END, NAME, TEXT, template_parts, tokens_of


def read_hcl(text: bytes) -> dict[str, Any]:
    """The document: for each kind of block its bodies by name; raises Problem."""
    try:
        reader = Reader(tokens_of(text.decode()))
        document: dict[str, Any] = {}
        while reader.next.kind != END:
            line = reader.next.line
            kind, labels, body = _item(reader)
            if body is None:
                raise Problem(f"line {line}: {kind}: attributes stand in blocks")
            if len(labels) != 1:
                raise Problem(f"line {line}: {kind}: one name expected")
            blocks = document.setdefault(kind, {})
            if labels[0] in blocks:
                raise Problem(f"line {line}: {kind} {labels[0]!r} stands twice in the file")
            blocks[labels[0]] = body
    except UnicodeDecodeError:
        raise Problem("not UTF-8") from None
    except RecursionError:
        raise Problem("nested too deeply") from None
    return document


def _item(reader: Reader) -> tuple[str, list[str], dict[str, Any] | None]:
    """The name of a block, its labels and what is in it."""
    if reader.next.kind != NAME:
        raise reader.problem("a block expected")
    kind = reader.take().text
    labels = []
    while reader.next.kind in (NAME, TEXT):
        token = reader.take()
        if any(is_expression for is_expression, _ in template_parts(token.text)):
            raise Problem(f"line {token.line}: a name has no ${{…}}")
        labels.append(token.text)
    if reader.next.text == "=" and not labels:
        return kind, labels, None
    reader.expect("{")
    return kind, labels, _body(reader)


def _body(reader: Reader) -> dict[str, Any]:
    """The attributes of a block, and lists of the blocks in it."""
    body: dict[str, Any] = {}
    while not reader.sign("}"):
        line = reader.next.line
        name, labels, inner = _item(reader)
        if inner is None:
            reader.expect("=")
            if name in body:
                raise Problem(f"line {line}: {name} stands twice in a block")
            body[name] = Expression(reader.expression())
        elif labels or not isinstance(body.setdefault(name, []), list):
            raise Problem(f"line {line}: {name}: a block without a name expected")
        else:
            body[name].append(inner)
    return body
