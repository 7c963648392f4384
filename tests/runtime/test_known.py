"""An image that was started before is not read again, unless anything about its file changed."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from runtime.errors import ImageError
from runtime.store import known
from runtime.store.store import Store
from tests.support import file, make_image


@pytest.fixture
def opened(public: Path) -> Store:
    """A store of this process's own."""
    return Store(str(public / "store"))


@pytest.fixture
def archive(public: Path) -> Path:
    """An archive that is not new any more."""
    path = make_image(public / "i.tar", [[file("a", "1")]], {"Cmd": ["first"], "Env": ["A=1"]})
    time.sleep(0.06)
    return path


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that were really read."""
    from runtime.image import source

    names = []
    really = source.open_image

    def spy(store: Store, name: str, platform: str) -> object:
        names.append(name)
        return really(store, name, platform)

    monkeypatch.setattr(source, "open_image", spy)
    return names


def test_the_second_start_reads_nothing_and_finds_the_same(
    opened: Store, archive: Path, readings: list[str]
) -> None:
    first = known.know(opened, str(archive))
    assert known.know(opened, str(archive)) == first
    assert (first.cmd, first.env) == (("first",), ("A=1",))
    assert readings == [str(archive)]


def test_an_archive_rewritten_in_place_with_its_old_times_is_read_again(
    opened: Store, archive: Path, readings: list[str], public: Path
) -> None:
    known.know(opened, str(archive))
    before = archive.stat()
    other = make_image(public / "o.tar", [[file("a", "1")]], {"Cmd": ["other"], "Env": ["A=1"]})
    assert other.stat().st_size == before.st_size
    with open(archive, "r+b") as target:
        target.write(other.read_bytes())
    os.utime(archive, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known.know(opened, str(archive)).cmd == ("other",)
    assert len(readings) == 2


def test_an_archive_made_just_now_is_not_remembered(
    opened: Store, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_image(public / "i.tar", [[file("a", "1")]])
    monkeypatch.setattr(known, "time_ns", lambda: path.stat().st_ctime_ns + 1000)
    known.know(opened, str(path))
    assert os.listdir(f"{opened.root}/known") == []


def test_a_layer_that_left_the_store_is_applied_again(
    opened: Store, archive: Path, readings: list[str]
) -> None:
    first = known.know(opened, str(archive), rootfs=known.UNPACK)
    [lower] = first.lowers
    assert isinstance(lower, str)
    shutil.rmtree(os.path.dirname(lower))
    assert known.know(opened, str(archive), rootfs=known.UNPACK) == first
    assert os.path.isdir(lower)
    assert len(readings) == 2


@pytest.mark.parametrize("damage", [b"", b"\0", b"x" * 50, None])
def test_a_damaged_record_is_as_none(
    damage: bytes | None, opened: Store, archive: Path, readings: list[str]
) -> None:
    first = known.know(opened, str(archive))
    (record,) = Path(opened.root, "known").iterdir()
    record.write_bytes(record.read_bytes()[:-5] if damage is None else damage)
    assert known.know(opened, str(archive)) == first
    assert len(readings) == 2


def test_an_archive_that_is_gone_is_not_found(opened: Store, archive: Path) -> None:
    known.know(opened, str(archive))
    archive.unlink()
    with pytest.raises(ImageError, match="no such file"):
        known.know(opened, str(archive))
