"""Ignore files: a table, the errors, and a comparison with a matcher that is slow and plain."""

from __future__ import annotations

import time
from itertools import accumulate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grammar import ContainerfileErrors
from grammar.ignore import candidates, parse_ignore

HIDDEN, SEEN = True, False

TABLE = [
    # Names are anchored at the root.
    ("foo", "foo", HIDDEN),
    ("foo", "a/foo", SEEN),
    ("foo", "foobar", SEEN),
    ("foo", "Foo", SEEN),
    ("foo/bar", "foo/bar", HIDDEN),
    ("foo/bar", "foo", SEEN),
    # A match covers what is below it.
    ("foo", "foo/bar", HIDDEN),
    ("foo", "foo/bar/baz", HIDDEN),
    ("foo/*", "foo/bar/baz", HIDDEN),
    # Cleaning.
    ("/foo", "foo", HIDDEN),
    ("//foo", "foo", HIDDEN),
    ("foo/", "foo", HIDDEN),
    ("./foo", "foo", HIDDEN),
    ("a/../foo", "foo", HIDDEN),
    ("a//b", "a/b", HIDDEN),
    ("  foo  ", "foo", HIDDEN),
    ("foo\r", "foo", HIDDEN),
    ("../foo", "foo", SEEN),
    # The root is always seen.
    (".", ".", SEEN),
    (".", "foo", SEEN),
    ("/", "foo", SEEN),
    ("**", ".", SEEN),
    ("*", "", SEEN),
    # One name: `*`, `?`, brackets.
    ("*", "foo", HIDDEN),
    ("*", "foo/bar", HIDDEN),
    ("*.go", "a.go", HIDDEN),
    ("*.go", "a/b.go", SEEN),
    ("*/*.go", "a/b.go", HIDDEN),
    ("a*/b", "abc/b", HIDDEN),
    ("a*/b", "a/c/b", SEEN),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/f", HIDDEN),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", SEEN),
    ("a*b?c*x", "abxbbxdbxebxczzx", HIDDEN),
    ("a*b?c*x", "abxbbxdbxebxczzy", SEEN),
    ("abc?def", "abcZdef", HIDDEN),
    ("abc?def", "abcdef", SEEN),
    ("a?b", "a/b", SEEN),
    ("a?b", "a☺b", HIDDEN),
    ("a[b-d]e", "ace", HIDDEN),
    ("a[b-d]e", "aae", SEEN),
    ("a[^b-d]e", "aze", HIDDEN),
    ("a[^b-d]e", "a/e", SEEN),
    ("[a-я]*", "é", HIDDEN),
    (r"[\]a]", "]", HIDDEN),
    (r"[\-x]", "-", HIDDEN),
    ("[*]", "*", HIDDEN),
    ("[*]", "x", SEEN),
    (r"a\*b", "a*b", HIDDEN),
    (r"a\*b", "axb", SEEN),
    (r"a\\", "a\\", HIDDEN),
    (r"\d*", "d1", HIDDEN),
    (r"\d*", "1", SEEN),
    # Characters that mean something in regular expressions.
    ("a.|)$(}+{bc", "a.|)$(}+{bc", HIDDEN),
    ("a|b*", "bc", SEEN),
    ("^a*", "^ab", HIDDEN),
    ("abc.def", "abcZdef", SEEN),
    # `**`: any number of directories.
    ("**", "foo", HIDDEN),
    ("**/", "dir/file", HIDDEN),
    ("**/foo", "foo", HIDDEN),
    ("**/foo", "a/b/foo", HIDDEN),
    ("**/foo", "a/b/foo/c", HIDDEN),
    ("**/foo", "xfoo", SEEN),
    ("**/.foo", "bar.foo", SEEN),
    ("**foo", "a/xfoo", HIDDEN),
    ("**foo*", "a/xfoo", SEEN),
    ("foo/**", "foo", SEEN),
    ("foo/**", "foo/a/b", HIDDEN),
    ("foo/**/bar", "foo/bar", HIDDEN),
    ("foo/**/bar", "foo/a/b/bar", HIDDEN),
    ("foo/**/bar", "foo/abar", SEEN),
    ("**/dir2/*", "dir/dir2/file", HIDDEN),
    ("**/dir2/*", "dir2", SEEN),
    ("**/file*.txt", "dir/dir/file.1.txt", HIDDEN),
    ("**/**/*.txt", "file.txt", HIDDEN),
    ("a**/*.txt", "a/dir/dir/file.txt", HIDDEN),
    ("a**/*.txt", "b/file.txt", SEEN),
    ("a**b", "ab", HIDDEN),
    ("a**b", "axb", SEEN),
    ("a**b", "ax/y/b", HIDDEN),
    ("a**", "abc/d", HIDDEN),
    # `!` takes back; the last match wins.
    ("docs\n!docs/README.md", "docs/README.md", SEEN),
    ("docs\n!docs/README.md", "docs/other", HIDDEN),
    ("docs\n!docs/README.md", "docs", HIDDEN),
    ("*\n!docs", "docs/a/b", SEEN),
    ("!a.go\n*.go", "a.go", HIDDEN),
    ("*.go\n!a.go", "a.go", SEEN),
    ("**\n!web\nweb/foo", "web/foo", HIDDEN),
    ("**\n!web\nweb/foo", "web/bar", SEEN),
    ("a\n!a/b\na", "a/b", HIDDEN),
    ("foo\n! foo", "foo", SEEN),
    ("foo\n!/foo/", "foo", SEEN),
    ("!!foo", "!foo", SEEN),
    (r"\!foo", "!foo", HIDDEN),
    # Lines.
    ("# foo", "# foo", SEEN),
    (" # foo", "# foo", HIDDEN),
    ("\\#foo", "#foo", HIDDEN),
    ("\ufefffoo", "foo", HIDDEN),
    ("\ufeff#foo", "#foo", SEEN),
    ("\n\n  \nfoo", "foo", HIDDEN),
    ("", "foo", SEEN),
    ("a\nb", "a\nb", SEEN),
    ("**/*.log", "a\nb/x.log", HIDDEN),
]


@pytest.mark.parametrize(("text", "path", "hidden"), TABLE)
def test_a_path_is_hidden_as_the_table_says(text: str, path: str, hidden: bool) -> None:
    rules = parse_ignore(text)
    assert rules.excludes(path) is hidden
    assert (rules.rule_for(path) is not None) is hidden


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a\n!", 2, 1, "'!' takes nothing back"),
        ("!/", 1, 1, "'!' takes nothing back"),
        ("  [", 1, 3, "'[' is not closed"),
        ("[^bc", 1, 1, "'[' is not closed"),
        ("[]a]", 1, 1, "']' stands where a character is expected"),
        ("[x-]", 1, 1, "']' stands where a character is expected"),
        ("[-x]", 1, 1, "'-' stands where a character is expected"),
        ("[a-b-c]", 1, 1, "'-' stands where a character is expected"),
        ("[z-a]", 1, 1, "the range z-a in brackets is empty"),
        ("a\\", 1, 1, "a backslash at the end quotes nothing"),
        ("a**b**c**d**e**f", 1, 1, "too many '**' within names"),
    ],
)
def test_a_bad_pattern_is_reported_at_its_line(
    text: str, line: int, column: int, message: str
) -> None:
    with pytest.raises(ContainerfileErrors) as caught:
        parse_ignore(text, name="ignore")
    (error,) = caught.value.errors
    assert (error.span.line, error.span.column, error.message) == (line, column, message)


def test_all_bad_patterns_of_a_file_are_reported_together() -> None:
    with pytest.raises(ContainerfileErrors) as caught:
        parse_ignore("[\nok\n!\n")
    assert [error.span.line for error in caught.value.errors] == [1, 3]


def test_the_rule_that_hides_a_path_is_the_last_that_matches() -> None:
    rules = parse_ignore("# all\n*\n!src\n src/*.o \n")
    assert rules.rule_for("README") == (2, "*")
    assert rules.rule_for("src/a.o") == (4, "src/*.o")
    assert rules.rule_for("src/a.c") is None


def test_a_name_that_is_not_utf8_can_be_hidden() -> None:
    rules = parse_ignore(b"caf\xe9\n")
    assert rules.excludes(b"caf\xe9".decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("text", "directory", "entered"),
    [
        ("a", "a", False),
        ("a", "b", True),
        ("a\n!b", "a", False),
        ("a\n!a/b", "a", True),
        ("a\n!a/b", "a/c", False),
        ("a\n!a/b/c", "a", True),
        ("a\n!a/b/c", "a/b", True),
        ("a\n!a/b*/c", "a/bx", True),
        ("a\n!a/b*/c", "a/x", False),
        ("!a/b\na", "a", False),
        ("*\n!**/keep", "a/b/c", True),
        ("*\n!src/**/keep", "src/a/b", True),
        ("*\n!src/**/keep", "doc", False),
        ("*\n!src/**", "src", True),
        ("*\n!a", "b", False),
        ("*\n!a", ".", True),
        ("*\n!**keep", "b", True),
    ],
)
def test_a_walk_enters_a_directory_only_where_something_can_be_seen(
    text: str, directory: str, entered: bool
) -> None:
    assert parse_ignore(text).may_have_included_children(directory) is entered


def test_the_ignore_file_beside_the_containerfile_comes_first() -> None:
    assert candidates("build/Containerfile", "ctx") == (
        "build/Containerfile.dockerignore",
        "build/Containerfile.containerignore",
        "ctx/.containerignore",
        "ctx/.dockerignore",
    )


# --- the slow matcher -----------------------------------------------------------------------


def _matches(pattern: str, path: str) -> bool:
    """All of `path` against all of `pattern`, by trying everything."""
    if not pattern:
        return not path
    if pattern.startswith("**"):
        rest = pattern[2:].removeprefix("/")
        starts = [0, *(index + 1 for index, char in enumerate(path) if char == "/")]
        return not rest or any(_matches(rest, path[start:]) for start in starts)
    if pattern[0] == "*":
        longer = path != "" and path[0] != "/" and _matches(pattern, path[1:])
        return longer or _matches(pattern[1:], path)
    if pattern[0] == "[":
        body, _, rest = pattern[1:].partition("]")
        negated = body.startswith("^")
        inside = path[:1] in body.removeprefix("^")
        return path[:1] not in ("", "/") and inside != negated and _matches(rest, path[1:])
    if pattern[0] == "?":
        return path[:1] not in ("", "/") and _matches(pattern[1:], path[1:])
    literal = pattern[1:2] if pattern[0] == "\\" else pattern[0]
    return path.startswith(literal) and _matches(
        pattern.removeprefix("\\").removeprefix(literal), path[1:]
    )


def _covers(pattern: str, path: str) -> bool:
    ends_with = pattern.startswith("**") and not any(char in pattern[2:] for char in "*?[]\\")
    for parent in accumulate(path.split("/"), "{}/{}".format):
        if ends_with and not pattern.startswith("**/") and parent.endswith(pattern[2:]):
            return True
        if _matches(pattern, parent):
            return True
    return False


def _hidden(patterns: list[str], path: str) -> bool:
    hidden = False
    for pattern in patterns:
        if _covers(pattern.removeprefix("!"), path):
            hidden = not pattern.startswith("!")
    return hidden


_PIECE = st.sampled_from(["a", "b", "ab", "*", "?", "[ab]", "[^a]", r"\*", "**", "."])
_NAME = st.lists(_PIECE, min_size=1, max_size=3).map("".join).filter(lambda n: set(n) != {"."})
_PATTERN = st.tuples(st.sampled_from(["", "", "!"]), st.lists(_NAME, min_size=1, max_size=4)).map(
    lambda parts: parts[0] + "/".join(parts[1])
)
_PATH_NAME = st.text("ab*.", min_size=1, max_size=4).filter(lambda name: set(name) != {"."})
_PATH = st.lists(_PATH_NAME, min_size=1, max_size=5).map("/".join)


@given(patterns=st.lists(_PATTERN, max_size=5), paths=st.lists(_PATH, min_size=1, max_size=10))
@settings(max_examples=600, deadline=None)
@example(patterns=["a**b/**/c*"], paths=["a/b/c", "ab/c", "ax/b/y/cc/d"])
@example(patterns=["**/a/**/b"], paths=["a/a/b", "a/b/a", "b/a/x/y/b/z"])
@example(patterns=["**/a*b/**/b"], paths=["aab/b", "a/ab/bb/b"])
def test_the_compiled_matcher_agrees_with_the_slow_one(
    patterns: list[str], paths: list[str]
) -> None:
    rules = parse_ignore("\n".join(patterns))
    for path in paths:
        assert rules.excludes(path) is _hidden(patterns, path), path
        assert (rules.rule_for(path) is not None) is _hidden(patterns, path), path


@given(patterns=st.lists(_PATTERN, max_size=5), directory=_PATH, below=_PATH)
@settings(max_examples=600, deadline=None)
@example(patterns=["*", "!a/b*/**/c"], directory="a/bb", below="x/c")
def test_nothing_is_seen_below_a_directory_that_a_walk_leaves_out(
    patterns: list[str], directory: str, below: str
) -> None:
    rules = parse_ignore("\n".join(patterns))
    if not rules.excludes(f"{directory}/{below}"):
        assert rules.may_have_included_children(directory)


def test_a_hundred_thousand_paths_take_less_than_a_second() -> None:
    text = "".join(
        f"**/*.e{n}\n**/name{n}\ndir{n}/**/x*\n*.log{n}\nsub/lib{n}\n" for n in range(10)
    )
    rules = parse_ignore(text)
    paths = [f"src/part{n % 97}/module{n % 13}/file{n}.py" for n in range(100_000)]
    start = time.process_time()
    assert not any(map(rules.excludes, paths))
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "pattern",
    ["*a" * 60 + "b", "**/" + "a*" * 60 + "b", "**/a*/" * 8 + "b", "a**b**c**d*e"],
)
def test_no_pattern_makes_the_matcher_slow(pattern: str) -> None:
    path = "/".join(["a" * 60] * 60)
    start = time.process_time()
    assert not parse_ignore(pattern).excludes(path)
    assert time.process_time() - start < 0.5
