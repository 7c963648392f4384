"""Codes, their page, and what an error shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import grammar
from grammar import ContainerfileError, ContainerfileErrors, explain, parse
from grammar.explain import explanations

PACKAGE = Path(grammar.__file__).parent
EXAMPLE = re.compile(r"```Dockerfile\n(.*?)```", re.DOTALL)
EXAMPLES = [
    (code, example) for code, text in explanations().items() for example in EXAMPLE.findall(text)
]
CODE = re.compile(r'(?:code|CODE)(?:: str)? ?= ?"([a-z0-9-]+)"|"(bad-[a-z]+)"\)')


def _codes(text: str) -> set[str]:
    try:
        return {warning.code for warning in parse(text, name="f").warnings}
    except ContainerfileErrors as errors:
        return {error.code for error in errors.errors}


def _errors(text: str) -> tuple[ContainerfileError, ...]:
    with pytest.raises(ContainerfileErrors) as caught:
        parse(text, name="f")
    return caught.value.errors


def test_every_code_in_the_source_is_explained_and_every_explained_one_is_in_the_source() -> None:
    modules = [*PACKAGE.glob("*.py"), *(PACKAGE / "values").glob("*.py")]
    found = {
        one or other
        for module in modules
        for one, other in CODE.findall(module.read_text(encoding="utf-8"))
    }
    assert found == set(explanations())


@pytest.mark.parametrize(("code", "example"), EXAMPLES, ids=[code for code, _ in EXAMPLES])
def test_the_example_of_an_explanation_gives_its_code(code: str, example: str) -> None:
    assert _codes(example) == {code}


def test_an_unknown_code_has_no_explanation() -> None:
    assert explain("no-such-code") is None


def test_an_explanation_ends_where_its_chapter_does() -> None:
    assert (explain("directive-repeated") or "").endswith("Keep one.\n")


def test_an_error_as_json_has_its_code_place_and_hint() -> None:
    (error,) = _errors("FROM a\nRUM x\n")
    assert json.loads(json.dumps(error.to_json())) == {
        "severity": "error",
        "code": "unknown-instruction",
        "message": "unknown instruction 'RUM'",
        "file": "f",
        "line": 2,
        "column": 1,
        "end_line": 2,
        "end_column": 4,
        "hint": "did you mean RUN?",
        "notes": [],
    }


def test_a_warning_as_json_says_that_it_is_one() -> None:
    containerfile = parse("FROM a\nCMD ['x']\n", name="f")
    (warning,) = containerfile.warnings
    document = warning.to_json(containerfile.source)
    assert (document["severity"], document["code"], document["column"]) == (
        "warning",
        "json-fallback",
        6,
    )
    assert warning.text(containerfile.source).startswith("f:2:6: warning: this is no JSON array")


def test_an_error_over_several_lines_shows_each_with_its_carets() -> None:
    (error,) = _errors("RUN a \\\n  && b\nFROM x\n")
    assert str(error).splitlines()[1:5] == [
        "    1 | RUN a \\",
        "      | ^^^^^^^",
        "    2 |   && b",
        "      |   ^^^^",
    ]


def test_of_a_long_error_the_first_lines_are_shown() -> None:
    (error,) = _errors("RUN a" + " \\\n b" * 20 + "\nFROM x\n")
    assert str(error).splitlines()[-2] == "  ... | 15 more lines"


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("EOF ", "has blanks after the name"),
        ("  EOF", "has blanks before the name"),
        ("eof", "has another case"),
        ("EOF;", "has something after the name"),
    ],
)
def test_an_open_heredoc_names_the_line_that_nearly_ends_it(end: str, reason: str) -> None:
    (error,) = _errors(f"FROM a\nRUN <<EOF\nx\n{end}\ny\n")
    (note,) = error.notes
    assert reason in note.message
    assert (note.span.line, error.span.line) == (4, 2)


def test_only_so_many_errors_are_printed() -> None:
    with pytest.raises(ContainerfileErrors) as caught:
        parse("FROM a\n" + "RUM x\n" * 1000, name="f")
    assert len(caught.value.errors) == 1000
    assert str(caught.value).endswith("\n\nand 900 more errors")


def test_a_variable_declared_before_from_is_explained() -> None:
    containerfile = parse("ARG A=1\nFROM a\nUSER ${A:?}\nUSER ${HME:?}\n", name="f")
    first, second = containerfile.stages[0].instructions
    assert isinstance(first, grammar.User)
    assert isinstance(second, grammar.User)
    with pytest.raises(ContainerfileError) as caught:
        containerfile.expand(first.user, {})
    assert caught.value.code == "variable-required"
    assert "add ARG A to this stage" in (caught.value.hint or "")
    with pytest.raises(ContainerfileError) as caught:
        containerfile.expand(second.user, {"HOME": "/"})
    assert caught.value.hint == "did you mean HOME?"


def test_a_stage_with_a_near_name_is_suggested() -> None:
    containerfile = parse("FROM a AS build\nFROM b AS final\n", name="f")
    assert grammar.stage_hint(containerfile, "biuld") == "did you mean build?"
    assert grammar.stage_hint(containerfile, "finall", before=1) is None
