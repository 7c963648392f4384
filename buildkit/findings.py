"""What is wrong with a Containerfile, as errors of ours. Few builds look for more than faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from buildkit.errors import BuildError, FindingsError, UsageError
from grammar import Containerfile, ContainerfileErrors

if TYPE_CHECKING:
    from grammar.lint import LintContext, LintResult


def located_errors(errors: ContainerfileErrors) -> UsageError:
    """The errors of a file as one error of ours, places and all."""
    error = UsageError(str(errors))
    error.located = True
    error.documents = tuple(errors.to_json())
    return error


def refuse_findings(containerfile: Containerfile, build_args: Mapping[str, str]) -> None:
    """Raise FindingsError if the file asks for it (`# check=error=true`) and there are findings.

    A file without that directive is not linted: a build should not pay for it.
    """
    asks = any(directive.name == "check" for directive in containerfile.directives)
    if not (asks or "BUILDKIT_DOCKERFILE_CHECK" in build_args):
        return
    from grammar.lint import LintContext, formats

    result = look_for_findings(containerfile, LintContext(build_args=build_args))
    if result.fail:
        error = FindingsError(formats.to_text(containerfile, result).rstrip("\n"))
        error.located = True
        raise error


def look_for_findings(containerfile: Containerfile, context: LintContext) -> LintResult:
    """Raises BuildError for options that make no sense."""
    from grammar.lint import CheckOptionError, lint

    try:
        return lint(containerfile, context)
    except CheckOptionError as error:
        raise BuildError(f"BUILDKIT_DOCKERFILE_CHECK: {error}") from error
