"""Findings for people and for programs: text, BuildKit's JSON, SARIF, GitHub's annotations, Code
Climate's issues.
"""

from __future__ import annotations

import base64
import hashlib
import json
from urllib.parse import quote

from grammar.containerfile import Containerfile
from grammar.errors import ContainerfileError, ContainerfileErrors
from grammar.lint.model import Finding, LintResult, Rule
from grammar.lint.rules import RULES
from grammar.source import Span, printable

Json = dict[str, object]

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_INFORMATION = "https://docs.docker.com/reference/build-checks/"


def to_text(containerfile: Containerfile, result: LintResult) -> str:
    """Place, message and excerpt of each finding, then the rule and where it is explained."""
    return "\n".join(_text(containerfile, finding) for finding in result.findings)


def to_json(
    containerfile: Containerfile, result: LintResult, error: ContainerfileErrors | None = None
) -> str:
    """The result of `docker build --call=check,format=json`, with the exact place as `span`.

    Lines count from 1, and BuildKit gives no columns: its `character` is always 0.
    """
    return _json(containerfile.source.name, containerfile.source.text, result, error)


def errors_to_json(errors: ContainerfileErrors) -> str:
    """The same for a file that cannot be read: no warnings, and the first error."""
    source = errors.errors[0].source
    return _json(source.name, source.text, LintResult((), fail=True), errors)


def to_sarif(containerfile: Containerfile, result: LintResult) -> str:
    """A SARIF 2.1.0 log (https://docs.oasis-open.org/sarif/sarif/v2.1.0/)."""
    used = [rule for rule in RULES if any(f.rule.name == rule.name for f in result.findings)]
    index = {rule.name: number for number, rule in enumerate(used)}
    driver: Json = {
        "name": "pybuild",
        "informationUri": _INFORMATION,
        "rules": [_sarif_rule(rule) for rule in used],
    }
    uri = quote(containerfile.source.name, safe="/:@!$&'()*+,;=~")
    level = "error" if result.fail else "warning"
    results = [_sarif_result(f, index[f.rule.name], uri, level) for f in result.findings]
    run: Json = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return _dump({"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]})


def to_github(containerfile: Containerfile, result: LintResult) -> str:
    """Workflow commands that GitHub shows beside the lines of the file."""
    command = "error" if result.fail else "warning"
    return "".join(
        f"::{command} {_properties(containerfile, finding)}::{_data(_message(finding))}\n"
        for finding in result.findings
    )


def to_codeclimate(containerfile: Containerfile, result: LintResult) -> str:
    """What GitLab shows as code quality in a merge request: issues of Code Climate's, as a list.

    An issue keeps its fingerprint when lines are added above it.
    """
    seen: dict[str, int] = {}
    issues: list[Json] = []
    for finding in result.findings:
        source = containerfile.source
        parts = (finding.rule.name, source.name, finding.message, source.slice(finding.span))
        text = "\0".join(parts)
        seen[text] = seen.get(text, 0) + 1
        fingerprint = hashlib.sha256(f"{text}\0{seen[text]}".encode("utf-8", "replace"))
        issues.append(
            {
                "description": _message(finding),
                "check_name": finding.rule.name,
                "fingerprint": fingerprint.hexdigest(),
                "severity": "major" if result.fail else "minor",
                "location": {
                    "path": containerfile.source.name,
                    "lines": {"begin": finding.span.line, "end": finding.span.end_line},
                },
            }
        )
    return _dump(issues)


def _text(containerfile: Containerfile, finding: Finding) -> str:
    span = finding.span
    lines = [
        f"{containerfile.source.name}:{span.line}:{span.column}: {printable(finding.message)}",
        containerfile.source.excerpt(span),
    ]
    if finding.hint is not None:
        lines.append(f"hint: {printable(finding.hint)}")
    lines.append(f"rule: {' '.join(filter(None, (finding.rule.name, finding.rule.url)))}")
    return "".join(f"{line}\n" for line in lines)


def _json(name: str, text: str, result: LintResult, error: ContainerfileErrors | None) -> str:
    document: Json = {
        "warnings": [_warning(finding) for finding in result.findings],
        "sources": [
            {
                "filename": name,
                "language": "Dockerfile",
                "data": base64.b64encode(text.encode("utf-8", "replace")).decode(),
            }
        ],
    }
    if error is not None:
        document["buildError"] = _build_error(error.errors[0])
    return _dump(document)


def _warning(finding: Finding) -> Json:
    first, last = finding.lines
    members: Json = {
        "ruleName": finding.rule.name,
        "description": finding.rule.description,
        "url": finding.rule.url,
        "detail": finding.message,
        "location": {"ranges": [_range(first, last)]},
        "span": _span(finding.span),
    }
    return {name: value for name, value in members.items() if value}


def _build_error(error: ContainerfileError) -> Json:
    place = [_range(error.span.line, error.span.end_line)]
    return {"message": error.message, "location": {"ranges": place}, "span": _span(error.span)}


def _range(first: int, last: int) -> Json:
    return {"start": {"line": first, "character": 0}, "end": {"line": last, "character": 0}}


def _span(span: Span) -> Json:
    """Counted from 1; the end is one past the last character."""
    return {
        "line": span.line,
        "column": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }


def _sarif_rule(rule: Rule) -> Json:
    members: Json = {
        "id": rule.name,
        "name": rule.name,
        "shortDescription": {"text": rule.description},
        "helpUri": rule.url,
    }
    return {name: value for name, value in members.items() if value}


def _sarif_result(finding: Finding, index: int, uri: str, level: str) -> Json:
    region = {
        "startLine": finding.span.line,
        "startColumn": finding.span.column,
        "endLine": finding.span.end_line,
        "endColumn": finding.span.end_column,
    }
    return {
        "ruleId": finding.rule.name,
        "ruleIndex": index,
        "level": level,
        "message": {"text": _message(finding)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}],
    }


def _message(finding: Finding) -> str:
    return finding.message if finding.hint is None else f"{finding.message} ({finding.hint})"


def _properties(containerfile: Containerfile, finding: Finding) -> str:
    span = finding.span
    properties = {
        "file": containerfile.source.name,
        "line": span.line,
        "col": span.column,
        "endLine": span.end_line,
        # GitHub's end is the last character itself.
        "endColumn": max(span.column, span.end_column - 1),
        "title": finding.rule.name,
    }
    if span.end_line != span.line:
        # It ignores columns of a range over several lines, and warns about them.
        del properties["col"], properties["endColumn"]
    return ",".join(f"{name}={_property(str(value))}" for name, value in properties.items())


def _data(text: str) -> str:
    """Escape what would end the message (actions/toolkit, command.ts)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _dump(document: Json | list[Json]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"
