"""Expansion as a table; the rows follow the Dockerfile reference, "Environment replacement"."""

from __future__ import annotations

import pytest

from grammar import ExpansionError, expand, expand_body, expand_words, unquote, variables
from grammar.expansion import MAX_LENGTH
from grammar.words import MAX_DEPTH

ENVIRONMENT = {
    "a": "foo",
    "b": "bar",
    "empty": "",
    "p": "/usr/lib/x.tar.gz",
    "q": "a*a*b",
    "é": "e",
}

# input | expected, with ENVIRONMENT
WORDS = r"""
hello              | hello
he'll'o            | hello
he'l"l'o           | hel"lo
"he'l'o"           | he'l'o
he\'llo            | he'llo
he\\llo            | he\llo
hello\             | hello
"he\"llo"          | he"llo
"he\nllo"          | he\nllo
"he\\llo"          | he\llo
"\$a"              | $a
'\$a'              | \$a
'$a'               | $a
"$a"               | foo
"'$a'"             | 'foo'
\$a                | $a
$                  | $
a$                 | a$
$.                 | $.
$a$b               | foobar
$ab                |
${a}b              | foob
$a_                |
$é                 | e
$1$@$*$#$?$-$$$!$0 |
$10x               | x
${a:-x}            | foo
${unset:-x}        | x
${empty:-x}        | x
${empty-x}         |
${unset-x}         | x
${unset:-}         |
${a:+x}            | x
${empty:+x}        |
${empty+x}         | x
${unset+x}         |
${a:?m}            | foo
${empty?m}         |
${unset:-$a}       | foo
${unset:-${a}}     | foo
${unset:-${none:-${b}}} | bar
${unset:-"a b"}    | a b
${unset:-'}'}      | }
${unset:-\}}       | }
"${unset:-a'b}"    | !unterminated single quote
"${a}"             | foo
x${a:-${unset:?m}} | xfoo
${p#*/}            | usr/lib/x.tar.gz
${p##*/}           | x.tar.gz
${p%.*}            | /usr/lib/x.tar
${p%%.*}           | /usr/lib/x
${p#nothing}       | /usr/lib/x.tar.gz
${p#/???/}         | lib/x.tar.gz
${p##*}            |
${p%*}             | /usr/lib/x.tar.gz
${p#"/usr"}        | /lib/x.tar.gz
${p#$unset}        | /usr/lib/x.tar.gz
${q#a\*}           | a*b
${q##*\*}          | b
${p/\//-}          | -usr/lib/x.tar.gz
${p//\//-}         | -usr-lib-x.tar.gz
${p/u*r/X}         | /X.gz
${p/?sr/X}         | /X/lib/x.tar.gz
${p//[/x}          | /usr/lib/x.tar.gz
${a/o/$b}          | fbaro
${a//o}            | f
${a//o/}           | f
${unset/o/x}       |
${a/z/x}           | foo
${a//}             | foo
${a                | !missing '}'
${                 | !missing '}'
${a:-x             | !missing '}'
${a/x              | !missing '}'
${}                | !bad substitution: expected a name after '${'
${{a}}             | !bad substitution: expected a name after '${'
${:-a}             | !bad substitution: expected a name after '${'
${a:=x}            | !unsupported modifier ':=' in '${...}'
${a=x}             | !unsupported modifier '=' in '${...}'
${a:#x}            | !unsupported modifier ':#' in '${...}'
${a:%x}            | !unsupported modifier ':%' in '${...}'
${unset:?no value} | !unset: no value
${unset?}          | !unset: is not set
${empty:?}         | !empty: is empty
${a#\x}            | !\x in a pattern: only \* \? \\ \} and \/ have a meaning
"abc               | !unterminated double quote
'abc               | !unterminated single quote
"""


def _rows(table: str) -> list[tuple[str, str]]:
    rows = (line.rsplit("|", 1) for line in table.strip().splitlines())
    return [(left.rstrip(), right.strip()) for left, right in rows]


@pytest.mark.parametrize(("word", "expected"), _rows(WORDS))
def test_a_word_expands_as_the_table_says(word: str, expected: str) -> None:
    if expected.startswith("!"):
        with pytest.raises(ExpansionError) as caught:
            expand(word, ENVIRONMENT)
        assert caught.value.message == expected[1:]
    else:
        assert expand(word, ENVIRONMENT) == expected


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("x${a:=b}", ":="),
        ("x${unset:?m}y", "${unset:?m}"),
        ("x'abc", "'abc"),
        ("${a:-${b}", "${a:-${b}"),
        ("x${a:-${}}", "${}"),
    ],
)
def test_an_error_gives_the_offsets_of_the_fault(word: str, place: str) -> None:
    with pytest.raises(ExpansionError) as caught:
        expand(word, {})
    assert word[caught.value.start : caught.value.end] == place


def test_the_backtick_can_be_the_escape_character() -> None:
    assert expand(r"c:\x`$a`` $a", ENVIRONMENT, escape="`") == r"c:\x$a` foo"


def test_kept_variables_stay_as_they_were_written() -> None:
    word = "$a/$releasever/${basearch}"
    kept = {"releasever", "basearch"}
    assert expand(word, {"a": "x", "releasever": "9"}, keep=kept) == "x/$releasever/${basearch}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("80 443", ("80", "443")),
        ("$ports", ("80", "443/tcp")),
        ('"$ports"', ("80 443/tcp",)),
        ("1$ports", ("180", "443/tcp")),
        ("$ports$ports", ("80", "443/tcp80", "443/tcp")),
        (r"a\ b", ("a b",)),
        ("$unset", ()),
        ("  ", ()),
    ],
)
def test_words_are_split_after_expansion_except_in_quotes(
    text: str, words: tuple[str, ...]
) -> None:
    assert expand_words(text, {"ports": "80 443/tcp"}) == words


def test_a_heredoc_body_keeps_quotes_and_joins_escaped_lines() -> None:
    body = "a=\"$a\" '$b' \\$a \\\\ x\\\ny\n"
    assert expand_body(body, ENVIRONMENT) == "a=\"foo\" 'bar' $a \\ xy\n"


def test_unquote_leaves_variables_alone() -> None:
    assert unquote(r"""a"b $c\"\d"'x\y'\z$e""") == r'ab $c"\dx\yz$e'


def test_variables_names_all_that_a_word_looks_at() -> None:
    assert variables("$a${b:-$c}${d/$e/$f}'$g'") == {"a", "b", "c", "d", "e", "f"}


def test_nesting_up_to_the_limit_expands() -> None:
    assert expand("${x:-" * MAX_DEPTH + "y" + "}" * MAX_DEPTH, {}) == "y"


def test_nesting_beyond_the_limit_is_an_error_and_no_crash() -> None:
    with pytest.raises(ExpansionError, match="nested more than"):
        expand("${x:-" * 20_000 + "}" * 20_000, {})


def test_a_value_cannot_grow_without_bound() -> None:
    with pytest.raises(ExpansionError, match="expands to more than"):
        expand("$x$x", {"x": "y" * MAX_LENGTH})


def test_a_hostile_pattern_is_matched_in_reasonable_time() -> None:
    value = "a" * 20_000
    assert expand("${x%" + "*a" * 50 + "b}", {"x": value}) == value
