"""Scripts taken apart into commands."""

from __future__ import annotations

import pytest

from grammar.lint.shell import commands


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b && c | d", [("", "a b"), ("&&", "c"), ("|", "d")]),
        ("a; b & c\nd || e", [("", "a"), (";", "b"), ("&", "c"), ("\n", "d"), ("||", "e")]),
        ("a 'b | c' \"d; e\" f\\|g", [("", "a b | c d; e f|g")]),
        ("a $(b | c) `d | e`x", [("", "a $(b | c) `d | e`x")]),
        ("a # b | c\nd#e", [("", "a"), ("\n", "d#e")]),
        ("X=1 sudo env Y=2 /usr/bin/dnf x", [("", "/usr/bin/dnf x")]),
        ("if ! a; then b; else c; fi", [("", "a"), (";", "b"), (";", "c"), (";", "fi")]),
        ("a |\n b &&\n\n c", [("", "a"), ("|", "b"), ("&&", "c")]),
        ("(a | b)", [("(", "a"), ("|", "b")]),
        ("case x in a|b) c;; *) d;; esac", [(")", "c"), (")", "d"), (";;", "esac")]),
        ("a > x 2>&1 <y b", [("", "a b")]),
        ("a \\\n b", [("", "a b")]),
        ("", []),
        ("a 'open", [("", "a open")]),
        ("a $(open", [("", "a $(open")]),
    ],
)
def test_a_script_has_these_commands(text: str, expected: list[tuple[str, str]]) -> None:
    found = [(c.before, " ".join(word.text for word in c.words)) for c in commands(text)]
    assert found == expected


def test_what_is_written_to_is_known() -> None:
    (command,) = commands("echo x >/a 2>>/b </c")
    assert [word.text for word in command.written_to] == ["/a", "/b"]


@pytest.mark.parametrize("text", ["(" * 50_000, "$(" * 20_000, "a|" * 50_000, '"' * 50_001])
def test_hostile_text_is_taken_apart_in_time(text: str) -> None:
    import time

    start = time.process_time()
    commands(text)
    assert time.process_time() - start < 2
