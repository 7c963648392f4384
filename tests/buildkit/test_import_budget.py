"""What a build that has nothing to do may load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_HEAVY = {
    "argparse",
    "dataclasses",
    "enum",
    "grammar",
    "inspect",
    "json",
    "lark",
    "logging",
    "re",
    "requests",
    "sqlite3",
    "subprocess",
    "tempfile",
    "typing",
    "yaml",
    "zstandard",
}
_PROGRAM = """
import sys
sys.argv[0] = "pybuild"
from buildkit.cli import main
status = main()
print(*sys.modules)
raise SystemExit(status)
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[[], set[str]]:
    """Build, again if it was called before; returns the modules that it loaded."""
    (tmp_path / "Containerfile").write_text("FROM scratch\nCOPY file /\nENV A=b\n")
    (tmp_path / "file").write_text("content\n")
    command = [sys.executable, "-S", "-c", _PROGRAM, f"--root={tmp_path}/store"]
    command += [f"-o{tmp_path}/image.tar", "-q", str(tmp_path)]
    paths = {"PYTHONPATH": ":".join(path for path in sys.path if path)}

    def build() -> set[str]:
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=paths)
        return set(done.stdout.splitlines()[1].split())

    return build


@pytest.mark.needs_root
def test_a_build_with_nothing_to_do_loads_no_parser(loaded: Callable[[], set[str]]) -> None:
    assert "grammar" in loaded(), "the first build parses"
    assert loaded() & _HEAVY == set()


@pytest.mark.needs_root
def test_a_build_loads_nothing_for_instructions_that_it_does_not_have(
    loaded: Callable[[], set[str]],
) -> None:
    names = loaded()
    assert "lark" in names
    assert {name for name in names if name.startswith("grammar.lint")} == set()
    assert {name for name in names if name.startswith("buildkit.bootstrap.")} == set()
    assert names & {"buildkit.adding", "buildkit.copied_snapshot", "requests"} == set()
    assert len(names) <= 370
