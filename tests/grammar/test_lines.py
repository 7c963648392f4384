"""The line pass: what becomes one logical line, and what is dropped."""

from __future__ import annotations

import pytest

from grammar.errors import ContainerfileError
from grammar.lines import LogicalLine, read_lines
from grammar.source import Source


def _read(text: str, escape: str = "\\") -> tuple[LogicalLine, ...]:
    errors: list[ContainerfileError] = []
    lines = tuple(read_lines(Source("f", text), escape=escape, skip=0, errors=errors))
    assert not errors
    return lines


# source | the logical lines
CASES = [
    ("RUN a\nRUN b", ["RUN a", "RUN b"]),
    ("  RUN a  \n\n\tRUN b\t", ["RUN a", "RUN b"]),
    ("RUN a \\\n  b", ["RUN a   b"]),
    ("RUN a\\\nb", ["RUN ab"]),
    ("RUN a \\ \t\n b", ["RUN a  b"]),
    ("RUN a \\\\\nRUN b", ["RUN a \\\\", "RUN b"]),
    ("RUN a \\\r\n b\r\nRUN c\r\n", ["RUN a  b", "RUN c"]),
    ("# c\nRUN a # no comment", ["RUN a # no comment"]),
    ("RUN a \\\n# c \\\n  # c\n b", ["RUN a  b"]),
    ("RUN a \\\n\n\n b", ["RUN a  b"]),
    ("RUN a \\", ["RUN a"]),
    ("\\\nRUN a", ["RUN a"]),
    ("# c \\\nRUN a", ["RUN a"]),
    ("RUN a\fb\u2028c", ["RUN a\fb\u2028c"]),
    ("", []),
    ("\n  \n# c\n", []),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_lines_are_joined_and_comments_dropped(text: str, expected: list[str]) -> None:
    assert [line.text for line in _read(text)] == expected


def test_the_backtick_continues_a_line_when_it_is_the_escape_character() -> None:
    assert [line.text for line in _read("RUN a `\n b\\\nRUN c", "`")] == ["RUN a  b\\", "RUN c"]


# source | (name, body) of each heredoc | number of instructions
HEREDOCS = [
    ("RUN <<E\na\nE\nRUN b", [("E", "a\n")], 2),
    ("RUN <<E\nE", [("E", "")], 1),
    ("RUN <<E\n# kept\n\n  a \\\nE", [("E", "# kept\n\n  a \\\n")], 1),
    ("RUN <<-E\n\ta\n\t\tb\n  c\n\tE", [("E", "a\nb\n  c\n")], 1),
    ("RUN <<- E\n\ta\nE", [("E", "a\n")], 1),
    ("RUN <<  E\na\nE", [("E", "a\n")], 1),
    ("RUN <<E\r\na\r\nE\r\n", [("E", "a\n")], 1),
    ("RUN cat 3<<A - <<B\nB\nA\nA\nB", [("A", "B\n"), ("B", "A\n")], 1),
    ("RUN cat <<A \\\n  <<B\na\nA\nb\nB", [("A", "a\n"), ("B", "b\n")], 1),
    ("RUN cat <<E>/f\na\nE", [("E", "a\n")], 1),
    ("RUN (cat <<E)\na\nE", [("E", "a\n")], 1),
    ("RUN <<$x\na\n$x", [("$x", "a\n")], 1),
    ("RUN <<'a b'\nx\na b", [("a b", "x\n")], 1),
    ("COPY <<a;b /d\nx\na;b", [("a;b", "x\n")], 1),
    ("ONBUILD COPY <<E /d\nx\nE", [("E", "x\n")], 1),
    ("add <<E /d\nx\nE", [("E", "x\n")], 1),
    ("RUN --mount=type=tmpfs,target=/x <<E\nx\nE", [("E", "x\n")], 1),
    ('RUN ["cat", "<<E"]\nRUN x', [], 2),
    ("USER <<E\nRUN x", [], 2),
    ("ENV A=<<E\nRUN x", [], 2),
    ('RUN echo "<<E"\nRUN x', [], 2),
    ("RUN echo '<<E'\nRUN x", [], 2),
    ("RUN echo \\<<E\nRUN x", [], 2),
    ("RUN cat <<<E\nRUN x", [], 2),
    ("RUN echo $((1 << 2))\nRUN x", [], 2),
    ("RUN echo $((x<<2)) $(( (1) << 2 ))\nRUN x", [], 2),
    ("RUN echo $((1 << 2)) <<E\nx\nE", [("E", "x\n")], 1),
    ("RUN echo # <<E\nRUN x", [], 2),
    ("RUN echo a#b <<E\nx\nE", [("E", "x\n")], 1),
    ("RUN cat<<E\nRUN x", [], 2),
    ("RUN cat <<\nRUN x", [], 2),
]


@pytest.mark.parametrize(("text", "heredocs", "count"), HEREDOCS)
def test_heredocs_are_found_where_a_shell_would_find_them(
    text: str, heredocs: list[tuple[str, str]], count: int
) -> None:
    lines = _read(text)
    assert [(doc.name, doc.body) for doc in lines[0].heredocs] == heredocs
    assert len(lines) == count


@pytest.mark.parametrize(
    ("marker", "name", "expand"),
    [
        ("<<E", "E", True),
        ("<<'E'", "E", False),
        ('<<"E"', "E", False),
        ("<<E'O'F", "EOF", False),
        ("<<eo\\'f", "eo'f", True),
        ("<<'e'o\\'f", "eo'f", False),
    ],
)
def test_a_quoted_delimiter_turns_expansion_off(marker: str, name: str, expand: bool) -> None:
    (line,) = _read(f"RUN {marker}\n{name}")
    assert [(doc.name, doc.expand) for doc in line.heredocs] == [(name, expand)]


def test_a_heredoc_keeps_its_file_descriptor() -> None:
    (line,) = _read("RUN cat 3<<A <<B\nA\nB")
    assert [doc.fd for doc in line.heredocs] == [3, None]


@pytest.mark.parametrize(
    ("text", "comments"),
    [
        ("# a\n#b\nRUN x", ("a", "b")),
        ("# a\n\nRUN x", ()),
        ("# a\n#\n# b\nRUN x", ("b",)),
        ("RUN x", ()),
    ],
)
def test_comments_right_above_are_kept(text: str, comments: tuple[str, ...]) -> None:
    assert _read(text)[0].comments == comments


def test_blank_lines_in_a_continuation_are_remembered() -> None:
    assert _read("RUN a \\\n\n b")[0].blank_lines == (2,)


def test_every_offset_maps_to_the_character_it_came_from() -> None:
    source = Source("f", "  RUN a \\\n# c\n\n  bc \\\n d")
    (line,) = read_lines(source, escape="\\", skip=0, errors=[])
    for offset, char in enumerate(line.text):
        assert source.slice(line.span(offset, offset + 1)) == char
