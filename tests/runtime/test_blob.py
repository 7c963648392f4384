"""Layer blobs: what is read is what was promised, in size, digest and content."""

from __future__ import annotations

import gzip
import hashlib
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from runtime.errors import ImageError
from runtime.image.blob import BlobRange, LayerReader
from runtime.oci.digest import DiffID, Digest
from runtime.oci.image import LAYER, LAYER_GZIP, LAYER_ZSTD, Descriptor
from tests.support import CHECKOUT, digest_of, file, tar_of

CONTENT = tar_of([file("x", hashlib.sha256(b"").digest() * 5000), file("y", b"y" * 100_000)])


def _reader(
    folder: Path,
    stored: bytes,
    media_type: str = LAYER,
    *,
    content: bytes = CONTENT,
    digest: str = "",
    size: int | None = None,
) -> LayerReader:
    """A reader of a blob in the middle of a file, promised to unpack to `content`."""
    path = folder / "archive"
    path.write_bytes(b"before" + stored + b"after")
    descriptor = Descriptor(
        media_type=media_type,
        digest=Digest(digest or digest_of(stored)),
        size=len(stored) if size is None else size,
    )
    blob = BlobRange(path=str(path), offset=6, size=len(stored))
    return LayerReader(blob, descriptor, DiffID(digest_of(content)), "b")


def _read(reader: LayerReader) -> bytes:
    with reader:
        content = reader.read(1 << 30)
        reader.finish()
    return content


def _zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


ENCODINGS = {
    "plain": (CONTENT, LAYER),
    "gzip": (gzip.compress(CONTENT), LAYER_GZIP),
    "gzip of several members": (
        gzip.compress(CONTENT[:1000]) + gzip.compress(b"") + gzip.compress(CONTENT[1000:]),
        LAYER_GZIP,
    ),
    "gzip by docker's name": (
        gzip.compress(CONTENT),
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
    "zstd": (_zstd(CONTENT), LAYER_ZSTD),
    "zstd of several frames": (_zstd(CONTENT[:1000]) + _zstd(CONTENT[1000:]), LAYER_ZSTD),
}


@pytest.mark.parametrize(("stored", "media_type"), ENCODINGS.values(), ids=ENCODINGS)
def test_a_layer_is_read_as_it_was_before_compression(
    tmp_path: Path, stored: bytes, media_type: str
) -> None:
    assert _read(_reader(tmp_path, stored, media_type)) == CONTENT


@pytest.mark.parametrize(("stored", "media_type"), ENCODINGS.values(), ids=ENCODINGS)
def test_small_reads_and_skips_give_the_same_bytes(
    tmp_path: Path, stored: bytes, media_type: str
) -> None:
    with _reader(tmp_path, stored, media_type) as reader:
        first = reader.read(512)
        reader.skip(1000)
        pieces = [reader.read(777) for _ in range(100)]
        reader.finish()
    assert first == CONTENT[:512]
    assert b"".join(pieces) == CONTENT[1512 : 1512 + 77700]


def test_a_wrong_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=f"b: size is {len(CONTENT)} bytes, manifest says 5"):
        _reader(tmp_path, CONTENT, size=5)


def test_a_wrong_digest_is_refused(tmp_path: Path) -> None:
    lie = "sha256:" + "0" * 64
    with pytest.raises(ImageError, match=r"b: digest is sha256:.* manifest says sha256:000"):
        _read(_reader(tmp_path, CONTENT, digest=lie))


@pytest.mark.parametrize("encode", [gzip.compress, _zstd])
def test_a_wrong_diff_id_is_refused(tmp_path: Path, encode: object) -> None:
    assert callable(encode)
    media_type = LAYER_GZIP if encode is gzip.compress else LAYER_ZSTD
    with pytest.raises(ImageError, match="b: diff_id is sha256:"):
        _read(_reader(tmp_path, encode(CONTENT + b"more"), media_type))


def test_bytes_after_the_end_of_the_tar_count_for_the_diff_id(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="b: diff_id is sha256:"):
        _read(_reader(tmp_path, gzip.compress(CONTENT) + gzip.compress(b"more"), LAYER_GZIP))


@pytest.mark.parametrize(
    ("stored", "media_type", "message"),
    [
        (gzip.compress(CONTENT, mtime=0) + b"garbage", LAYER_GZIP, "not valid gzip"),
        (b"no gzip at all", LAYER_GZIP, "not valid gzip"),
        (gzip.compress(CONTENT, mtime=0)[:-9], LAYER_GZIP, "diff_id is|truncated"),
        (_zstd(CONTENT) + b"garbage", LAYER_ZSTD, "not valid zstd"),
        (b"no zstd at all", LAYER_ZSTD, "not valid zstd"),
        (_zstd(CONTENT)[:-9], LAYER_ZSTD, "diff_id is|truncated"),
        (CONTENT, "application/x-lzma", "media type 'application/x-lzma' is not supported"),
    ],
)
def test_a_stream_that_is_not_what_its_type_says_is_refused(
    tmp_path: Path, stored: bytes, media_type: str, message: str
) -> None:
    with pytest.raises(ImageError, match=f"^b: .*({message})"):
        _read(_reader(tmp_path, stored, media_type))


def test_a_file_cut_off_within_the_blob_is_refused(tmp_path: Path) -> None:
    reader = _reader(tmp_path, CONTENT)
    (tmp_path / "archive").write_bytes(b"before" + CONTENT[:1000])
    with pytest.raises(ImageError, match="b: truncated"):
        _read(reader)


BOMB = """
import resource, sys
from pathlib import Path
from tests.runtime.test_blob import _reader
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
with _reader(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), sys.argv[3]) as reader:
    for _ in range(600):
        reader.skip(1 << 20)
print("read it all")
"""


@pytest.mark.parametrize("media_type", [LAYER_GZIP, LAYER_ZSTD])
def test_a_blob_that_swells_a_hundredfold_takes_little_memory(
    tmp_path: Path, media_type: str
) -> None:
    bomb = tmp_path / "bomb"
    zeros = bytes(1 << 20)
    if media_type == LAYER_GZIP:
        with gzip.open(bomb, "wb", compresslevel=1) as packed:
            for _ in range(601):
                packed.write(zeros)
    else:
        with bomb.open("wb") as out, zstandard.ZstdCompressor().stream_writer(out) as stream:
            for _ in range(601):
                stream.write(zeros)
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    argv = [sys.executable, "-c", BOMB, str(tmp_path), str(bomb), media_type]
    ended = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True)
    assert ended.stdout == "read it all\n", ended.stderr[-500:]
