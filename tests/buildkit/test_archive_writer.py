"""Members of an archive: where their bytes begin, and how they get there."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildkit.archive_writer import ALIGNMENT, ArchiveWriter
from buildkit.tarwriter import EndedError
from runtime.image import tar
from tests.support import run, which

BLOB = bytes(range(256)) * 100 + b"end"


def _entry(name: str, size: int) -> tar.Entry:
    return tar.Entry(name=name, kind=tar.REGULAR, mode=0o644, uid=0, gid=0, size=size, mtime=0)


def _write(fd: int, blob: Path, before: int = 0) -> None:
    writer = ArchiveWriter(fd)
    for number in range(before):
        writer.add(_entry(f"small{number}", 3), b"abc")
    with blob.open("rb") as file:
        writer.add_blob(_entry("blob", blob.stat().st_size), file.fileno())
    writer.add(_entry("last", 1), b"z")
    writer.finish()


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    """A file of an odd size."""
    path = tmp_path / "blob"
    path.write_bytes(BLOB)
    return path


@pytest.mark.parametrize("before", range(9))
def test_a_blob_begins_where_a_block_of_a_filesystem_does(
    tmp_path: Path, blob: Path, before: int
) -> None:
    archive = tmp_path / "archive.tar"
    with archive.open("wb") as file:
        _write(file.fileno(), blob, before)
    with tarfile.open(archive) as read:
        names = [member.name for member in read]
        assert names == [*(f"small{number}" for number in range(before)), "blob", "last"]
        assert read.getmember("blob").offset_data % ALIGNMENT == 0
        content = read.extractfile("blob")
        assert content is not None
        assert content.read() == BLOB
        assert archive.stat().st_size % tar.BLOCK == 0


def test_gnu_tar_says_nothing_about_the_gap(tmp_path: Path, blob: Path) -> None:
    archive = tmp_path / "archive.tar"
    with archive.open("wb") as file:
        _write(file.fileno(), blob)
    done = subprocess.run(["tar", "-tf", str(archive)], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["blob", "last"], "")


def test_a_pipe_and_a_file_that_is_appended_to_get_the_same_bytes(
    tmp_path: Path, blob: Path
) -> None:
    plain, appended = tmp_path / "plain.tar", tmp_path / "appended.tar"
    with plain.open("wb") as file:
        _write(file.fileno(), blob)
    with appended.open("ab") as file:
        _write(file.fileno(), blob)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        assert cat.stdin is not None
        assert cat.stdout is not None
        _write(cat.stdin.fileno(), blob)
        cat.stdin.close()
        piped = cat.stdout.read()
    assert piped == plain.read_bytes() == appended.read_bytes()


def test_a_blob_that_is_shorter_than_it_was_said_to_be_is_an_error(
    tmp_path: Path, blob: Path
) -> None:
    with (tmp_path / "archive.tar").open("wb") as file, blob.open("rb") as source:
        writer = ArchiveWriter(file.fileno())
        longer = _entry("blob", len(BLOB) + 1)
        with pytest.raises(EndedError, match="blob: became shorter"):
            writer.add_blob(longer, source.fileno())


@pytest.fixture(params=["xfs", "btrfs"])
def sharing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A filesystem that can share blocks between files."""
    if not which(f"mkfs.{request.param}"):
        pytest.skip(f"mkfs.{request.param} is not installed")
    disk, place = tmp_path / "disk", tmp_path / "mounted"
    place.mkdir()
    with disk.open("wb") as file:
        file.truncate(512 << 20)
    subprocess.run([f"mkfs.{request.param}", "-q", str(disk)], check=True)
    tried = run(["mount", "-o", "loop", str(disk), str(place)])
    if tried.status:
        pytest.skip(f"no {request.param} can be mounted here: {tried.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.needs_root
def test_where_blocks_can_be_shared_a_blob_takes_no_further_room(sharing: Path) -> None:
    content = os.urandom(8 << 20) + b"end"
    blob = sharing / "blob"
    blob.write_bytes(content)
    archive = sharing / "archive.tar"
    with archive.open("wb") as file:
        _write(file.fileno(), blob)
        os.fsync(file.fileno())
    with tarfile.open(archive) as read:
        member = read.extractfile("blob")
        assert member is not None
        assert member.read() == content
    shared = sum(length for length, flags in _extents(archive) if flags & 0x2000)
    assert shared >= 8 << 20, "FIEMAP_EXTENT_SHARED"


def _extents(path: Path) -> list[tuple[int, int]]:
    """Length and flags of each extent (FS_IOC_FIEMAP, linux/fiemap.h)."""
    head, extent = struct.Struct("=QQLLLL"), struct.Struct("=QQQQQLLLL")
    count = 512
    buffer = ctypes.create_string_buffer(head.size + count * extent.size)
    head.pack_into(buffer, 0, 0, (1 << 64) - 1, 1, 0, count, 0)
    with path.open("rb") as file:
        fcntl.ioctl(file, 0xC020660B, buffer)
    mapped = head.unpack_from(buffer)[3]
    found = [extent.unpack_from(buffer, head.size + n * extent.size) for n in range(mapped)]
    return [(item[2], item[5]) for item in found]
