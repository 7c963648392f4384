"""The kept parser tables: used when they are ours, ignored when they are not."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from grammar.tables import parser_for


class _Trap:
    """A pickle of this makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (os.symlink, ("sprung", str(self._path)))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    parser_for.cache_clear()
    yield tmp_path / "pybuild" / "grammar"
    parser_for.cache_clear()


def _works() -> bool:
    parser_for.cache_clear()
    return parser_for("\\").parse("RUN x").data == "start"


def test_tables_are_kept_and_read_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _works()
    (kept,) = cache.iterdir()
    assert kept.stat().st_mode & 0o077 == 0

    def no_building(*_: object, **__: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr("lark.Lark.__init__", no_building)
    assert _works()


def test_each_escape_character_has_its_own_tables(cache: Path) -> None:
    parser_for("\\")
    parser_for("`")
    assert len(list(cache.iterdir())) == 2


def test_a_file_that_others_may_write_is_not_loaded(cache: Path, tmp_path: Path) -> None:
    _works()
    (kept,) = cache.iterdir()
    kept.write_bytes(pickle.dumps(_Trap(tmp_path / "trap")))
    kept.chmod(0o666)
    assert _works()
    assert not (tmp_path / "trap").is_symlink()


def test_a_symbolic_link_is_not_followed(cache: Path, tmp_path: Path) -> None:
    _works()
    (kept,) = cache.iterdir()
    (tmp_path / "other").write_bytes(pickle.dumps(_Trap(tmp_path / "trap")))
    kept.unlink()
    kept.symlink_to(tmp_path / "other")
    assert _works()
    assert not (tmp_path / "trap").is_symlink()


def test_a_file_of_another_user_is_not_loaded(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _works()
    (kept,) = cache.iterdir()
    kept.write_bytes(pickle.dumps(_Trap(tmp_path / "trap")))
    monkeypatch.setattr("os.geteuid", lambda: kept.stat().st_uid + 1)
    assert _works()
    assert not (tmp_path / "trap").is_symlink()


def test_a_damaged_file_is_replaced(cache: Path) -> None:
    _works()
    (kept,) = cache.iterdir()
    kept.write_bytes(b"garbage")
    assert _works()
    assert kept.read_bytes() != b"garbage"


def test_a_cache_that_cannot_be_written_does_not_matter(cache: Path) -> None:
    cache.parent.parent.joinpath("pybuild").write_text("a file where the directory would be")
    assert _works()
