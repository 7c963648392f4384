"""COPY and ADD before anything is read: destinations, flags, heredocs."""

from __future__ import annotations

import pytest

from grammar.values import OctalMode
from tests.buildkit.planning import copy_step


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("COPY a /d", "/d", id="a name"),
        pytest.param("COPY a /d/", "/d/", id="a final slash"),
        pytest.param("COPY a d", "/w/d", id="relative to WORKDIR"),
        pytest.param("COPY a .", "/w/", id="a dot"),
        pytest.param("COPY a ./", "/w/", id="a dot with a slash"),
        pytest.param("COPY a /x/.", "/x/", id="a final dot"),
        pytest.param("COPY a $unset", "/w/", id="nothing is WORKDIR"),
        pytest.param("COPY a b d", "/w/d/", id="several sources"),
        pytest.param("COPY a ../../../d", "/d", id="no way out"),
        pytest.param("COPY a /x//y/../z", "/x/z", id="cleaned"),
        pytest.param("COPY a /", "/", id="the root"),
        pytest.param('COPY ["a", "with blank"]', "/w/with blank", id="JSON"),
        pytest.param("ENV d=/e\nCOPY a $d/", "/e/", id="expanded"),
    ],
)
def test_where_copy_goes(text: str, expected: str) -> None:
    assert copy_step(f"FROM scratch\nWORKDIR /w\n{text}").destination == expected


def test_sources_are_expanded_and_keep_their_places() -> None:
    step = copy_step("FROM scratch\nARG n=x\nCOPY a/$n b* /d/")
    assert [(s.path, s.span.column) for s in step.sources] == [("a/x", 6), ("b*", 11)]


@pytest.mark.parametrize(
    ("flag", "expected"), [("644", 0o644), ("0755", 0o755), ("7777", 0o7777), ("0", 0), ("$m", 5)]
)
def test_chmod_is_octal(flag: str, expected: int) -> None:
    step = copy_step(f"FROM scratch\nARG m=5\nCOPY --chmod={flag} a b")
    assert step.chmod == OctalMode(expected)


def test_chown_is_expanded() -> None:
    assert copy_step("FROM scratch\nARG u=me\nCOPY --chown=$u:1 a b").chown == "me:1"


@pytest.mark.parametrize(
    ("heredoc", "expected"),
    [
        ("<<f\n$v ${v}\nf", "1 1\n"),
        ("<<'f'\n$v\nf", "$v\n"),
        ("<<-f\n\ta\n\t f\n\tf", "a\n f\n"),
        ("<<f\nf", ""),
        ('<<f\na\\$v "q"\nf', 'a$v "q"\n'),
    ],
)
def test_a_heredoc_is_a_file_of_its_name(heredoc: str, expected: str) -> None:
    first, _, rest = heredoc.partition("\n")
    step = copy_step(f"FROM scratch\nENV v=1\nCOPY {first} /d/\n{rest}\n")
    assert [(file.name, file.content) for file in step.inline] == [("f", expected)]
    assert step.sources == ()


def test_files_and_heredocs_mix() -> None:
    step = copy_step("FROM scratch\nCOPY a <<b /d\n1\nb\n")
    assert [source.path for source in step.sources] == ["a"]
    assert [file.name for file in step.inline] == ["b"]
    assert step.destination == "/d/"
