"""The parser tables of the package: current, used, and never needed for the right result."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lark
import pytest

from grammar import ContainerfileErrors, parse, tables
from grammar.dump import to_json

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("cases*/*/Containerfile"))


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    tables.parser_for.cache_clear()
    yield
    tables.parser_for.cache_clear()


def _no_building(*_: object, **__: object) -> None:
    raise AssertionError("built")


def _outcomes() -> list[str]:
    outcomes: list[str] = []
    for path in FILES:
        try:
            outcomes.append(to_json(parse(path.read_bytes(), name="f")))
        except ContainerfileErrors as errors:
            outcomes.append(str(errors))
    return outcomes


def test_the_tables_in_the_package_are_current() -> None:
    kept = json.loads(Path(tables.path_of(tables.TABLES)).read_text(encoding="utf-8"))
    grammar = Path(tables.path_of(tables.GRAMMAR)).read_bytes()
    assert kept["grammar"] == hashlib.sha256(grammar).hexdigest(), "python -m grammar.make_tables"


@pytest.mark.parametrize("escape", ["\\", "`"])
def test_a_start_does_not_build_tables(escape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lark.Lark.__init__", _no_building)
    assert tables.parser_for(escape).parse(f"RUN x{escape}").data == "start"


def test_tables_and_grammar_read_every_case_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = _outcomes()
    monkeypatch.setattr("grammar.tables.parser_for", tables.build)
    monkeypatch.setattr("grammar.syntax.parser_for", _built())
    assert _outcomes() == loaded


def _built() -> object:
    made = {escape: tables.build(escape) for escape in "\\`"}
    return made.__getitem__


def test_an_unknown_version_of_lark_builds_its_own_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lark, "__version__", "9.9.9")
    monkeypatch.setattr(lark.Lark, "load", _no_building)
    assert tables.parser_for("\\").parse("RUN x").data == "start"


@pytest.mark.parametrize(
    "content", ["", "{}", '{"data": {}, "memo": {}}', '{"memo": 1, "data": 2}']
)
def test_damaged_tables_are_not_used(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "tables.json"
    damaged.write_text(content)
    path_of = tables.path_of

    def path(name: str) -> str:
        return str(damaged) if name == tables.TABLES else path_of(name)

    monkeypatch.setattr(tables, "path_of", path)
    assert tables.parser_for("\\").parse("RUN x").data == "start"


def test_nothing_is_read_or_written_outside_the_package(tmp_path: Path) -> None:
    script = (
        "import sys, grammar\n"
        "opened = []\n"
        "note = lambda event, args: opened.append(str(args[0])) if event == 'open' else None\n"
        "sys.addaudithook(note)\n"
        "grammar.parse('FROM a', name='f')\n"
        "print([p for p in opened if not p.endswith(('.py', '.pyc', '.lark', '.json'))])\n"
    )
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-B", "-c", script]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
    assert list(tmp_path.iterdir()) == []


def test_importing_grammar_imports_nothing_costly() -> None:
    costly = {"lark", "difflib", "inspect", "urllib"}
    script = f"import sys, grammar; print(sorted({costly} & set(sys.modules)))"
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
