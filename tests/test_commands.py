"""What both commands promise as commands."""

from __future__ import annotations

import tomllib
from pathlib import Path

from runtime import VERSION

ROOT = Path(__file__).parent.parent


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION
