"""What `--call=outline` and `--call=targets` show."""

from __future__ import annotations

import base64
import json

import pytest

from grammar import ContainerfileError, parse
from grammar.outline import Outline, outline, targets
from grammar.outline_formats import (
    outline_to_json,
    outline_to_text,
    targets_to_json,
    targets_to_text,
)

ARGS = """
ARG inherited=box
ARG inherited2=box2
ARG unused=abc${inherited2}
# sfx is a suffix
ARG sfx="usy${inherited}"

FROM b${sfx} AS first
# this is not assigned to anything
ARG FOO=123
# BAR is a number
ARG BAR=456
RUN true

FROM alpine${unused} AS second
ARG BAZ
RUN true

FROM scratch AS third
ARG ABC=a

# target defines build target
FROM third AS target
COPY --from=first /etc/passwd /

FROM second
"""

RECURSIVE = """
ARG FOO=123
ARG ABC=abc
ARG DEF=def
ARG FOO=${FOO}${ABC}
ARG BAR=${FOO}456
ARG FOO=${FOO}456${BAR}
FROM scratch
ARG FOO
ARG INFOO=123
ARG INBAR=${INFOO}456
ARG INFOO=${INFOO}456${INBAR}
"""

MOUNTS = """
FROM busybox AS first
RUN --mount=type=secret,target=/etc/passwd,required=true --mount=type=ssh true

FROM alpine AS second
RUN --mount=type=secret,id=unused --mount=type=ssh,id=ssh2 true

FROM scratch AS third
ARG BAR
RUN --mount=type=secret,id=second${BAR} --mount=type=cache,target=/c/ true

FROM third AS target
COPY --from=first /foo /
RUN --mount=type=ssh,id=ssh3,required true
"""

TARGETS = """
# build defines stage for compiling the binary
FROM alpine AS build
RUN true

FROM busybox as second
RUN false

FROM --platform=$BUILDPLATFORM alpine
RUN false

# binary returns the compiled binary
FROM second AS binary
"""


def _outline(text: str, target: str | None = None, **build_args: str) -> Outline:
    return outline(parse(text, name="Containerfile"), target, build_args)


def test_the_arguments_are_those_that_the_target_needs() -> None:
    found = _outline(ARGS, "target", BAR="678")
    assert (found.target.name, found.target.description) == ("target", "defines build target")
    assert found.stages == ("first", "third", "target")
    assert [(a.name, a.value, a.description, a.span.line) for a in found.arguments] == [
        ("inherited", "box", "", 2),
        ("sfx", "usybox", "is a suffix", 6),
        ("FOO", "123", "", 10),
        ("BAR", "678", "is a number", 12),
        ("ABC", "a", "", 20),
    ]


def test_the_last_definition_of_an_argument_is_the_one_that_counts() -> None:
    found = _outline(RECURSIVE)
    assert [(argument.name, argument.value) for argument in found.arguments] == [
        ("ABC", "abc"),
        ("BAR", "123abc456"),
        ("FOO", "123abc456123abc456"),
        ("INBAR", "123456"),
        ("INFOO", "123456123456"),
    ]


def test_secrets_and_ssh_are_those_of_the_stages_that_are_built() -> None:
    found = _outline(MOUNTS, "target", BAR="678")
    assert [(need.name, need.required, need.span.line) for need in found.secrets] == [
        ("passwd", True, 3),
        ("second678", False, 10),
    ]
    assert [(need.name, need.required) for need in found.ssh] == [
        ("default", False),
        ("ssh3", True),
    ]
    assert [need.name for need in found.caches] == ["/c"]


def test_a_secret_is_required_if_one_mount_of_it_is() -> None:
    text = (
        "FROM scratch\nRUN --mount=type=secret,id=a,required a\nRUN --mount=type=secret,id=a b\n"
    )
    assert [(need.name, need.required) for need in _outline(text).secrets] == [("a", True)]


def test_from_scratch_is_never_a_stage_of_that_name() -> None:
    assert _outline("FROM scratch AS scratch\nFROM scratch\n").stages == ("1",)


def test_a_target_can_be_a_number_or_written_in_capitals() -> None:
    assert _outline(MOUNTS, "1").target.name == "second"
    assert _outline(MOUNTS, "FIRST").target.name == "first"


def test_a_target_that_is_not_there_is_an_error_with_a_near_name() -> None:
    with pytest.raises(ContainerfileError, match="there is no stage 'secnd'") as caught:
        _outline(MOUNTS, "secnd")
    assert caught.value.hint == "did you mean second?"


def test_the_targets_are_all_stages_and_the_last_is_the_default() -> None:
    found = targets(parse(TARGETS, name="Containerfile"))
    assert [(t.name, t.base, t.description, t.is_default, t.span.line) for t in found] == [
        ("build", "alpine", "defines stage for compiling the binary", False, 3),
        ("second", "busybox", "", False, 6),
        (None, "alpine", "", False, 9),
        ("binary", "second", "returns the compiled binary", True, 13),
    ]


def test_the_targets_as_text() -> None:
    assert targets_to_text(targets(parse(TARGETS, name="Containerfile"))) == (
        "TARGET             DESCRIPTION\n"
        "build              defines stage for compiling the binary\n"
        "second\n"
        "\n"
        "binary (default)   returns the compiled binary\n"
    )


def test_the_targets_as_json() -> None:
    containerfile = parse(TARGETS, name="Containerfile")
    document = json.loads(targets_to_json(containerfile, targets(containerfile)))
    assert document["targets"][2] == {
        "base": "alpine",
        "platform": "$BUILDPLATFORM",
        "location": {
            "ranges": [{"start": {"line": 9, "character": 0}, "end": {"line": 9, "character": 37}}]
        },
    }
    assert document["targets"][3]["default"] is True
    assert base64.b64decode(document["sources"][0]).decode() == TARGETS


def test_the_outline_as_text() -> None:
    text = "# a does it\nFROM scratch AS a\n# V is new\nARG V=1\nARG W\n"
    text += "RUN --mount=type=secret,id=s,required --mount=type=ssh true\n"
    assert outline_to_text(_outline(text)) == (
        "TARGET:      a\n"
        "DESCRIPTION: does it\n"
        "\n"
        "BUILD ARG   VALUE   DESCRIPTION\n"
        "V           1       is new\n"
        "W\n"
        "\n"
        "SECRET   REQUIRED\n"
        "s        true\n"
        "\n"
        "SSH       REQUIRED\n"
        "default\n"
    )


def test_the_outline_as_json_leaves_out_what_says_nothing() -> None:
    containerfile = parse("FROM scratch\nARG V\nARG W=1\n", name="Containerfile")
    document = json.loads(outline_to_json(containerfile, outline(containerfile)))
    assert list(document) == ["args", "sources"]
    assert [list(argument) for argument in document["args"]] == [
        ["name", "location"],
        ["name", "value", "location"],
    ]
