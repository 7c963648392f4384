"""The arrows of ARCHITECTURE.md: which package may import which."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("grammar", "buildkit", "runtime")
ALLOWED: dict[str, set[str]] = {
    "grammar": {"lark"},
    "runtime": {"requests", "zstandard"},
    "buildkit": {"grammar", "runtime", "requests", "yaml", "zstandard"},
}
# Runs under the Python of the host's dnf, not under ours.
FOREIGN = {"buildkit/bootstrap/dnf_resolver.py": {"dnf", "hawkey", "libdnf"}}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield (node.module or "").partition(".")[0]


def _modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", OURS)
def test_a_package_imports_only_what_its_arrows_allow(package: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in _modules(package)
        for name in _imports(path)
        if name not in sys.stdlib_module_names | {package} | ALLOWED[package]
        and name not in FOREIGN.get(str(path.relative_to(ROOT)), set())
        and name not in ("_sha2", "_sha256")
    }
    assert found == set()


@pytest.mark.parametrize("package", OURS)
def test_an_allowed_arrow_is_in_use(package: str) -> None:
    used = {name for path in _modules(package) for name in _imports(path)}
    assert ALLOWED[package] <= used
