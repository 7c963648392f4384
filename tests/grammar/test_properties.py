"""What holds for every file, made from the grammar or by damaging the golden cases."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammar import Containerfile, ContainerfileErrors, Source, Span, parse
from grammar.dump import to_json, to_sexpr
from grammar.instructions import Written
from grammar.record import Record, fields_of

CORPUS = sorted((Path(__file__).parent).glob("cases*/*/Containerfile"))
MUTATIONS = 25  # of each file of the corpus
PLACES = ("span", "name_span", "body_line", "joins", "comments", "warnings", "blank_continuations")

NAME = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)
PLAIN = st.from_regex(r"[a-zA-Z0-9./_@%+:é-]{1,8}", fullmatch=True).filter(
    lambda word: not word.startswith("-")
)
VARIABLE = st.one_of(
    NAME.map("${}".format),
    st.builds(
        "${{{}{}{}}}".format, NAME, st.sampled_from([":-", "-", ":+", "+", "#", "%%"]), PLAIN
    ),
)
WORD = st.one_of(
    PLAIN, VARIABLE, st.builds("{}{}".format, PLAIN, VARIABLE), PLAIN.map("/{}".format)
)
QUOTED = st.one_of(WORD, st.builds('"{} {}"'.format, WORD, PLAIN), PLAIN.map("'{}'".format))
WORDS = st.lists(WORD, min_size=2, max_size=4).map(" ".join)
PAIRS = st.lists(st.builds("{}={}".format, NAME, QUOTED), min_size=1, max_size=3).map(" ".join)
ARRAY = st.lists(st.text(max_size=6).filter(lambda t: "\0" not in t), min_size=2, max_size=3).map(
    lambda items: json.dumps([i.encode("utf-8", "replace").decode() for i in items])
)
COMMAND = st.one_of(WORDS, ARRAY)
TRIGGERED = st.one_of(
    COMMAND.map("RUN {}".format),
    COMMAND.map("CMD {}".format),
    COMMAND.map("ENTRYPOINT {}".format),
    COMMAND.map("HEALTHCHECK --interval=5s CMD {}".format),
    ARRAY.map("SHELL {}".format),
    WORDS.map("COPY --link --from=base {}".format),
    WORDS.map("COPY --chmod=u=rwX,go=rX --exclude=*.o {}".format),
    WORDS.map("ADD --chown=1:2 {}".format),
    WORDS.map("VOLUME {}".format),
    PAIRS.map("ENV {}".format),
    PAIRS.map("LABEL {}".format),
    PAIRS.map("ARG {}".format),
    WORD.map("USER {}".format),
    WORD.map("WORKDIR {}".format),
    st.integers(1, 65535).map("EXPOSE {}/tcp".format),
    st.just("STOPSIGNAL SIGINT"),
    NAME.map("RUN --mount=type=cache,target=/{} --network=none make".format),
    WORDS.map("BOOTSTRAP --weak {}".format),
)
INSTRUCTION = st.one_of(
    TRIGGERED,
    TRIGGERED.map("ONBUILD {}".format),
    WORD.map("FROM {}".format),
    st.builds("FROM --platform=linux/arm64 {} AS {}".format, WORD, NAME.map("s{}".format)),
)
FILE = st.lists(INSTRUCTION, max_size=6).map(lambda lines: ["FROM base", *lines])
PIECES = (
    "FROM RUN COPY ADD ENV ONBUILD HEALTHCHECK CMD NONE AS -- --mount= --from=x type=cache , = "
    "<<E <<-'E' E a ${ } :- $a ' [ ] [\" \\ ` # #escape=` $(( )) \0 é \ufeff"
).split(" ")
NOISE = st.lists(
    st.one_of(
        st.sampled_from(PIECES),
        st.sampled_from([" ", " ", "\n", "\\\n", "\t", "\r\n", '"']),
        st.text(max_size=3),
    ),
    max_size=40,
).map("".join)
DAMAGE = "|\n|\\\n|\\|\"|'|$|${|}|<<E|[|]|--|=|,|#| ".split("|")


def _parsed(text: str) -> Containerfile:
    try:
        return parse(text, name="f")
    except ContainerfileErrors as errors:
        raise AssertionError(f"{text!r}: {errors}") from None


def _spans(value: object) -> Iterator[Span]:
    if isinstance(value, Span):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _spans(item)
    elif isinstance(value, Record) and not isinstance(value, Source):
        for _, member in fields_of(value):
            yield from _spans(member)


def _is_inside(span: Span, source: Source) -> bool:
    lines = source.lines
    ordered = (span.line, span.column) <= (span.end_line, span.end_column)
    lines_exist = 1 <= span.line <= span.end_line <= len(lines)
    # One past the end: where something is missing.
    return (
        ordered
        and lines_exist
        and 1 <= span.column <= len(lines[span.line - 1]) + 1
        and span.end_column <= len(lines[span.end_line - 1]) + 2
    )


def _check(text: bytes | str) -> None:
    """`text` is read or refused, and everything that is said of it has a place in it."""
    try:
        containerfile = parse(text, name="f")
    except ContainerfileErrors as caught:
        _check_errors(caught)
        return
    for span in _spans((*containerfile.stages, *containerfile.preamble, *containerfile.warnings)):
        assert _is_inside(span, containerfile.source), (text, span)
    for warning in containerfile.warnings:
        warning.text(containerfile.source)
    to_json(containerfile)
    to_sexpr(containerfile)


def _check_errors(caught: ContainerfileErrors) -> None:
    for error in caught.errors:
        assert _is_inside(error.span, error.source), error.span
        json.dumps(error.to_json())
    assert str(caught).startswith("f:")


def _meaning(value: object) -> object:
    """A value without its places and its spelling."""
    if isinstance(value, tuple):
        return [_meaning(item) for item in value]
    if not isinstance(value, Record):
        return value
    spelling = ("text", "trigger") if isinstance(value, Written) else ()
    return [type(value).__name__] + [
        (name, _meaning(member))
        for name, member in fields_of(value)
        if name not in PLACES and name not in spelling
    ]


def _meaning_of(text: str) -> object:
    containerfile = _parsed(text)
    return [_meaning(containerfile.preamble), _meaning(containerfile.stages)]


@settings(max_examples=100, deadline=None)
@given(NOISE)
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    _check(text)
    _check("FROM a\n" + text)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_with_a_place(data: bytes) -> None:
    _check(data)
    _check(b"FROM a\nRUN " + data)


@settings(max_examples=60, deadline=None)
@given(FILE)
def test_a_file_made_from_the_grammar_is_read(lines: list[str]) -> None:
    _check("\n".join(lines))
    _parsed("\n".join(lines))


@settings(max_examples=60, deadline=None)
@given(FILE, st.randoms(use_true_random=False))
def test_continuations_do_not_change_the_meaning(lines: list[str], choice: random.Random) -> None:
    reflowed = "\n".join(_reflowed(line, choice) for line in lines)
    assert _meaning_of(reflowed) == _meaning_of("\n".join(lines))


def _reflowed(line: str, choice: random.Random) -> str:
    breaks = [
        offset
        for offset in range(1, len(line))
        # An escape before the break would be escaped; `#` and nothing would be a comment, a blank.
        if line[offset - 1] != "\\" and line[offset:].lstrip()[:1] not in ("", "#")
    ]
    chosen = sorted(choice.sample(breaks, min(len(breaks), choice.randint(0, 3))))
    parts = [line[a:b] for a, b in zip([0, *chosen], [*chosen, len(line)], strict=True)]
    return choice.choice(["\\\n", "\\ \t\n", "\\\n# comment\n", "\\\n\n"]).join(parts)


@settings(max_examples=60, deadline=None)
@given(FILE, st.randoms(use_true_random=False))
def test_case_comments_and_indentation_do_not_change_the_meaning(
    lines: list[str], choice: random.Random
) -> None:
    changed: list[str] = []
    for line in lines:
        keyword, _, rest = line.partition(" ")
        keyword = "".join(choice.choice((c.lower(), c.upper())) for c in keyword)
        changed += choice.choice(([], ["# comment"], ["", "  # comment", ""], ["\t"]))
        changed.append(choice.choice(("", "  ", "\t")) + keyword + " " + rest)
    # Line ends and the byte order mark are spelling too.
    text = "\ufeff" + choice.choice(("\n", "\r\n")).join(changed)
    assert _meaning_of(text) == _meaning_of("\n".join(lines))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.parent.name)
def test_a_damaged_case_is_read_or_refused_with_a_place(path: Path) -> None:
    text = path.read_bytes().decode()
    choice = random.Random(path.parent.name)
    for _ in range(MUTATIONS):
        _check(_damaged(text, choice))


def _damaged(text: str, choice: random.Random) -> str:
    for _ in range(choice.randint(1, 3)):
        start = choice.randint(0, len(text))
        end = min(len(text), start + choice.randint(0, 6))
        piece = choice.choice(DAMAGE)
        text = text[:start] + choice.choice((piece, text[start:end] * 2)) + text[end:]
    return text
