"""The tokens of HCL's expressions and bodies (HCL native syntax specification)."""

from __future__ import annotations

import re
import textwrap

from buildkit.bake.problems import Problem
from runtime.record import Record

NUMBER, NAME, TEXT, LINES, SIGN, END = "number", "name", "text", "lines", "sign", "end"
_SPACE = re.compile(r"(?:\s+|#[^\n]*|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NAME = re.compile(r"[^\W\d][\w-]*")
_SIGN = re.compile(r"==|!=|<=|>=|=>|&&|\|\||\.\.\.|[-+*/%!<>=?:.,()\[\]{}]")
_HEREDOC = re.compile(r"<<(-?)([^\W\d][\w-]*)\r?\n")


class Token(Record):
    """A token; of a string and a heredoc `text` is what stands in it, as it was written."""

    kind: str
    text: str
    line: int


def tokens_of(text: str) -> list[Token]:
    """All tokens, and an END; raises Problem."""
    found: list[Token] = []
    position, line = 0, 1

    def add(kind: str, content: str, end: int) -> None:
        nonlocal position, line
        found.append(Token(kind=kind, text=content, line=line))
        line += text.count("\n", position, end)
        position = end

    while position < len(text):
        if space := _SPACE.match(text, position):
            line += text.count("\n", position, space.end())
            position = space.end()
        elif text[position] == '"':
            end = _string_end(text, position + 1)
            add(TEXT, text[position + 1 : end - 1], end)
        elif heredoc := _HEREDOC.match(text, position):
            content, end = _heredoc(text, heredoc)
            add(LINES, content, end)
        elif number := _NUMBER.match(text, position):
            add(NUMBER, number[0], number.end())
        elif name := _NAME.match(text, position):
            add(NAME, name[0], name.end())
        elif sign := _SIGN.match(text, position):
            add(SIGN, sign[0], sign.end())
        else:
            raise Problem(f"line {line}: {text[position]!r} is not expected")
    found.append(Token(kind=END, text="", line=line))
    return found


def template_parts(text: str) -> list[tuple[bool, str]]:
    """Literal text (False) and expressions (True) of a string, in order; raises Problem."""
    parts: list[tuple[bool, str]] = []
    literal, position = "", 0
    while position < len(text):
        if text.startswith(("$${", "%%{"), position):
            literal += text[position + 1 : position + 3]
            position += 3
        elif text.startswith("%{", position):
            raise Problem("%{…} is not read; %%{ stands for the characters")
        elif text.startswith("${", position):
            end = _expression_end(text, position + 2)
            if literal:
                parts.append((False, literal))
            literal = ""
            parts.append((True, text[position + 2 : end].strip("~")))
            position = end + 1
        else:
            literal += text[position]
            position += 1
    if literal or not parts:
        parts.append((False, literal))
    return parts


def _expression_end(text: str, position: int) -> int:
    """Where the `}` of an expression is, which may have strings and braces in it."""
    depth = 0
    while position < len(text):
        character = text[position]
        if character == '"':
            position = _string_end(text, position + 1)
            continue
        if character == "}" and not depth:
            return position
        depth += (character == "{") - (character == "}")
        position += 1
    raise Problem("${ without its }")


def _string_end(text: str, position: int) -> int:
    """What comes after the closing quote of a string, which may have expressions in it."""
    while position < len(text):
        if text[position] == "\\":
            position += 2
        elif text.startswith(("$${", "%%{"), position):
            position += 3
        elif text.startswith("${", position):
            position = _expression_end(text, position + 2) + 1
        elif text[position] == '"':
            return position + 1
        else:
            position += 1
    raise Problem('" without its end')


def _heredoc(text: str, start: re.Match[str]) -> tuple[str, int]:
    """The lines of a heredoc, and where it ends."""
    position = start.end()
    lines: list[str] = []
    while position < len(text):
        end = text.find("\n", position) + 1 or len(text)
        line = text[position:end]
        position = end
        if line.strip() == start[2]:
            content = "".join(lines)
            return textwrap.dedent(content) if start[1] else content, position
        lines.append(line)
    raise Problem(f"<<{start[2]} without its end")
