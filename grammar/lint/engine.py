"""Running the rules: which ones, and where their findings count."""

from __future__ import annotations

from grammar.containerfile import Containerfile
from grammar.lint.model import Finding, LintContext, LintResult, Problem, Rule
from grammar.lint.options import (
    ALL,
    CheckOptionError,
    CheckOptions,
    parse_options,
    skipped_at,
)
from grammar.lint.rules import RULES
from grammar.lint.view import View

CHECK_ARGUMENT = "BUILDKIT_DOCKERFILE_CHECK"


def lint(containerfile: Containerfile, context: LintContext | None = None) -> LintResult:
    """Everything that the rules find in all stages of a file.

    Raises a ContainerfileError for a `# check=` that cannot be read, and CheckOptionError when
    it is the build argument BUILDKIT_DOCKERFILE_CHECK, which stands in for the directive.
    """
    context = LintContext() if context is None else context
    options = _options(containerfile, context)
    view = View(containerfile, context, tuple(rule.name for rule in RULES))
    findings = [
        _finding(rule, problem)
        for rule in RULES
        if options.wants(rule.name, experimental=rule.experimental)
        for problem in rule.find(view)
        if not _is_skipped(view, rule, problem)
    ]
    # Stable: on one place, the order is that of the rules.
    findings.sort(key=lambda finding: finding.span)
    return LintResult(tuple(findings), fail=options.error and bool(findings))


def _options(containerfile: Containerfile, context: LintContext) -> CheckOptions:
    given = context.build_args.get(CHECK_ARGUMENT)
    if given is not None:
        return parse_options(given)
    directive = next((d for d in containerfile.directives if d.name == "check"), None)
    if directive is None:
        return CheckOptions()
    try:
        return parse_options(directive.value)
    except CheckOptionError as error:
        raise containerfile.error(str(error), directive.span, hint=error.hint) from None


def _is_skipped(view: View, rule: Rule, problem: Problem) -> bool:
    if problem.instruction is None:
        return False
    skipped = skipped_at(problem.instruction)
    return rule.name in skipped or ALL in skipped


def _finding(rule: Rule, problem: Problem) -> Finding:
    return Finding(
        rule=rule,
        message=problem.message,
        span=problem.span,
        lines=problem.lines or _lines(problem),
        hint=problem.hint,
    )


def _lines(problem: Problem) -> tuple[int, int]:
    span = problem.span if problem.instruction is None else problem.instruction.span
    return span.line, span.end_line
