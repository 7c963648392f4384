"""Which rules run: `# check=` directives, comments, build arguments."""

from __future__ import annotations

import pytest

from grammar import ContainerfileError, parse
from grammar.lint import RULES, CheckOptionError, LintContext, lint

FROM_AS, CASING = "FromAsCasing", "ConsistentInstructionCasing"
TWO_FAULTS = "FROM scratch as base\ncopy Dockerfile .\n"


def _names(text: str, context: LintContext | None = None) -> list[str]:
    result = lint(parse(text, name="Containerfile"), context)
    return [finding.rule.name for finding in result.findings]


@pytest.mark.parametrize(
    ("directive", "names", "fail"),
    [
        ("", [FROM_AS, CASING], False),
        ("#check=skip=all\n", [], False),
        ("#check=skip=all;error=true\n", [], False),
        (f"#check=skip={CASING},{FROM_AS}\n", [], False),
        (f"# check = skip = {CASING} , {FROM_AS} ; error = true\n", [], False),
        (f"#check=skip={CASING}\n", [FROM_AS], False),
        (f"#check=skip={CASING};error=true\n", [FROM_AS], True),
        (f"#check=error=True;skip={CASING}\n", [FROM_AS], True),
        ("#check=error=false\n", [FROM_AS, CASING], False),
    ],
)
def test_the_directive_chooses_rules_and_whether_findings_fail(
    directive: str, names: list[str], fail: bool
) -> None:
    result = lint(parse(directive + TWO_FAULTS, name="Containerfile"))
    assert [finding.rule.name for finding in result.findings] == names
    assert result.fail is fail


def test_the_build_argument_replaces_the_directive() -> None:
    given = {"BUILDKIT_DOCKERFILE_CHECK": f"skip={CASING};error=true"}
    containerfile = parse(f"#check=skip=all\n{TWO_FAULTS}", name="Containerfile")
    result = lint(containerfile, LintContext(build_args=given))
    assert [finding.rule.name for finding in result.findings] == [FROM_AS]
    assert result.fail


def test_skipping_all_leaves_the_experimental_rules_that_are_asked_for() -> None:
    text = "# comment\nFROM scratch as base\n"
    asked = "InvalidDefinitionDescription"
    assert _names(f"# check=skip=all;experimental={asked}\n{text}") == [asked]
    assert _names(f"# check=skip=all;experimental=all\n{text}") == [asked]
    assert _names(f"# check=skip=all\n{text}") == []


def test_a_comment_above_an_instruction_skips_rules_for_that_one_only() -> None:
    text = "FROM scratch\n# check=skip=JSONArgsRecommended for signals\nCMD a\nENTRYPOINT b\n"
    result = lint(parse(text, name="Containerfile"))
    assert [finding.span.line for finding in result.findings] == [4]


def test_a_comment_that_is_parted_from_the_instruction_skips_nothing() -> None:
    text = "FROM scratch\n# check=skip=JSONArgsRecommended\n\nCMD a\n"
    assert _names(text) == ["JSONArgsRecommended"]


def test_a_comment_can_skip_all_rules() -> None:
    assert _names("FROM scratch\n# a\n#check=skip=all\n# b\ncmd a\n") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("skp=all", "'skp=all' is no check option"),
        ("skip", "'skip' is no check option"),
        ("error=maybe", "check option error is either true or false, not 'maybe'"),
        ("skip=A;skip=B", "check option skip is repeated"),
    ],
)
def test_options_that_cannot_be_read_are_an_error_at_their_place(
    options: str, message: str
) -> None:
    with pytest.raises(ContainerfileError, match=message) as caught:
        lint(parse(f"# check={options}\nFROM scratch\n", name="Containerfile"))
    assert (caught.value.span.line, caught.value.span.column) == (1, 9)
    with pytest.raises(CheckOptionError, match=message):
        _names("FROM scratch\n", LintContext(build_args={"BUILDKIT_DOCKERFILE_CHECK": options}))


def test_the_rules_of_buildkit_are_all_here() -> None:
    names = """StageNameCasing FromAsCasing NoEmptyContinuation ConsistentInstructionCasing
    DuplicateStageName ReservedStageName JSONArgsRecommended MaintainerDeprecated
    UndefinedArgInFrom WorkdirRelativePath UndefinedVar MultipleInstructionsDisallowed
    LegacyKeyValueFormat InvalidBaseImagePlatform RedundantTargetPlatform SecretsUsedInArgOrEnv
    InvalidDefaultArgInFrom FromPlatformFlagConstDisallowed CopyIgnoredFile
    InvalidDefinitionDescription ExposeProtoCasing ExposeInvalidFormat""".split()
    assert [rule.name for rule in RULES[: len(names)]] == names
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_the_hint_of_an_ignored_file_names_the_rule_of_the_ignore_file() -> None:
    from grammar.ignore import parse_ignore

    context = LintContext(ignore=parse_ignore("# keep out\nsecret*\n", name=".containerignore"))
    (finding,) = lint(parse("FROM scratch\nCOPY secrets /\n", name="f"), context).findings
    assert finding.hint == "line 2 of .containerignore says secret*"


def test_a_misspelt_build_argument_is_named_with_the_one_that_was_meant() -> None:
    context = LintContext(build_args={"VERSOIN": "1"})
    result = lint(parse("ARG VERSION=1\nFROM busybox:$VERSION\n", name="f"), context)
    assert [finding.hint for finding in result.findings] == ["did you mean VERSION?"]


def test_an_env_keeps_its_value_when_an_arg_of_its_name_follows() -> None:
    text = "FROM scratch\nENV dir=/app\nARG dir=app\nWORKDIR $dir\n"
    assert "WorkdirRelativePath" not in _names(text)


def test_a_value_that_only_the_build_knows_is_not_judged() -> None:
    assert _names("FROM busybox:$TARGETARCH\n") == []


def test_a_place_behind_continuations_and_comments_is_exact() -> None:
    text = "FROM busybox:1\nRUN a \\\n  # comment\n\\\n   && b \\\n\t| c\n"
    findings = lint(parse(text, name="f")).findings
    (pipe,) = [found for found in findings if found.rule.name == "PipeWithoutPipefail"]
    assert (pipe.span.line, pipe.span.column, pipe.lines) == (6, 2, (2, 6))


def test_ten_thousand_instructions_take_seconds_not_minutes() -> None:
    import time

    text = "FROM scratch\n" + "".join(
        f"ENV A{n}=$A{n - 1}\nRUN a {n} | b\n" for n in range(1, 5001)
    )
    containerfile = parse(text, name="f")
    start = time.process_time()
    lint(containerfile)
    assert time.process_time() - start < 10
