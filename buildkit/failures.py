"""A step that failed, as the user is told: its place, what it said, how to look at it."""

from __future__ import annotations

import shlex

from buildkit.errors import BuildError, LocatedError, RunFailed
from buildkit.printing import complain
from buildkit.progress import Progress
from buildkit.request import INLINE, Request
from buildkit.script_lines import failed_line
from grammar import Containerfile, Span

_LOG_LINES = 20  # of a failed step's output


def failed(
    failure: LocatedError, request: Request, containerfile: Containerfile, progress: Progress
) -> BuildError:
    """The error of a step that failed, ready to be printed; its log is printed here."""
    progress.close()
    _show_log(progress.last_log)
    if isinstance(failure.error, RunFailed):
        again = _how_to_reopen(request, failure)
        failure.error.hint = "\n      ".join(filter(None, (failure.error.hint, again)))
        failure.span = _failed_span(failure.error, failure.span, progress.last_log)
    return at_its_place(failure, containerfile)


def at_its_place(failure: LocatedError, containerfile: Containerfile) -> BuildError:
    """The error with its place and the source text there in its message, ready to be printed."""
    error = failure.error
    located = containerfile.error(error.message, failure.span, hint=error.hint)
    placed = type(error)(str(located))
    placed.located = True
    placed.documents = (located.to_json(),)
    return placed


def _failed_span(error: RunFailed, span: Span, log: bytes) -> Span:
    """The line of a heredoc that its interpreter complained of, else the whole instruction."""
    number = failed_line(error.program, log.decode("utf-8", "replace"))
    if not 0 < number <= len(error.script_lines):
        return span
    return Span.within(error.script_lines[number - 1], 1)


def _how_to_reopen(request: Request, failure: LocatedError) -> str:
    """The command that opens a shell where a step failed; "" where there is none."""
    if request.name == INLINE:
        return ""
    words = ["pybuild", "shell", f"--at={failure.span.line}"]
    if request.name != "<stdin>":
        words.append(f"--file={request.name}")
    return f"`{shlex.join([*words, request.context])}` opens a shell there"


def _show_log(log: bytes) -> None:
    lines = log.decode("utf-8", "replace").splitlines()
    if lines:
        shown = [f" > {text}" for text in lines[-_LOG_LINES:]]
        complain("\n".join(["------", *shown, "------"]))
