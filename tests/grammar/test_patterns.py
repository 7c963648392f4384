"""The pattern matcher against regular expressions, on many small inputs."""

from __future__ import annotations

import itertools
import re

import pytest

from grammar.patterns import PatternError, parse_pattern

TEXTS = ["".join(t) for size in range(5) for t in itertools.product("ab", repeat=size)]
PATTERNS = ["".join(t) for size in range(1, 4) for t in itertools.product("ab*?", repeat=size)]


def _regex(pattern: str, star: str) -> str:
    return pattern.replace("?", ".").replace("*", star)


@pytest.mark.parametrize(("longest", "star"), [(True, ".*"), (False, ".*?")])
def test_a_prefix_is_what_a_regular_expression_matches(longest: bool, star: str) -> None:
    for pattern, text in itertools.product(PATTERNS, TEXTS):
        match = re.match(_regex(pattern, star), text)
        expected = text[match.end() :] if match else text
        assert parse_pattern(pattern).strip_prefix(text, longest=longest) == expected, pattern


@pytest.mark.parametrize(("longest", "star"), [(True, ".*"), (False, ".*?")])
def test_a_suffix_is_the_mirrored_prefix(longest: bool, star: str) -> None:
    for pattern, text in itertools.product(PATTERNS, TEXTS):
        match = re.match(_regex(pattern[::-1], star), text[::-1])
        expected = text[: len(text) - match.end()] if match else text
        assert parse_pattern(pattern).strip_suffix(text, longest=longest) == expected, pattern


@pytest.mark.parametrize("count", [0, 1])
def test_replacing_takes_the_leftmost_longest_match(count: int) -> None:
    # A pattern of stars alone also matches nothing, which we leave alone.
    patterns = [pattern for pattern in PATTERNS if pattern.strip("*")]
    for pattern, text in itertools.product(patterns, TEXTS):
        expected = re.sub(_regex(pattern, ".*"), "X", text, count=count)
        actual = parse_pattern(pattern).substitute(text, "X", every=count == 0)
        assert actual == expected, pattern


def test_an_escape_that_means_nothing_is_refused() -> None:
    with pytest.raises(PatternError):
        parse_pattern("\\")
