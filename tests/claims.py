"""Promises that are counted: `NAME: n of N` at the end of a run, for each of `CLAIMS`.

A test that is marked as a claim's is one of the N, and with parameters as many; it counts where it
passes. Nothing runs for the count alone. A run of all files has failed if a claim has
fewer tests than are promised here; tests of the second tier count as there, and as not run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

# Each is a decorator of tests.
accepted = pytest.mark.claim("archive accepted by readers, with equal files")
foreign_image = pytest.mark.claim("images of other tools run by pyrun")
schema = pytest.mark.claim("kinds of JSON documents valid under the schemas of image-spec")
disagreement = pytest.mark.claim("archives refused whose views disagree")
registry_fault = pytest.mark.claim("registry faults that end right, or named with the tag unmoved")
kept_credential = pytest.mark.claim("ways to another host on which no credential goes")
detected_lie = pytest.mark.claim("lies of a registry detected")
shape = pytest.mark.claim("shapes of images that skopeo and we exchange, equal to the byte")
secret = pytest.mark.claim("secrets of which nothing is left behind")

# How many there must be at least.
CLAIMS: dict[str, int] = {
    mark.args[0]: least
    for mark, least in (
        (accepted, 9),
        (foreign_image, 10),
        (schema, 16),
        (disagreement, 20),
        (registry_fault, 90),
        (kept_credential, 15),
        (detected_lie, 20),
        (shape, 28),
        (secret, 29),
    )
}
_PROPERTY = "claim"
_COLLECTED = "claims"


class Counted:
    """The plugin that counts, whether the tests run here or in workers of pytest-xdist."""

    def __init__(self, promised: Mapping[str, int]) -> None:
        self._promised = promised
        self._collected: Counter[str] = Counter()
        self._outcomes: dict[str, dict[str, str]] = {name: {} for name in promised}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Count what is there before the second tier is left out."""
        for item in items:
            for name in dict.fromkeys(mark.args[0] for mark in item.iter_markers("claim")):
                if name not in self._promised:
                    raise pytest.UsageError(f"{item.nodeid}: {name!r} is no claim of CLAIMS")
                item.user_properties.append((_PROPERTY, name))
                self._collected[name] += 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test ended; what was torn down in vain has failed."""
        for key, name in report.user_properties:
            if key == _PROPERTY and (report.when == "call" or report.outcome != "passed"):
                self._outcomes[str(name)][report.nodeid] = report.outcome

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker has collected: each collects everything."""
        self._collected |= Counter(getattr(node, "workeroutput", {}).get(_COLLECTED, {}))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand the count to who has started this worker; or fail where a promise is not kept."""
        config = session.config
        if hasattr(config, "workeroutput"):
            config.workeroutput[_COLLECTED] = dict(self._collected)
        elif self._faults(config) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Print the table."""
        lines = [self._line(name) for name in self._promised if self._collected[name]]
        if any(self._outcomes.values()):
            terminalreporter.section("claims")
            for line in lines:
                terminalreporter.write_line(line)
        for fault in self._faults(config):
            terminalreporter.write_line(fault, red=True)

    def _line(self, name: str) -> str:
        ended = Counter(self._outcomes[name].values())
        line = f"{name}: {ended['passed']} of {ended.total()}"
        rest = {"skipped": ended["skipped"], "not run": self._collected[name] - ended.total()}
        return line + "".join(f", {count} {word}" for word, count in rest.items() if count)

    def _faults(self, config: pytest.Config) -> list[str]:
        faults = []
        if config.args_source == pytest.Config.ArgsSource.TESTPATHS:
            faults = [
                f"{name}: {self._collected[name]} tests, but {least} are promised"
                for name, least in self._promised.items()
                if self._collected[name] < least
            ]
        if config.getoption("claims_in_full", default=False):
            for name, outcomes in self._outcomes.items():
                if skipped := [node for node, how in outcomes.items() if how == "skipped"]:
                    faults.append(f"{name}: skipped: {' '.join(skipped)}")
        return faults
