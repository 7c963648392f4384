"""Golden files: a folder `cases/<rule>/<name>` is a test, with no code of its own.

`bad…` has findings of its rule, `good…` has none at all. Beside the Containerfile may stand an
`ignore` file, and `context.json` with the members of LintContext. To write the expected files
of new cases: UPDATE_CASES=1 python -m pytest tests/grammar/lint.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from grammar import parse
from grammar.ignore import parse_ignore
from grammar.lint import RULES, LintContext, LintResult, lint

CASES = Path(__file__).parent / "cases"


def _context(case: Path) -> LintContext:
    members = json.loads((case / "context.json").read_text()) if _has(case, "context.json") else {}
    if _has(case, "ignore"):
        members["ignore"] = parse_ignore((case / "ignore").read_bytes(), name=".dockerignore")
    return LintContext(**members)


def _has(case: Path, name: str) -> bool:
    return (case / name).exists()


def _shown(result: LintResult) -> str:
    """One line for each finding: BuildKit's lines, the exact place, rule and message."""
    lines = []
    for finding in result.findings:
        span = finding.span
        place = f"{span.line}:{span.column}-{span.end_line}:{span.end_column}"
        first, last = finding.lines
        lines.append(f"{first}-{last} ({place}) {finding.rule.name}: {finding.message}\n")
    return "".join(lines) + ("fail\n" if result.fail else "")


@pytest.mark.parametrize(
    "case", sorted(CASES.glob("*/*")), ids=lambda case: f"{case.parent.name}-{case.name}"
)
def test_a_file_gives_the_recorded_findings(case: Path) -> None:
    containerfile = parse((case / "Containerfile").read_bytes(), name="Containerfile")
    result = lint(containerfile, _context(case))
    found = {finding.rule.name for finding in result.findings}
    assert (case.parent.name in found) if case.name.startswith("bad") else not found
    expected = case / "findings"
    if "UPDATE_CASES" in os.environ and not expected.exists():
        expected.write_text(_shown(result), encoding="utf-8")
    assert _shown(result) == expected.read_text(encoding="utf-8")


def test_every_rule_has_a_good_and_a_bad_case() -> None:
    kinds = {(path.parent.name, path.name.partition("-")[0]) for path in CASES.glob("*/*")}
    missing = {(rule.name, kind) for rule in RULES for kind in ("good", "bad")} - kinds
    assert missing == set()
