"""No file that can be read makes a rule, a format or the outline fail."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from grammar import ContainerfileErrors, parse
from grammar.ignore import parse_ignore
from grammar.lint import LintContext, formats, lint
from grammar.outline import outline, targets

_LINE = st.sampled_from(
    """
    FROM scratch AS a|FROM a|from $X AS b|FROM --platform=$TARGETPLATFORM ${X:-y}:1|ARG X=1
    ARG Y|ARG Z=$X$Q|ENV A=$B B=${A:+x}|ENV a b c|LABEL "a b"=$A|RUN a | b \\|  && c|RUN <<E bash
    E|RUN <<E|#!/bin/sh|set -e|RUN ["sh", "-c", "a | b"]|RUN ['a']|COPY . /x|ADD a.tar* $A
    COPY --from=b <<E /y|VOLUME /x ["|EXPOSE $A 1:2/X|WORKDIR $A|WORKDIR x|CMD a|CMD ["$A"]
    HEALTHCHECK NONE|ONBUILD RUN a | b|ONBUILD COPY $x /|SHELL ["/bin/bash", "-o", "pipefail"]
    MAINTAINER \u202ex|# check=skip=all;x|# X text|BOOTSTRAP --tools=a x
    RUN --mount=from=a,target=/x
    RUN case x in a|RUN case a in x|y) z;; esac|RUN dnf --installroot=/x install|USER $A|
    """.replace("\n", "|").split("|")
).map(str.strip)


@given(lines=st.lists(_LINE, max_size=12))
@settings(max_examples=400, deadline=None)
def test_whatever_can_be_read_can_be_linted_and_printed(lines: list[str]) -> None:
    text = "\n".join(["FROM scratch AS first", *lines, ""])
    try:
        containerfile = parse(text, name="Containerfile")
    except ContainerfileErrors:
        return
    context = LintContext(
        build_args={"X": "b", "NONE": "1"},
        platform="linux/amd64",
        ignore=parse_ignore("*\n!x"),
        base_platforms={"b": "linux/arm64"},
    )
    result = lint(containerfile, context)
    for finding in result.findings:
        # Every place lies in the file.
        line = containerfile.source.lines[finding.span.end_line - 1]
        assert finding.span.column >= 1
        assert finding.span.line <= finding.span.end_line
        assert finding.span.end_column <= max(2, len(line) + 1), finding
    assert formats.to_text(containerfile, result).count("rule: ") == len(result.findings)
    assert len(json.loads(formats.to_sarif(containerfile, result))["runs"]) == 1
    assert formats.to_github(containerfile, result).count("\n") == len(result.findings)
    assert len(outline(containerfile).stages) <= len(targets(containerfile))
