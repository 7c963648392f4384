"""rpm's headers, packages and database, read without rpm; rpm itself says what is right."""

from __future__ import annotations

import io
import random
import shutil
import sqlite3
import struct
from pathlib import Path

import pytest

from buildkit.packages import rpm_header
from buildkit.packages.errors import PackageError
from buildkit.packages.rpm_database import read_headers
from buildkit.packages.rpm_file import read_header
from buildkit.packages.rpm_header import NAME, Header
from tests.support import run

pytestmark = pytest.mark.needs_program("rpm", "rpmbuild")

TEXTS = (
    *("NAME", "VERSION", "RELEASE", "ARCH", "LICENSE", "VENDOR", "URL", "SUMMARY", "DESCRIPTION"),
    *("SOURCERPM", "PACKAGER", "DISTRIBUTION", "BUILDHOST", "OS", "SHA256HEADER", "SHA1HEADER"),
)
NUMBERS = ("EPOCH", "BUILDTIME", "INSTALLTIME", "INSTALLTID", "SIZE", "PAYLOADDIGESTALGO")
TEXT_ARRAYS = (
    *("BASENAMES", "DIRNAMES", "FILEUSERNAME", "FILEGROUPNAME", "FILELINKTOS", "FILECAPS"),
    *("PROVIDENAME", "PROVIDEVERSION", "REQUIRENAME", "REQUIREVERSION", "PAYLOADDIGEST"),
    *("FILEDIGESTS",),
)
NUMBER_ARRAYS = (
    *("DIRINDEXES", "FILEMODES", "FILEMTIMES", "FILESIZES", "FILEFLAGS", "FILEINODES"),
    *("PROVIDEFLAGS", "REQUIREFLAGS", "FILEVERIFYFLAGS"),
)


@pytest.fixture(scope="module")
def blob(rpm_database: Path) -> bytes:
    """The header of hello in the rpm_database."""
    return next(b for b in _blobs(rpm_database) if Header.parse(b).string(NAME) == "hello")


def _blobs(database: Path) -> list[bytes]:
    with sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True) as connection:
        found = [row[0] for row in connection.execute("SELECT blob FROM Packages")]
    connection.close()
    return found


def _tag(name: str) -> int:
    number = getattr(rpm_header, name)
    assert isinstance(number, int)
    return number


def _asked(*arguments: str | Path, tag: str) -> dict[str, list[str]]:
    """What rpm says of a tag, by the name of the package."""
    form = f"[%{{=NAME}}\t%{{{tag}}}\\n]"
    said = run(["rpm", "-q", "--qf", form, *arguments], timeout_s=60)
    assert said.status == 0, said.stderr
    found: dict[str, list[str]] = {}
    for line in said.stdout.splitlines():
        name, tab, value = line.partition("\t")
        if tab:
            found.setdefault(name, []).append(value)
    return found


def _said(headers: list[Header], tag: str) -> dict[str, list[str]]:
    number = _tag(tag)
    found = {}
    for header in headers:
        if tag in NUMBER_ARRAYS or tag in NUMBERS:
            values = [str(value) for value in header.integers(number)]
        else:
            texts = header.strings(number)
            assert header.string(number) == (texts[0] if texts else "")
            # Of a translated text rpm shows one; of one with lines `_asked` sees the first.
            values = [text.split("\n")[0] for text in texts[: 1 if tag in TEXTS else None]]
        if values:
            found[header.string(NAME)] = values
    return found


@pytest.mark.parametrize("tag", [*TEXTS, *NUMBERS, *TEXT_ARRAYS, *NUMBER_ARRAYS])
def test_a_tag_in_the_database_is_what_rpm_says(rpm_database: Path, tag: str) -> None:
    expected = _asked("-a", "--dbpath", rpm_database.parent, tag=tag)
    found = _said(list(read_headers(str(rpm_database))), tag)
    assert found == _there(expected)


@pytest.mark.parametrize("tag", [*TEXTS, *TEXT_ARRAYS, *NUMBER_ARRAYS])
def test_a_tag_of_a_package_is_what_rpm_says(rpm_packages: list[Path], tag: str) -> None:
    headers = []
    for path in rpm_packages:
        with open(path, "rb") as file:
            headers.append(read_header(file))
    expected = _asked("-p", "--nosignature", *rpm_packages, tag=tag)
    found = _said(headers, tag)
    assert found == _there(expected)


def _there(said: dict[str, list[str]]) -> dict[str, list[str]]:
    """What rpm said of packages that have the tag, of which there is one."""
    found = {name: values for name, values in said.items() if values != ["(none)"]}
    assert found
    return found


def test_reading_changes_nothing_and_makes_nothing_beside_the_database(
    rpm_database: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "strange ?name#" / "rpmdb.sqlite"
    copy.parent.mkdir()
    shutil.copy(rpm_database, copy)
    copy.parent.chmod(0o555)
    assert len(list(read_headers(str(copy)))) == 5
    assert [path.name for path in copy.parent.iterdir()] == ["rpmdb.sqlite"]
    assert copy.read_bytes() == rpm_database.read_bytes()


def test_what_only_the_write_ahead_log_holds_is_read(tmp_path: Path, blob: bytes) -> None:
    connection = sqlite3.connect(tmp_path / "made.sqlite")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
    connection.execute("INSERT INTO Packages VALUES (1, ?)", (blob,))
    connection.commit()
    for name in ("made.sqlite", "made.sqlite-wal"):  # as an rpm that was killed leaves them
        shutil.copy(tmp_path / name, tmp_path / name.replace("made", "rpmdb"))
    connection.close()
    [header] = read_headers(str(tmp_path / "rpmdb.sqlite"))
    assert header.string(NAME) == "hello"


def test_a_translated_text_is_that_of_the_c_locale() -> None:
    made = _header((rpm_header.SUMMARY, 9, 2, b"a greeting\0ein Gru\xc3\x9f\0"))
    assert made.string(rpm_header.SUMMARY) == "a greeting"
    assert made.strings(rpm_header.SUMMARY) == ("a greeting", "ein Gruß")


def test_integers_of_every_size_are_read() -> None:
    for kind, code in ((1, "B"), (2, "B"), (3, "H"), (4, "I"), (5, "Q")):
        largest = (1 << 8 * struct.calcsize(f">{code}")) - 1
        made = _header((NAME, kind, 3, struct.pack(f">3{code}", 0, 7, largest)))
        assert made.integers(NAME) == (0, 7, largest)


def test_of_a_tag_that_is_there_twice_the_later_one_counts() -> None:
    made = _header((NAME, 6, 1, b"first\0"), (NAME, 6, 1, b"second\0"))
    assert made.string(NAME) == "second"


def test_text_of_another_encoding_is_not_lost() -> None:
    made = _header((NAME, 6, 1, b"caf\xe9\0"))
    assert made.string(NAME).encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_what_is_not_there_is_empty() -> None:
    made = _header((NAME, 6, 1, b"a\0"))
    assert made.string(1) == ""
    assert (made.strings(1), made.integers(1), made.binary(1)) == ((), (), b"")
    assert made.integer(1) is None
    assert NAME in made
    assert 1 not in made


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ((NAME, 6, 1, b"no end"), "tag 1000: its text has no end"),
        ((NAME, 8, 3, b"two\0texts\0"), "tag 1000: its text has no end"),
        ((NAME, 6, 2, b"one\0two\0"), "tag 1000: is one text and says that it is 2"),
        ((NAME, 8, 1 << 30, b"a\0"), "tag 1000: bytes 0 to 1073741824 of 2"),
        ((NAME, 4, 1, b"\0\0\0\1"), "tag 1000: is integers, text expected"),
        ((NAME, 99, 1, b"a\0"), "tag 1000: is of the unknown type 99, text expected"),
    ],
)
def test_a_text_that_is_none_is_one_error(
    entry: tuple[int, int, int, bytes], message: str
) -> None:
    with pytest.raises(PackageError) as caught:
        _header(entry).strings(NAME)
    assert str(caught.value) == f"rpm header: {message}"


def test_numbers_that_are_none_are_one_error() -> None:
    with pytest.raises(PackageError, match="tag 1000: bytes 0 to 4294967295 of 4"):
        _header((NAME, 2, (1 << 32) - 1, b"four")).integers(NAME)
    with pytest.raises(PackageError, match="tag 1000: is text, integers expected"):
        _header((NAME, 6, 1, b"a\0")).integers(NAME)
    with pytest.raises(PackageError, match="tag 1000: is text, binary data expected"):
        _header((NAME, 6, 1, b"a\0")).binary(NAME)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b"", "is 0 bytes long"),
        (struct.pack(">II", 0, 1) + b"\0", "0 entries, 1 to 65535 expected"),
        (struct.pack(">II", 1 << 31, 1), "2147483648 entries, 1 to 65535 expected"),
        (struct.pack(">II", 1, 1 << 31), "2147483648 bytes of data, 1 to 268435455 expected"),
        (
            struct.pack(">II", 1, 8),
            "is 8 bytes long, its 1 entries and 8 bytes of data take 32",
        ),
    ],
)
def test_a_header_that_is_none_is_one_error(broken: bytes, message: str) -> None:
    with pytest.raises(PackageError) as caught:
        Header.parse(broken)
    assert str(caught.value) == f"rpm header: {message}"


def test_a_broken_header_never_fails_in_another_way(blob: bytes) -> None:
    chance = random.Random(1)
    refused = 0
    for _ in range(2000):
        broken = bytearray(blob)
        for _ in range(chance.randrange(1, 6)):
            broken[chance.randrange(min(1500, len(broken)))] = chance.randrange(256)
        try:
            header = Header.parse(bytes(broken[: chance.choice((len(broken), 700))]))
            for tag in (NAME, rpm_header.BASENAMES, rpm_header.SUMMARY):
                header.strings(tag)
            header.integers(rpm_header.FILEMTIMES)
            header.binary(rpm_header.SIGMD5)
        except PackageError:
            refused += 1
    assert refused > 500


def test_a_package_that_is_cut_off_is_one_error_at_every_length(rpm_packages: list[Path]) -> None:
    content = next(path for path in rpm_packages if path.name.startswith("hello-1")).read_bytes()
    whole = io.BytesIO(content)
    read_header(whole)
    for length in range(whole.tell()):
        with pytest.raises(PackageError, match=r"^rpm package: ends in its "):
            read_header(io.BytesIO(content[:length]))


def test_a_file_that_is_no_package_is_one_error(rpm_packages: list[Path]) -> None:
    with pytest.raises(PackageError, match="not an rpm package"):
        read_header(io.BytesIO(b"x" * 200))
    content = bytearray(rpm_packages[0].read_bytes())
    content[96] = 0
    with pytest.raises(PackageError, match="its signature header does not begin as one"):
        read_header(io.BytesIO(content))


def test_a_database_of_another_form_is_named(tmp_path: Path) -> None:
    path = tmp_path / "Packages"
    for content, form in (
        (b"RpmP" + bytes(100), "ndb"),
        (bytes(12) + b"\x61\x15\x06\x00" + bytes(100), "Berkeley DB"),
    ):
        path.write_bytes(content)
        with pytest.raises(PackageError) as caught:
            list(read_headers(str(path), where="the image: var/lib/rpm/Packages"))
        assert str(caught.value) == (
            f"the image: var/lib/rpm/Packages: is rpm's database in its {form} form, "
            "of which only sqlite is supported"
        )


def test_a_database_that_is_cut_off_is_one_error(rpm_database: Path, tmp_path: Path) -> None:
    content = rpm_database.read_bytes()
    path = tmp_path / "rpmdb.sqlite"
    for length in (0, 1, 15, 16, 100, 4096, len(content) // 3, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(PackageError, match=r"^its database: "):
            list(read_headers(str(path), where="its database"))


def test_a_database_with_a_broken_header_names_the_package(tmp_path: Path, blob: bytes) -> None:
    path = _database(tmp_path, "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
    with sqlite3.connect(path) as connection:
        values = [(1, blob), (7, blob[:-1])]
        connection.executemany("INSERT INTO Packages VALUES (?, ?)", values)
    connection.close()
    with pytest.raises(PackageError, match=r"rpmdb\.sqlite: package 7: rpm header: is "):
        list(read_headers(str(path)))


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("CREATE TABLE Other (x)", "has no table Packages, so it is not rpm's"),
        ("CREATE VIEW Packages AS SELECT 1 hnum, x'00' blob", "has no table Packages"),
        ("CREATE TABLE Packages (hnum, blob); INSERT INTO Packages VALUES (1, 'x')", "holds str"),
        ("CREATE TABLE Packages (hnum)", "no such column: blob"),
        (
            "CREATE TABLE Packages (hnum, blob AS (zeroblob(900000000)));"
            "INSERT INTO Packages VALUES (1)",
            "too big",
        ),
    ],
)
def test_a_database_that_is_not_rpms_is_one_error(
    tmp_path: Path, statement: str, message: str
) -> None:
    path = _database(tmp_path, statement)
    with pytest.raises(PackageError, match=message):
        list(read_headers(str(path), where="x"))


def _database(directory: Path, statements: str) -> Path:
    path = directory / "rpmdb.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(statements)
    connection.close()
    return path


def _header(*entries: tuple[int, int, int, bytes]) -> Header:
    """A header of tags with type, count and content."""
    index, data = b"", b""
    for tag, kind, count, content in entries:
        index += struct.pack(">IIII", tag, kind, len(data), count)
        data += content
    return Header.parse(struct.pack(">II", len(entries), len(data)) + index + data)
