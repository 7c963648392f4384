"""Tars that we write, read by three others: our own reader, Python's and GNU tar."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.tarwriter import TarWriter, header
from runtime.image import tar
from tests.support import digest_of, members_of


def _entry(name: str, kind: str = tar.REGULAR, **fields: Any) -> tar.Entry:
    plain: dict[str, Any] = {"mode": 0o644, "uid": 0, "gid": 0, "size": 0, "mtime": 0}
    return tar.Entry(name=name, kind=kind, **(plain | fields))


def _written(entries: Sequence[tuple[tar.Entry, bytes]]) -> bytes:
    with open(os.memfd_create("tar"), "rb") as file:
        writer = TarWriter(file.fileno())
        for entry, content in entries:
            writer.add(entry, content)
        digest = writer.finish()
        file.seek(0)
        written = file.read()
    assert (digest_of(written), len(written)) == (digest, writer.size)
    return written


class _Bytes:
    """Bytes as the stream that our reader wants."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def skip(self, size: int) -> None:
        self._file.seek(size, os.SEEK_CUR)


def _read(written: bytes) -> list[tar.Entry]:
    stream = _Bytes(written)
    found = []
    for entry in tar.entries(stream, "test"):
        found.append(entry)
        stream.skip(entry.size + tar.padding(entry.size))
    return found


ENTRIES = {
    "a file": _entry("a", size=3, mode=0o4755, uid=5, gid=6, mtime=7),
    "100 bytes": _entry("x" * 100),
    "101 bytes": _entry("x" * 101),
    "a prefix": _entry("p" * 155 + "/" + "n" * 100),
    "too long for a prefix": _entry("p" * 156 + "/" + "n" * 100),
    "a very long name": _entry("/".join(["d" * 200] * 19)),
    "a directory of 99 bytes": _entry("d" * 99, tar.DIRECTORY),
    "a directory of 100 bytes": _entry("d" * 100, tar.DIRECTORY),
    "not ASCII": _entry("é/ü"),
    "not UTF-8": _entry("\udcff\udcfe", size=1),
    "a line end": _entry("a\nb"),
    "a link": _entry("l", tar.SYMLINK, link="../t", mode=0o777),
    "a long link": _entry("l", tar.SYMLINK, link="t" * 3000, mode=0o777),
    "a link that is not ASCII": _entry("l", tar.SYMLINK, link="é\udcff", mode=0o777),
    "a hard link": _entry("h", tar.HARDLINK, link="x" * 101),
    "a FIFO": _entry("f", tar.FIFO),
    "a device": _entry("c", tar.CHARACTER, device=(1, 3)),
    "a block device": _entry("b", tar.BLOCKDEV, device=(259, 1048575)),
    "a big uid": _entry("u", uid=1 << 21, gid=4294967294),
    "a big time": _entry("t", mtime=1 << 33),
    "before 1970": _entry("t", mtime=-5),
    "xattrs": _entry("x", xattrs=(("security.capability", b"\x01\0\0\x02"), ("user.a", b"=\n"))),
    "an empty xattr": _entry("x", xattrs=(("user.a", b""),)),
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_our_reader_sees_what_was_written(entry: tar.Entry) -> None:
    found = [_read(_written([(entry, b"x" * entry.size)]))[0]]
    expected = entry.replace(name=entry.name + "/" * (entry.kind == tar.DIRECTORY))
    assert [item.replace(xattrs=tuple(sorted(item.xattrs))) for item in found] == [expected]


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_python_sees_what_was_written(entry: tar.Entry) -> None:
    [(name, found)] = members_of(_written([(entry, b"x" * entry.size)])).items()
    assert (name, found.linkname, found.type) == (entry.name, entry.link, entry.kind.encode())
    assert (found.mode, found.uid, found.gid) == (entry.mode, entry.uid, entry.gid)
    assert (found.size, found.mtime) == (entry.size, entry.mtime)
    assert (found.devmajor, found.devminor) == entry.device


@pytest.mark.needs_program("tar")
def test_gnu_tar_sees_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(_written([(entry, b"x" * entry.size) for entry in ENTRIES.values()]))
    argv = ["tar", "-tf", str(path), "--quoting-style=literal", "--null"]
    listed = subprocess.run(argv, check=True, capture_output=True)
    assert listed.stderr == b""
    names = listed.stdout.replace(b"a\nb\n", b"a\0b\n").split(b"\n")[:-1]
    expected = [e.name + "/" * (e.kind == tar.DIRECTORY) for e in ENTRIES.values()]
    assert [n.replace(b"\0", b"\n") for n in names] == [os.fsencode(name) for name in expected]


@pytest.mark.needs_program("tar")
def test_gnu_tar_extracts_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    long = "/".join(["d" * 100] * 5)
    entries = [(_entry(long, size=3, mode=0o640, mtime=7), b"abc"), (_entry("\udcff"), b"")]
    path.write_bytes(_written(entries))
    subprocess.run(["tar", "-xf", path, "-C", tmp_path], check=True, capture_output=True)
    status = os.stat(tmp_path / long)
    assert (status.st_mode & 0o777, int(status.st_mtime)) == (0o640, 7)
    assert os.path.exists(os.fsencode(tmp_path) + b"/\xff")


@pytest.mark.parametrize("size", [(1 << 33) - 1, 1 << 33, 1 << 40])
def test_sizes_that_octal_cannot_hold_are_said_in_a_pax_record(size: int) -> None:
    blocks = header(_entry("big", size=size))
    assert next(tar.entries(_Bytes(blocks), "test")).size == size
    assert tarfile.TarFile(fileobj=io.BytesIO(blocks)).next().size == size  # type: ignore[union-attr]
    assert (len(blocks) > 512) == (size >= 1 << 33)


def test_a_plain_file_needs_one_block() -> None:
    assert len(header(ENTRIES["a file"])) == 512


def test_no_user_names_and_no_other_times_are_written() -> None:
    [found] = members_of(_written([(ENTRIES["a file"], b"abc")])).values()
    assert (found.uname, found.gname, found.pax_headers) == ("", "", {})


def test_the_order_of_xattrs_makes_no_difference() -> None:
    one = (("user.a", b"1"), ("user.b", b"2"))
    assert header(_entry("x", xattrs=one)) == header(_entry("x", xattrs=one[::-1]))


@pytest.mark.parametrize("sizes", [(9 << 20,), (0, 20 << 20, 3, 0, 70_000), (600,) * 20_000])
def test_the_digest_of_a_large_tar_is_that_of_its_bytes(
    tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    with open(tmp_path / "t", "w+b") as out:
        writer = TarWriter(out.fileno())
        for number, size in enumerate(sizes):
            writer.add(_entry(f"f{number}", size=size), bytes([number % 256]) * size)
        found = writer.finish()
        out.seek(0)
        assert found == "sha256:" + hashlib.sha256(out.read()).hexdigest()
        assert writer.size == out.tell()


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    with open(tmp_path / "f", "rb") as file, open(tmp_path / "t", "wb") as out:
        writer = TarWriter(out.fileno())
        with pytest.raises(OSError, match="became shorter"):
            writer.add_file(_entry("f", size=4), file.fileno())


def test_a_file_that_grows_while_it_is_read_is_cut_at_its_size(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abcdef")
    with open(tmp_path / "f", "rb") as file, open(tmp_path / "t", "w+b") as out:
        writer = TarWriter(out.fileno())
        writer.add_file(_entry("f", size=3), file.fileno())
        writer.finish()
        out.seek(512)
        assert out.read() == b"abc" + bytes(509) + bytes(1024)


# Names as filesystems have them: no NUL, at most 4095 bytes.
_NAMES = st.binary(min_size=1, max_size=300).filter(
    lambda name: b"\0" not in name and not name.startswith(b"/") and not name.endswith(b"/")
)


@given(name=_NAMES, content=st.binary(max_size=1500), mode=st.integers(0, 0o7777))
def test_any_file_survives_the_round_trip(name: bytes, content: bytes, mode: int) -> None:
    entry = _entry(os.fsdecode(name), size=len(content), mode=mode)
    written = _written([(entry, content)])
    assert _read(written) == [entry]
    with tarfile.open(fileobj=io.BytesIO(written)) as archive:
        [member] = archive
        extracted = archive.extractfile(member)
        assert extracted is not None
        assert (os.fsencode(member.name), extracted.read()) == (name, content)
