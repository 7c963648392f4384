"""What became of each step, as the JUnit XML that CI systems show as test results.

As Jenkins and GitLab read it. A step is a test case: cached ones took no time, those that
another's failure left are skipped.
"""

from __future__ import annotations

import os
import re
from xml.etree import ElementTree

from buildkit.errors import BuildError
from buildkit.progress import CACHED, CANCELED, ERROR, View
from buildkit.replacement import write_document
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from buildkit.counting import Count

_KEPT = 1 << 14  # bytes of a failed step's output
# What XML 1.0 cannot say (section 2.2 "Characters").
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _Step(Record):
    title: str
    outcome: str = CANCELED
    seconds: float = 0.0
    log: bytes = b""


class Results(View):
    """A view that shows nothing, and remembers how steps ended."""

    def __init__(self) -> None:
        self._steps: dict[int, _Step] = {}

    def begin(self, number: int, title: str) -> Count | None:
        """A step."""
        self._steps[number] = _Step(title=title)
        return None

    def output(self, number: int, seconds: float, chunk: bytes) -> None:
        """The end of what it wrote."""
        step = self._steps[number]
        self._steps[number] = step.replace(log=(step.log + chunk)[-_KEPT:])

    def end(self, number: int, outcome: str, seconds: float) -> None:
        """How it ended."""
        self._steps[number] = self._steps[number].replace(outcome=outcome, seconds=seconds)

    def repeat(self, titles: tuple[str, ...]) -> None:
        """All of a build was there already."""
        for number, title in enumerate(titles, 1):
            self.begin(number, title)
            self.end(number, CACHED, 0.0)

    def document(self, name: str, error: BuildError | None) -> bytes:
        """The results of the build of a Containerfile, which ended with `error` if it failed."""
        steps = list(self._steps.values())
        if error is not None and all(step.outcome != ERROR for step in steps):
            # Not in a step: the Containerfile, the command line, an output.
            steps.append(_Step(title=os.path.basename(name), outcome=ERROR))
        suite = ElementTree.Element(
            "testsuite",
            {
                "name": _text(name),
                "tests": str(len(steps)),
                "failures": str(sum(step.outcome == ERROR for step in steps)),
                "errors": "0",
                "skipped": str(sum(step.outcome == CANCELED for step in steps)),
                "time": f"{sum(step.seconds for step in steps):.3f}",
            },
        )
        for step in steps:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                {
                    "classname": _text(os.path.basename(name)),
                    "name": _text(step.title),
                    "time": f"{step.seconds:.3f}",
                },
            )
            if step.outcome == CANCELED:
                ElementTree.SubElement(case, "skipped")
            elif step.outcome == ERROR:
                _add_failure(case, step, error)
        suites = ElementTree.Element("testsuites")
        suites.append(suite)
        ElementTree.indent(suites)
        text: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
        return text + b"\n"


def reported(option: str, name: str, build: Callable[[Results], int]) -> int:
    """Build, and write what `--report` asks for, whatever comes of it; the exit status.

    Raises what the build raises, and DiskError.
    """
    results, path = Results(), option.partition("=")[2]
    try:
        status = build(results)
    except BuildError as error:
        write_document(path, results.document(name, error))
        raise
    write_document(path, results.document(name, None))
    return status


def _add_failure(case: ElementTree.Element, step: _Step, error: BuildError | None) -> None:
    message = error.message if error is not None else "failed"
    failure = ElementTree.SubElement(
        case, "failure", {"message": _text(message.splitlines()[0]), "type": "BuildError"}
    )
    hint = f"\nhint: {error.hint}" if error is not None and error.hint else ""
    failure.text = _text(message + hint)
    if step.log:
        out = ElementTree.SubElement(case, "system-out")
        out.text = _text(step.log.decode("utf-8", "replace"))


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
