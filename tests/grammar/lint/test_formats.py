"""The formats of findings."""

from __future__ import annotations

import base64
import json

import jsonschema
import pytest

from grammar import ContainerfileErrors, parse
from grammar.containerfile import Containerfile
from grammar.lint import LintResult, formats, lint

TEXT = "FROM scratch AS Base\nLABEL a=1 \\\n\n  b=2\nMAINTAINER a, b: 100%\n"

# What https://docs.oasis-open.org/sarif/sarif/v2.1.0/ and GitHub's code scanning require.
SARIF = {
    "type": "object",
    "required": ["version", "runs", "$schema"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name", "rules"],
                                "properties": {
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "type": "object",
                                            "required": ["id", "shortDescription"],
                                            "properties": {
                                                "helpUri": {"pattern": "^https://"},
                                                "shortDescription": {"required": ["text"]},
                                            },
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["ruleId", "ruleIndex", "level", "message", "locations"],
                            "properties": {
                                "ruleIndex": {"type": "integer", "minimum": 0},
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "message": {"required": ["text"]},
                                "locations": {
                                    "minItems": 1,
                                    "items": {
                                        "required": ["physicalLocation"],
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation", "region"],
                                                "properties": {
                                                    "artifactLocation": {"required": ["uri"]},
                                                    "region": {
                                                        "required": ["startLine"],
                                                        "additionalProperties": {
                                                            "type": "integer",
                                                            "minimum": 1,
                                                        },
                                                    },
                                                },
                                            }
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def _linted(text: str = TEXT, name: str = "Containerfile") -> tuple[Containerfile, LintResult]:
    containerfile = parse(text, name=name)
    return containerfile, lint(containerfile)


def test_the_text_has_place_message_excerpt_hint_and_rule() -> None:
    assert formats.to_text(*_linted("FROM scratch\nEXPOSE 80/TCP\n")) == (
        "Containerfile:2:8: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase\n"
        "    2 | EXPOSE 80/TCP\n"
        "      |        ^^^^^^\n"
        "rule: ExposeProtoCasing https://docs.docker.com/go/dockerfile/rule/expose-proto-casing/\n"
    )


def test_a_file_without_findings_has_no_text() -> None:
    assert formats.to_text(*_linted("FROM scratch\n")) == ""


def test_control_characters_do_not_reach_the_terminal() -> None:
    text = formats.to_text(*_linted("FROM scratch\nMAINTAINER \x1b[31mred\n"))
    assert "\x1b" not in text


def test_the_json_has_the_shape_of_buildkit() -> None:
    document = json.loads(formats.to_json(*_linted()))
    assert list(document) == ["warnings", "sources"]
    assert document["warnings"][1] == {
        "ruleName": "NoEmptyContinuation",
        "description": "Empty continuation lines will become errors in a future release",
        "url": "https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/",
        "detail": "Empty continuation line",
        "location": {
            "ranges": [{"start": {"line": 4, "character": 0}, "end": {"line": 4, "character": 0}}]
        },
        "span": {"line": 3, "column": 1, "endLine": 3, "endColumn": 2},
    }
    (source,) = document["sources"]
    assert (source["filename"], source["language"]) == ("Containerfile", "Dockerfile")
    assert base64.b64decode(source["data"]).decode() == TEXT


def test_a_rule_without_a_page_has_no_url_in_the_json() -> None:
    (warning,) = json.loads(formats.to_json(*_linted("FROM busybox\n")))["warnings"]
    assert "url" not in warning


def test_the_json_of_a_file_that_cannot_be_read_holds_the_error() -> None:
    with pytest.raises(ContainerfileErrors) as caught:
        parse("FROM scratch\nCPOY a b\n", name="Containerfile")
    document = json.loads(formats.errors_to_json(caught.value))
    assert document["warnings"] == []
    assert "CPOY" in document["buildError"]["message"]
    assert document["buildError"]["location"]["ranges"][0]["start"]["line"] == 2


def test_the_sarif_log_has_the_required_members() -> None:
    log = json.loads(formats.to_sarif(*_linted(name="dir with blank/Containerfile")))
    jsonschema.validate(log, SARIF)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [rules[result["ruleIndex"]] for result in run["results"]] == [
        result["ruleId"] for result in run["results"]
    ]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "dir%20with%20blank/Containerfile"
    assert place["region"] == {"startLine": 1, "startColumn": 17, "endLine": 1, "endColumn": 21}


def test_the_sarif_log_of_a_file_without_findings_is_complete() -> None:
    log = json.loads(formats.to_sarif(*_linted("FROM scratch\n")))
    jsonschema.validate(log, SARIF)
    assert log["runs"][0]["results"] == []


def test_findings_that_fail_the_build_are_errors() -> None:
    linted = _linted("# check=error=true\nFROM busybox\n")
    (result,) = json.loads(formats.to_sarif(*linted))["runs"][0]["results"]
    assert result["level"] == "error"
    assert formats.to_github(*linted).startswith("::error ")


def test_github_gets_one_escaped_command_for_each_finding() -> None:
    linted = _linted("FROM scratch\nMAINTAINER 100%\n", name="a,b:c/Containerfile")
    assert formats.to_github(*linted) == (
        "::warning file=a%2Cb%3Ac/Containerfile,line=2,col=1,endLine=2,endColumn=10,"
        "title=MaintainerDeprecated::Maintainer instruction is deprecated in favor of using label "
        '(LABEL org.opencontainers.image.authors="100%25")\n'
    )


def test_gitlab_gets_issues_whose_fingerprints_outlive_lines_above_them() -> None:
    [issue, other] = json.loads(formats.to_codeclimate(*_linted(TEXT)))[:2]
    assert issue["location"] == {"path": "Containerfile", "lines": {"begin": 1, "end": 1}}
    assert (issue["check_name"], issue["severity"]) == ("StageNameCasing", "minor")
    assert issue["fingerprint"] != other["fingerprint"]
    [moved] = json.loads(formats.to_codeclimate(*_linted(f"# new\n{TEXT}")))[:1]
    assert moved["location"]["lines"]["begin"] == 2
    assert moved["fingerprint"] == issue["fingerprint"]


def test_equal_findings_have_fingerprints_of_their_own() -> None:
    linted = _linted("FROM scratch\nMAINTAINER a\nMAINTAINER a\n")
    prints = [issue["fingerprint"] for issue in json.loads(formats.to_codeclimate(*linted))]
    assert len(prints) == len(set(prints)) > 1


def test_a_file_without_findings_is_an_empty_list_of_issues() -> None:
    assert json.loads(formats.to_codeclimate(*_linted("FROM scratch\n"))) == []
