"""docker-bake files in HCL, as the documents that those in JSON are.

Read are blocks, attributes, and expressions as `expressions` has them; `for` is refused.
"""

from __future__ import annotations

from typing import Any

from buildkit.bake.expressions import Expression, Reader
from buildkit.bake.json_file import BakeFile
from buildkit.bake.problems import Problem
from buildkit.bake.tokens import END, NAME, TEXT, template_parts, tokens_of


def read_hcl(name: str, text: bytes) -> BakeFile:
    """For each kind of block its bodies by name, and what stands outside; raises Problem."""
    try:
        reader = Reader(tokens_of(text.decode()))
        document: dict[str, Any] = {}
        attributes: dict[str, Any] = {}
        while reader.next.kind != END:
            line = reader.next.line
            kind, labels, body = _item(reader)
            if body is None:
                if kind in attributes:
                    raise Problem(f"line {line}: {kind} stands twice in the file")
                reader.expect("=")
                attributes[kind] = Expression(reader.expression())
                continue
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
    return BakeFile(name=name, document=document, attributes=attributes)


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
