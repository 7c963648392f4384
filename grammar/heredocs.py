"""Here-documents: finding their markers in a logical line
(https://docs.docker.com/reference/dockerfile/, "Here-documents").

RUN is read as a shell would read it: quotes, comments and arithmetic such as `$((1 << 2))`
hold no markers, and `<<EOF)` ends before the bracket. In the other instructions a marker is a
blank-separated word. The escape character is always the backslash here, whatever `# escape=`
says.
"""

from __future__ import annotations

import re

from grammar.json_form import string_array
from grammar.record import Record

_INSTRUCTION = re.compile(
    r"\s*+(?:ONBUILD\s++)?(RUN|COPY|ADD|BOOTSTRAP)\s++(?:--\S*+\s*+)*+", re.I
)

_QUOTED = r"""'[^']*+'|"(?:[^"\\]|\\.)*+\""""
_MARKER = r"(?P<marker>(?P<fd>\d*+)<<(?P<dash>-?)[ \t]*+(?P<name>(?:%s|\\.|" + _QUOTED + r")++))"
_MARKER_IN_SHELL = _MARKER % r"""[^\s<>;|&()'"\\]"""
_MARKER_IN_WORDS = _MARKER % r"""[^\s<'"\\]"""
_IN_SHELL = re.compile(
    rf"""
      \\.
    | {_QUOTED}
    | (?P<comment>(?<!\S)\#.*)
    | (?P<arithmetic>\$?\(\()
    | (?P<open>\() | (?P<close>\))
    | <<<++
    | (?<![^\s;|&()]){_MARKER_IN_SHELL}
    | [^\\'"\#$()<\d\s]++ | \s++ | \d++ | .
    """,
    re.VERBOSE,
)
_IN_WORDS = re.compile(rf"(?<!\S){_MARKER_IN_WORDS}(?!\S)")
_NAME_PART = re.compile(r"""\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)"|([^\\'"]+)""")


class Marker(Record):
    """`3<<-"EOF"` as read; `start` and `end` are offsets in the logical line."""

    name: str
    expand: bool
    strip_tabs: bool
    fd: int | None
    start: int
    end: int


def markers(line: str) -> tuple[Marker, ...]:
    """The heredocs that a logical line opens, in order."""
    head = _INSTRUCTION.match(line) if "<<" in line else None
    if head is None or string_array(line[head.end() :]) is not None:
        return ()
    is_shell = head.group(1).upper() == "RUN"
    found = _shell_markers(line, head.end()) if is_shell else _IN_WORDS.finditer(line, head.end())
    return tuple(filter(None, map(_marker, found)))


def _shell_markers(line: str, start: int) -> list[re.Match[str]]:
    found: list[re.Match[str]] = []
    arithmetic = 0  # open brackets since `((`
    for match in _IN_SHELL.finditer(line, start):
        match match.lastgroup:
            case "arithmetic":
                arithmetic += 2
            case "open" if arithmetic:
                arithmetic += 1
            case "close" if arithmetic:
                arithmetic -= 1
            case "marker" if not arithmetic:
                found.append(match)
    return found


def _marker(match: re.Match[str]) -> Marker | None:
    written = match.group("name")
    name = "".join(map(_bare, _NAME_PART.finditer(written)))
    if not name:
        return None
    return Marker(
        name=name,
        # A backslash in the name does not quote it, unlike in a shell: BuildKit decided so.
        expand="'" not in re.sub(r"\\.", "", written) and '"' not in re.sub(r"\\.", "", written),
        strip_tabs=match.group("dash") == "-",
        fd=int(match.group("fd")[:9]) if match.group("fd") else None,
        start=match.start("marker"),
        end=match.end("marker"),
    )


def _bare(match: re.Match[str]) -> str:
    escaped, single, double, plain = match.groups()
    if double is not None:
        return re.sub(r'\\(["$\\])', r"\1", double)
    return str(next(part for part in (escaped, single, plain) if part is not None))
