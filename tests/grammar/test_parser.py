"""What `parse` promises beyond the golden cases: places, limits, and every error at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from grammar import (
    Cmd,
    Containerfile,
    ContainerfileError,
    ContainerfileErrors,
    Copy,
    Onbuild,
    Run,
    ShellForm,
    Word,
    parse,
    parse_trigger,
)
from grammar.record import Record, fields_of

CASES = sorted((Path(__file__).parent / "cases").iterdir())


def _errors(text: bytes | str) -> tuple[ContainerfileError, ...]:
    with pytest.raises(ContainerfileErrors) as caught:
        parse(text, name="f")
    return caught.value.errors


def _words(value: object) -> Iterator[Word]:
    if isinstance(value, Word):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _words(item)
    elif isinstance(value, Record):
        for _, member in fields_of(value):
            yield from _words(member)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_span_of_every_word_holds_its_text(case: Path) -> None:
    containerfile = parse((case / "Containerfile").read_bytes(), name="f")
    for word in _words(containerfile):
        # Across a continuation or in a JSON string with escapes the source has more.
        if word.span.line == word.span.end_line and "\\" not in word.text + _slice(
            containerfile, word
        ):
            assert _slice(containerfile, word) == word.text


def _slice(containerfile: Containerfile, word: Word) -> str:
    return containerfile.source.slice(word.span)


def test_an_error_shows_place_excerpt_and_hint() -> None:
    text = "FROM scratch\n\n\nRUM dnf -y install nginx\n"
    with pytest.raises(ContainerfileErrors) as caught:
        parse(text, name="examples/web/Containerfile")
    assert str(caught.value) == (
        "examples/web/Containerfile:4:1: unknown instruction 'RUM'\n"
        "    4 | RUM dnf -y install nginx\n"
        "      | ^^^\n"
        "hint: did you mean RUN?"
    )


def test_all_errors_are_reported_in_the_order_of_the_file() -> None:
    errors = _errors("FROM a\nRUM x\nENV A=${\nRUN <<E\n")
    assert [(error.span.line, error.message) for error in errors] == [
        (2, "unknown instruction 'RUM'"),
        (3, "missing '}'"),
        (4, "heredoc 'E' is opened here and never closed"),
    ]


def test_a_misspelt_from_does_not_make_the_rest_wrong() -> None:
    assert [error.span.line for error in _errors("FRMO a\nRUN x\nENV A=b\n")] == [1]


def test_an_error_on_a_continued_line_points_at_the_line_of_the_word() -> None:
    (error,) = _errors("FROM a\nCOPY --from=b \\\n  # c\n  --chwon=1 \\\n  x y\n")
    assert (error.span.line, error.span.column, error.hint) == (4, 3, "did you mean --chown?")


def test_an_error_in_a_word_split_by_a_continuation_has_the_right_column() -> None:
    (error,) = _errors("FROM a\nENV A=abc\\\n  B\\\nd${x:=y}\n".replace("  B", "B"))
    assert (error.span.line, error.span.column) == (4, 5)


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        (b"", "the file is empty", (1, 1)),
        (b"# only\n\n", "no instructions", (1, 1)),
        (b"ARG a\n", "no FROM", (1, 1)),
        (b"RUN x\nFROM a\n", "RUN stands before the first FROM", (1, 1)),
        (b"FROM a\nRUN \xff\n", "byte 0xff is not UTF-8", (2, 5)),
        (b"FROM \xc3\xa9 AS\x00 b\n", "NUL character", (1, 10)),
        ("FROM a\nRUN \ud800\n", "a surrogate has no UTF-8", (2, 5)),
        (
            "FROM a\nRUN " + "x" * 65_532,
            "the line is 65536 bytes long, the limit is 65535",
            (2, 1),
        ),
    ],
)
def test_what_is_no_containerfile_is_refused(
    text: bytes | str, message: str, place: tuple[int, int]
) -> None:
    (error,) = _errors(text)
    assert (error.message, (error.span.line, error.span.column)) == (message, place)


def test_a_line_of_the_greatest_length_is_read() -> None:
    assert parse("FROM a\nRUN " + "x" * 65_531, name="f").stages[0].instructions


def test_a_byte_order_mark_and_windows_line_ends_change_nothing() -> None:
    plain = parse("FROM a\nRUN b \\\n c\n", name="f")
    windows = parse(b"\xef\xbb\xbfFROM a\r\nRUN b \\\r\n c\r\n", name="f")
    assert windows.stages == plain.stages


def test_errors_in_expansion_point_into_the_word() -> None:
    containerfile = parse("FROM a\nWORKDIR /a/${b:?not given}\n", name="f")
    (word,) = _words(containerfile.stages[0].instructions)
    with pytest.raises(ContainerfileError) as caught:
        containerfile.expand(word, {})
    assert caught.value.message == "b: not given"
    assert containerfile.source.slice(caught.value.span) == "${b:?not given}"


def test_errors_in_a_heredoc_point_into_its_body() -> None:
    containerfile = parse("FROM a\nCOPY <<-E /d\n\tx\n\ty${b:?no}\n\tE\n", name="f")
    (copy,) = containerfile.stages[0].instructions
    assert isinstance(copy, Copy)
    with pytest.raises(ContainerfileError) as caught:
        containerfile.expand_heredoc(copy.heredocs[0], {})
    assert (caught.value.span.line, caught.value.span.column) == (4, 3)


def test_words_of_a_quoted_package_list_are_literal() -> None:
    text = "FROM scratch\nBOOTSTRAP <<'E'\n$a\nE\nBOOTSTRAP <<E\n$a\nE\n"
    containerfile = parse(text, name="f")
    words = list(_words(containerfile.stages[0].instructions))
    assert [containerfile.expand(word, {"a": "bash"}) for word in words] == ["$a", "bash"]


def test_a_trigger_reads_back_as_the_instruction_it_was() -> None:
    text = "FROM a\nONBUILD RUN --network=none cat <<-E\n\tx\n\tE\n"
    (onbuild,) = parse(text, name="f").stages[0].instructions
    assert isinstance(onbuild, Onbuild)
    run = parse_trigger(onbuild.trigger, name="trigger")
    assert isinstance(run, Run)
    assert run.command == ShellForm(text="cat <<-E")
    assert [doc.body for doc in run.heredocs] == ["x\n"]
    assert run.text == onbuild.instruction.text


def test_a_trigger_of_two_instructions_is_refused() -> None:
    with pytest.raises(ContainerfileErrors, match="a trigger is one instruction, found 2"):
        parse_trigger("RUN a\nRUN b", name="trigger")


def test_a_control_sequence_does_not_reach_the_terminal() -> None:
    (error,) = _errors("FROM a\n\x1b[31mRUM x\n")
    assert "\x1b" not in str(error)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("RUN " + "x" * 10_000_000, "the line is 10000004 bytes long, the limit is 65535"),
        ("ENV A=" + '"${a:-' * 10_000, "variables nested more than 50 deep"),
        ("ONBUILD " * 8_000 + "RUN x", "ONBUILD cannot hold ONBUILD"),
        ("RUN cat " + "<<A " * 10_000, "heredoc 'A' is opened here and never closed"),
    ],
    ids=["long line", "deep variables", "deep onbuild", "many heredocs"],
)
def test_a_hostile_line_is_one_error(line: str, message: str) -> None:
    assert [error.message for error in _errors(f"FROM a\n{line}\n")] == [message]


def test_brackets_without_end_are_text_for_the_shell() -> None:
    (cmd,) = parse("FROM a\nCMD " + "[" * 60_000, name="f").stages[0].instructions
    assert isinstance(cmd, Cmd)
    assert cmd.command == ShellForm(text="[" * 60_000)
