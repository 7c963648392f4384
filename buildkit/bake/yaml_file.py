"""YAML as compose files have it: the core schema of YAML 1.2, with merge keys (`<<`).

No tags, no key twice in a mapping, and no aliases that make a small file a large document.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from buildkit.bake.problems import Problem

_MOST_NODES = 100_000  # with aliases followed
_CORE = "tag:yaml.org,2002:"
_MERGE = f"{_CORE}merge"
_SCALARS = tuple(_CORE + name for name in ("str", "null", "bool", "int", "float"))


class _Loader(yaml.SafeLoader):
    """pyyaml reads YAML 1.1, in which `on` is true and 22:22 a number."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _starts = [character if character != "\0" else "" for character in _first]
    _Loader.add_implicit_resolver(_CORE + _tag, re.compile(f"^(?:{_pattern})$"), _starts)


def read_yaml(text: bytes) -> Any:
    """The one document of a file: dict with keys of text, list, str, int, float, bool, None.

    Raises Problem.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            return None
        if _count(node, {}) > _MOST_NODES:
            raise Problem(f"more than {_MOST_NODES} values, with its aliases")
        return _value(node, {})
    except RecursionError:
        raise Problem("nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}: " if mark is not None else ""
        raise Problem(f"not YAML: {place}{error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Problem(f"not YAML: {' '.join(str(error).split())}") from None


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node is when its aliases are followed."""
    if id(node) in known:
        if not known[id(node)]:
            raise Problem(f"{_line(node)}: an alias stands inside of what it is for")
        return known[id(node)]
    known[id(node)] = 0
    count = 1 + sum(_count(child, known) for child in _children(node))
    known[id(node)] = count
    return count


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _value(node: yaml.Node, known: dict[int, Any]) -> Any:
    if id(node) not in known:
        if isinstance(node, yaml.MappingNode):
            _check_tag(node, f"{_CORE}map")
            known[id(node)] = _mapping(node, known)
        elif isinstance(node, yaml.SequenceNode):
            _check_tag(node, f"{_CORE}seq")
            known[id(node)] = [_value(child, known) for child in node.value]
        else:
            known[id(node)] = _scalar(node)
    return known[id(node)]


def _scalar(node: yaml.Node) -> Any:
    text = str(node.value)
    if node.tag == _MERGE:
        return text
    _check_tag(node, *_SCALARS)
    try:
        text.encode()
        match node.tag.removeprefix(_CORE):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            case "float":
                return float(text)
    except ValueError as error:
        raise Problem(f"{_line(node)}: {error}") from None
    return text


def _mapping(node: yaml.MappingNode, known: dict[int, Any]) -> dict[str, Any]:
    own: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key_node, value_node in node.value:
        value = _value(value_node, known)
        if key_node.tag == _MERGE:
            for mapping in value if isinstance(value, list) else [value]:
                if not isinstance(mapping, dict):
                    raise Problem(f"{_line(value_node)}: << takes mappings")
                merged = mapping | merged  # earlier ones count more
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            raise Problem(f"{_line(key_node)}: a key is text")
        key = str(key_node.value)
        if key in own:
            raise Problem(f"{_line(key_node)}: key {key!r} stands twice in a mapping")
        own[key] = value
    return merged | own


def _check_tag(node: yaml.Node, *known: str) -> None:
    if node.tag not in known:
        raise Problem(f"{_line(node)}: the tag {node.tag.replace(_CORE, '!!')} is not read")


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
