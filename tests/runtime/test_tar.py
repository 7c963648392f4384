"""Reading tar headers: every spelling of a name and a number, and what is refused."""

from __future__ import annotations

import io
import tarfile

import pytest

from runtime.errors import ImageError
from runtime.image import tar
from tests.support import (
    EPOCH,
    base256,
    character,
    directory,
    fifo,
    file,
    gnu_long,
    hardlink,
    header,
    pax,
    pax_records,
    raw_pax,
    symlink,
    tar_of,
)

LONG = "/".join(["directory"] * 20) + "/file"  # 204 characters: no plain header holds them


class _Bytes:
    """A `tar.Stream` of bytes in memory."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def skip(self, size: int) -> None:
        if len(self._file.read(size)) < size:
            raise ImageError("t: truncated")


def _entries(content: bytes) -> list[tar.Entry]:
    stream, found = _Bytes(content), []
    for entry in tar.entries(stream, "t"):
        stream.skip(entry.size + tar.padding(entry.size))
        found.append(entry)
    return found


def _entry(*members: bytes) -> tar.Entry:
    (entry,) = _entries(tar_of(members))
    return entry


@pytest.mark.parametrize(
    ("member", "kind"),
    [
        (file("x"), tar.REGULAR),
        (header("x", "\0"), tar.REGULAR),
        (header("x", "7"), tar.REGULAR),
        (hardlink("x", "y"), tar.HARDLINK),
        (symlink("x", "y"), tar.SYMLINK),
        (character("x", 1, 3), tar.CHARACTER),
        (header("x", "4", device=(8, 0)), tar.BLOCKDEV),
        (directory("x"), tar.DIRECTORY),
        (fifo("x"), tar.FIFO),
    ],
)
def test_every_kind_of_member_is_known(member: bytes, kind: str) -> None:
    assert (_entry(member).name, _entry(member).kind) == ("x", kind)


def test_a_header_gives_mode_owner_time_link_and_device() -> None:
    entry = _entry(header("x", "3", mode=0o4755, uid=1, gid=2, link="l", device=(5, 6)))
    assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (0o4755, 1, 2, EPOCH)
    assert (entry.link, entry.device) == ("l", (5, 6))


@pytest.mark.parametrize(
    "member_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_a_long_name_written_by_pythons_tarfile_is_read(member_format: int) -> None:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=member_format) as archive:
        archive.addfile(tarfile.TarInfo(LONG))
    assert [entry.name for entry in _entries(written.getvalue())] == [LONG]


def test_a_ustar_prefix_comes_before_the_name() -> None:
    assert _entry(header("name", prefix="a/b")).name == "a/b/name"


def test_an_old_gnu_header_has_no_prefix() -> None:
    # The same bytes hold atime and ctime there.
    assert _entry(header("name", prefix="13046510042", magic=b"ustar  \0")).name == "name"


def test_a_name_may_fill_its_field_to_the_last_byte() -> None:
    assert _entry(header("n" * 100)).name == "n" * 100


def test_gnu_long_name_and_long_link_belong_to_the_next_member() -> None:
    first, second = _entries(
        tar_of([gnu_long("L", LONG), gnu_long("K", LONG + "2"), symlink("x", "y"), file("z")])
    )
    assert (first.name, first.link) == (LONG, LONG + "2")
    assert second.name == "z"


def test_pax_records_override_the_next_header_only() -> None:
    records = pax(path=LONG, linkpath="l", uid="70000", gid="80000", mtime="12.9")
    first, second = _entries(tar_of([records, symlink("x", "y"), file("z")]))
    assert (first.name, first.link, first.uid, first.gid) == (LONG, "l", 70000, 80000)
    assert (first.mtime, second.name, second.uid) == (12, "z", 0)


def test_a_pax_size_says_where_the_content_ends() -> None:
    content = b"a" * 700
    member = header("x", size=0) + content + bytes(-700 % 512)
    first, second = _entries(tar_of([pax(size="700"), member, file("y")]))
    assert (first.size, second.name) == (700, "y")


def test_pax_is_stronger_than_gnu_long_name() -> None:
    assert _entry(gnu_long("L", "gnu"), pax(path="pax"), file("x")).name == "pax"


def test_a_global_pax_header_changes_nothing() -> None:
    everywhere = pax(path="everywhere").replace(b"pax".ljust(100, b"\0"), b"g".ljust(100, b"\0"))
    block = header("pax", "g", size=len("22 path=everywhere\n"))
    assert _entry(block + everywhere[512:], file("x")).name == "x"


def test_base_256_holds_what_octal_cannot() -> None:
    entry = _entry(
        header("x", "5", uid=base256(3_000_000_000, 8), mtime=base256(-5, 12), size=base256(0, 12))
    )
    assert (entry.uid, entry.mtime) == (3_000_000_000, -5)


@pytest.mark.parametrize(
    ("mtime", "kept"), [(1 << 40, 1 << 33), (-(1 << 40), -(1 << 31)), (1 << 32, 1 << 32)]
)
def test_a_time_beyond_all_filesystems_is_clamped(mtime: int, kept: int) -> None:
    assert _entry(pax(mtime=str(mtime)), file("x")).mtime == kept


def test_xattrs_come_from_schily_records() -> None:
    member = _entry(pax_records({"SCHILY.xattr.user.k": b"\0v\n", "LIBARCHIVE.x": "y"}), file("x"))
    assert member.xattrs == (("user.k", b"\0v\n"),)


def test_a_name_need_not_be_utf8_nor_without_newlines() -> None:
    entry = _entry(file(b"caf\xe9\nx"))
    assert entry.name.encode("utf-8", "surrogateescape") == b"caf\xe9\nx"


def test_what_follows_the_end_marker_is_not_read() -> None:
    assert len(_entries(tar_of([file("x")]) + b"anything")) == 1


REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "truncated"),
    "half a header": (file("x")[:300], "truncated"),
    "no end marker": (file("x"), "truncated"),
    "a wrong checksum": (header("x", checksum=1), "wrong checksum"),
    "no tar": (b"PK\x03\x04" * 300, "wrong checksum|malformed number"),
    "a sparse file": (header("x", "S"), "x: member type 'S' is not supported"),
    "a GNU multi-volume": (header("x", "M"), "member type 'M'"),
    "a PAX sparse file": (
        pax_records({"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 50)}) + file("x"),
        "x: sparse members are not supported",
    ),
    "a negative size": (header("x", size=base256(-512, 12)), "size -512 is out of range"),
    "a size of 2^62": (header("x", size=base256(1 << 62, 12)), "size .* is out of range"),
    "a negative PAX size": (pax(size="-1") + file("x"), "x: size -1 is out of range"),
    "a PAX size of 2^62": (pax(size=str(1 << 62)) + file("x"), "x: size .* is out of range"),
    "a PAX size of no number": (pax(size="1e3") + file("x"), "PAX size is b'1e3'"),
    "a PAX size without end": (pax(size="9" * 5000) + file("x"), "PAX size is"),
    "a uid of 2^32": (header("x", uid=base256(1 << 32, 8)), "x: owner 4294967296:0"),
    "a uid of 2^32-1": (pax(uid=str((1 << 32) - 1)) + file("x"), "x: owner 4294967295:0"),
    "a negative gid": (pax(gid="-1") + file("x"), "x: owner 0:-1"),
    "a number that is not octal": (header("x", mode=b"rwxr-xr"), "malformed number b'rwxr-xr"),
    "a negative octal number": (header("x", mode=b"-000644"), "malformed number b'-000644"),
    "an underscore in a number": (header("x", mode=b"0_0644"), "malformed number b'0_0644"),
    "an extension of a gigabyte": (header("x", "x", size=1 << 30), "header of 1073741824 bytes"),
    "a long name of a gigabyte": (header("x", "L", size=1 << 30), "header of 1073741824 bytes"),
    "an extension of negative size": (
        header("x", "x", size=base256(-1, 12)),
        "header of -1 bytes",
    ),
    "a negative device number": (
        header("x", "4", device=(1, base256(-1, 8))),
        "x: device 1:-1 is out of range",
    ),
    "a NUL in a PAX key": (
        pax_records({"SCHILY.xattr.user.a\0b": b"y"}) + file("x"),
        "malformed PAX record",
    ),
    "a truncated extension": (header("x", "x", size=600) + b"30 path=x", "truncated"),
    "a name of 5,000 characters": (gnu_long("L", "n/" * 2500) + file("x"), "a path of 5000"),
    "a link of 5,000 characters": (
        pax(linkpath="n/" * 2500) + symlink("x", "y"),
        "a path of 5000",
    ),
    "a device number of 2^40": (
        header("x", "3", device=(base256(1 << 40, 8), 1)),
        "x: device 1099511627776:1 is out of range",
    ),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_a_malformed_tar_is_refused_by_name(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=f"^t: .*({message})"):
        _entries(content if content[-1024:] == bytes(1024) else _finish(content, message))


def _finish(content: bytes, message: str) -> bytes:
    return content if message == "truncated" else tar_of([content])


@pytest.mark.parametrize(
    "content",
    [
        b"path=x\n",
        b"9 path=x",
        b"99 path=x\n",
        b"0 path=x\n",
        b"-9 path=x\n",
        b"10 pathxxx\n",
        b"x path=x\n",
        b" 9 path=x\n",
        b"9 path=x\n9",
        b"9 path=x\0",
    ],
)
def test_a_malformed_pax_record_is_refused(content: bytes) -> None:
    with pytest.raises(ImageError, match="t: malformed PAX record"):
        _entry(raw_pax(content), file("x"))
