"""The count of claims is right, and a promise that is not kept fails the run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support import CHECKOUT, Result, run

TESTS = """\
import pytest

@pytest.mark.claim("one")
@pytest.mark.parametrize("n", range(3))
def test_a(n):
    if n == 2:
        pytest.skip("it is not here")

@pytest.mark.claim("one")
@pytest.mark.claim("two")
def test_b(): pass

@pytest.mark.slow
@pytest.mark.claim("one")
def test_c(): pass
"""
CONFTEST = """\
from tests.claims import Counted

def pytest_addoption(parser):
    parser.addoption("--claims-in-full", action="store_true")

def pytest_configure(config):
    config.pluginmanager.register(Counted(%r))
"""
INI = """\
[pytest]
testpaths = .
addopts = -q -p no:cacheprovider -m "not slow"
markers =
    claim: counts
    slow: does not run
"""


def _run(place: Path, promised: dict[str, int], *options: str, more: str = "") -> Result:
    (place / "pytest.ini").write_text(INI)
    (place / "conftest.py").write_text(CONFTEST % promised)
    (place / "test_it.py").write_text(TESTS + more)
    argv = [sys.executable, "-m", "pytest", *options]
    return run(argv, cwd=place, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT)})


@pytest.mark.parametrize("workers", ["0", "2"])
def test_all_that_passed_and_all_that_did_not_are_counted(tmp_path: Path, workers: str) -> None:
    ended = _run(tmp_path, {"one": 5, "two": 1, "three": 0}, "-n", workers)
    assert "one: 3 of 4, 1 skipped, 1 not run\ntwo: 1 of 1\n" in ended.stdout
    assert "three" not in ended.stdout
    assert ended.status == 0


def test_fewer_than_promised_fail_the_run_of_all_files_alone(tmp_path: Path) -> None:
    ended = _run(tmp_path, {"one": 6, "two": 1}, "-n", "1")
    assert "one: 5 tests, but 6 are promised" in ended.stdout
    assert ended.status == 1
    assert _run(tmp_path, {"one": 6, "two": 1}, "test_it.py").status == 0


def test_one_that_fails_does_not_count(tmp_path: Path) -> None:
    more = '@pytest.mark.claim("two")\ndef test_d(): assert False\n'
    ended = _run(tmp_path, {"one": 5, "two": 1}, more=more)
    assert "two: 1 of 2\n" in ended.stdout
    assert ended.status == 1


def test_for_a_release_none_may_be_skipped(tmp_path: Path) -> None:
    ended = _run(tmp_path, {"one": 5, "two": 1}, "--claims-in-full")
    assert "one: skipped: test_it.py::test_a[2]" in ended.stdout
    assert ended.status == 1


def test_what_nobody_promised_is_no_claim(tmp_path: Path) -> None:
    ended = _run(tmp_path, {"one": 5})
    assert "test_b: 'two' is no claim of CLAIMS" in ended.stdout + ended.stderr
    assert ended.status != 0
