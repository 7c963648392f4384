"""Large layers, which several processes extract: the same as one does, and as safely."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.errors import ImageError, StoreError
from runtime.image.blob import BlobRange, StoredLayer
from runtime.image.distribution import apply_distributed
from runtime.image.layer import apply_layer
from runtime.image.tar import FileStream
from runtime.image.workers import share_out
from runtime.oci.digest import ChainID, DiffID, Digest
from runtime.oci.image import LAYER, LAYER_GZIP, Descriptor
from runtime.store import unpacking
from runtime.store.store import Store
from tests.runtime.erofs.support import random_layer
from tests.support import (
    CHECKOUT,
    Caller,
    busybox_layer,
    character,
    compressed,
    digest_of,
    directory,
    fifo,
    file,
    hardlink,
    header,
    image_files,
    make_image,
    pack,
    pax,
    run_pyrun,
    symlink,
    tar_of,
    tree_state,
)

needs_root = pytest.mark.needs_root
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # net_bind_service=ep
LARGE = [
    directory("srv", mode=0o2775, gid=7),
    *(file(f"srv/{number}", bytes([number]) * 70_000, mtime=number) for number in range(20)),
]
ORDER_DOES_NOT_MATTER = [
    directory("./", mode=0o711, mtime=3),
    directory("d", mode=0o2770, uid=3, gid=4, mtime=5),
    file("d/theirs", b"1" * 1000, uid=3, gid=4, mode=0o640),
    file("d/ours", b"2" * 1000),
    file("d/set-id", b"3", uid=5, mode=0o6755),
    pax(**{"SCHILY.xattr.security.capability": CAPABILITY, "SCHILY.xattr.user.a": b"b"}),
    file("d/capable", b"4", uid=6),
    file("d/nothing", mode=0o000),
    symlink("d/link", "/anywhere", uid=7, mtime=9),
    file("implied/by/x", b"5" * 3_000_000),
    hardlink("second", "d/ours"),
    fifo("pipe", mode=0o622),
    character("console", 5, 1),
    file("d/.wh..wh..opq"),
    file(".wh.gone"),
]


def _distributed(folder: Path, *members: bytes, lowers: tuple[str, ...] = ()) -> Path | None:
    """The directory of a layer that several processes made; None if it has to be done in order."""
    tar, root = folder / "several.tar", folder / "several"
    tar.write_bytes(tar_of(members))
    root.mkdir(mode=0o755)
    with tar.open("rb") as opened:
        stream = FileStream(opened.fileno(), "layer")
        return root if apply_distributed(stream, str(root), lowers, "layer", 3) else None


def _in_order(folder: Path, *members: bytes, lowers: tuple[str, ...] = ()) -> Path:
    tar, root = folder / "one.tar", folder / "one"
    tar.write_bytes(tar_of(members))
    root.mkdir(mode=0o755)
    with tar.open("rb") as opened:
        apply_layer(FileStream(opened.fileno(), "layer"), str(root), lowers, "layer")
    return root


def _state(root: Path) -> dict[str, tuple[object, ...]]:
    """All of a layer's directory but when its whiteouts were made."""
    state = tree_state(root)
    for name, (mode, uid, gid, links, _, device, *others) in state.items():
        if (mode, device) == (stat.S_IFCHR, 0):
            state[name] = (mode, uid, gid, links, None, device, *others)
    return state


@needs_root
def test_several_processes_make_of_a_layer_what_one_makes(public: Path) -> None:
    lower = public / "lower"
    (lower / "implied/by").mkdir(parents=True)
    (lower / "implied").chmod(0o750)
    (lower / "gone").touch()
    made = _distributed(public, *ORDER_DOES_NOT_MATTER, lowers=(str(lower),))
    assert made is not None
    expected = _state(_in_order(public, *ORDER_DOES_NOT_MATTER, lowers=(str(lower),)))
    assert _state(made) == expected
    assert os.stat(made / "second").st_ino == os.stat(made / "d/ours").st_ino


@needs_root
@pytest.mark.parametrize("seed", range(60))
def test_random_layers_are_the_same_from_one_process_and_from_several(
    public: Path, seed: int
) -> None:
    source = random.Random(seed)
    lower = public / "lower"
    lower.mkdir()
    for path in ("a/a", "b/c", "c"):
        (lower / path).mkdir(parents=True, mode=0o750)
    members = random_layer(source)
    several = _outcome(lambda: _distributed(public, *members, lowers=(str(lower),)))
    if several is not None:
        assert several == _outcome(lambda: _in_order(public, *members, lowers=(str(lower),)))


def _outcome(make: Callable[[], Path | None]) -> object:
    try:
        made = make()
    except ImageError as error:
        return error.message
    return made and _state(made)


@pytest.mark.parametrize(
    "members",
    [
        [file("x", b"1"), file("x", b"2")],
        [symlink("d", "/etc"), file("d/x")],
        [symlink("d", "/etc"), file("d/.wh..wh..opq")],
        [file("d"), file("d/x")],
        [file("d/x"), file("d")],
        [symlink("d", "/etc"), directory("d")],
        [directory("d"), symlink("d", "/etc")],
        [hardlink("y", "x"), file("x")],
        [hardlink("y", "d"), directory("d")],
        [symlink("d", "/etc"), hardlink("y", "d/passwd")],
        [file("./")],
    ],
    ids=lambda _: "",
)
def test_where_the_order_of_members_matters_nothing_is_begun(
    public: Path, members: list[bytes]
) -> None:
    assert _distributed(public, *members) is None
    assert os.listdir(public / "several") == []


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([file("../x")], "leaves the image root"),
        ([symlink("../x", "y")], "leaves the image root"),
        ([file("x"), hardlink("y", "../x")], "leaves the image root"),
        ([file(".wh.")], "whiteout without a name"),
        ([header("x", kind="8")], "member type '8' is not supported"),
        ([header("x", size=10_000)], "truncated"),
    ],
)
def test_what_is_refused_in_order_is_refused_by_several(
    public: Path, members: list[bytes], message: str
) -> None:
    with pytest.raises(ImageError, match=rf"^layer: .*{message}"):
        _distributed(public, *members)


# --- Into the store


def _stored(
    path: Path, content: bytes, promised: bytes | None = None, kind: str = ""
) -> StoredLayer:
    blob = compressed(content, kind)
    path.write_bytes(blob)
    return StoredLayer(
        blob=BlobRange(path=str(path), offset=0, size=len(blob)),
        descriptor=Descriptor(
            media_type=LAYER_GZIP if kind else LAYER,
            digest=Digest(digest_of(blob if promised is None else promised)),
            size=len(blob),
        ),
        diff_id=DiffID(digest_of(content if promised is None else promised)),
        where="layer",
    )


def _chain(layer: StoredLayer) -> ChainID:
    return ChainID(layer.diff_id)


@pytest.fixture(autouse=True)
def _two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "processors", lambda: 2)


@needs_root
def test_a_large_layer_that_is_not_what_its_digest_says_gets_no_name(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    layer = _stored(tmp_path / "layer", tar_of(LARGE), b"another one")
    with pytest.raises(ImageError, match=r"^layer: digest is sha256:"):
        store.apply(layer, _chain(layer), ())
    assert os.listdir(tmp_path / "store/layers") == []
    assert os.listdir(tmp_path / "store/tmp") == []


@needs_root
def test_who_begins_to_write_into_an_archive_has_it_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "store"))
    layer = _stored(tmp_path / "layer", tar_of(LARGE))

    def then_open(*arguments: object) -> bool:
        done = apply_distributed(*arguments)  # type: ignore[arg-type]
        with pytest.raises(BlockingIOError):
            os.open(tmp_path / "layer", os.O_WRONLY | os.O_NONBLOCK)
        return done

    monkeypatch.setattr(unpacking, "apply_distributed", then_open)
    with pytest.raises(ImageError, match="somebody writes into it"):
        store.apply(layer, _chain(layer), ())
    assert os.listdir(tmp_path / "store/layers") == []


@needs_root
def test_an_archive_that_is_open_for_writing_is_read_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> bool:
        raise AssertionError("was read more than once")

    monkeypatch.setattr(unpacking, "apply_distributed", never)
    store = Store(str(tmp_path / "store"))
    layer = _stored(tmp_path / "layer", tar_of(LARGE))
    with (tmp_path / "layer").open("ab"):
        store.apply(layer, _chain(layer), ())
    assert Path(store.layer(_chain(layer)), "srv/19").read_bytes() == bytes([19]) * 70_000


@needs_root
def test_nobody_keeps_a_lease_of_an_archive_that_is_unpacked(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    layer = _stored(tmp_path / "layer", tar_of(LARGE))
    store.apply(layer, _chain(layer), ())
    with (tmp_path / "layer").open("rb") as opened:
        assert fcntl.fcntl(opened, fcntl.F_GETLEASE) == fcntl.F_UNLCK


@needs_root
@pytest.mark.parametrize("order_matters", [False, True])
def test_compressed_layers_leave_no_plain_copies(tmp_path: Path, order_matters: bool) -> None:
    noise = random.Random(1).randbytes(1_500_000)
    members = [file("x", b"first")] * order_matters + [file("x", noise)]
    store = Store(str(tmp_path / "store"))
    layer = _stored(tmp_path / "layer", tar_of(members), kind="gzip")
    store.apply(layer, _chain(layer), ())
    assert Path(store.layer(_chain(layer)), "x").read_bytes() == noise
    assert os.listdir(tmp_path / "store/tmp") == []


@needs_root
def test_a_disk_without_room_for_copies_has_room_for_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inflate(_: StoredLayer, path: str) -> None:
        Path(path).touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unpacking, "inflate", inflate)
    noise = random.Random(1).randbytes(1_500_000)
    store = Store(str(tmp_path / "store"))
    layer = _stored(tmp_path / "layer", tar_of([file("x", noise)]), kind="gzip")
    store.apply(layer, _chain(layer), ())
    assert Path(store.layer(_chain(layer)), "x").read_bytes() == noise


@needs_root
def test_a_disk_that_is_full_is_no_fault_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    store = Store(str(tmp_path / "store"))
    layer = _stored(tmp_path / "layer", tar_of(LARGE))
    monkeypatch.setattr(os, "sendfile", full)
    with pytest.raises(StoreError, match="No space left"):
        store.apply(layer, _chain(layer), ())
    assert os.listdir(tmp_path / "store/tmp") == []


@needs_root
def test_acls_that_a_store_hands_on_do_not_get_into_layers(tmp_path: Path) -> None:
    # Version 2; owner, group and mask all, others nothing (linux/posix_acl_xattr.h).
    entries = ((0x01, 7), (0x04, 7), (0x10, 7), (0x20, 0))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e, 0xFFFFFFFF) for e in entries)
    store = Store(str(tmp_path / "store"))
    try:
        os.setxattr(tmp_path / "store/tmp", "system.posix_acl_default", acl)
    except OSError:
        pytest.skip("no access control lists here")
    layer = _stored(tmp_path / "layer", tar_of(LARGE))
    store.apply(layer, _chain(layer), ())
    made = Path(store.layer(_chain(layer)), "srv")
    assert [oct(path.stat().st_mode) for path in (made, made / "3")] == ["0o42775", "0o100644"]
    assert os.listxattr(made) == os.listxattr(made / "3") == []


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_everybody_can_start_an_image_of_large_layers(
    public: Path, store: Path, caller: Caller, compression: str
) -> None:
    noise = random.Random(2).randbytes(2_000_000)
    layers = [busybox_layer(), LARGE, [file("noise", noise), file("srv/.wh.3")]]
    image = make_image(public / "image.tar", layers, {}, compression=compression)
    script = "ls /srv | wc -l; cat /srv/4 /noise | wc -c; stat -c %a:%U:%Y /srv/5"
    ended = run_pyrun("--rootfs=unpack", image, "sh", "-c", script, store=store, caller=caller)
    assert ended.stdout == "19\n2070000\n644:root:5\n", ended.stderr


def test_a_large_layer_with_a_wrong_byte_starts_for_nobody(
    public: Path, store: Path, caller: Caller
) -> None:
    files = image_files([busybox_layer(), LARGE])
    name, content = next((n, c) for n, c in files.items() if b"srv/17\0" in c)
    files[name] = content.replace(bytes([17]) * 600, bytes([18]) * 600, 1)
    image = pack(public / "image.tar", files)
    ended = run_pyrun("--rootfs=unpack", image, "true", store=store, caller=caller)
    assert ended.status == 125
    assert "digest is sha256:" in ended.stderr


# --- Processes that share work


def test_every_piece_of_work_is_done_once(tmp_path: Path) -> None:
    def work(number: int) -> None:
        (tmp_path / str(number)).touch(exist_ok=False)

    share_out(work, 1000, 4)
    assert len(os.listdir(tmp_path)) == 1000


def _fails(error: Exception) -> Callable[[int], None]:
    def work(number: int) -> None:
        if number == 3:
            raise error

    return work


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (ImageError("layer: bad"), "layer: bad"),
        (OSError(28, "No space left on device"), "No space left"),
        (ZeroDivisionError("x"), "internal error: ZeroDivisionError"),
    ],
)
def test_an_error_in_one_process_is_raised_in_its_caller(error: Exception, seen: str) -> None:
    kind = type(error) if not isinstance(error, ZeroDivisionError) else ImageError
    with pytest.raises(kind, match=seen):
        share_out(_fails(error), 10, 2)


def test_a_process_that_is_killed_is_an_error() -> None:
    with pytest.raises(ImageError, match="was killed"):
        share_out(lambda _: os.kill(os.getpid(), signal.SIGKILL), 2, 2)


HOLD = """
import os, sys, time
from runtime.image.workers import share_out
def work(number):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(60)
share_out(work, 2, 2)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_processes_end_with_their_caller(number: int) -> None:
    argv = [sys.executable, "-c", HOLD]
    with subprocess.Popen(
        argv, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        workers = [int(process.stdout.readline()) for _ in range(2)]
        process.send_signal(number)
        process.wait()
        until = time.monotonic() + 10
        while any(map(_lives, workers)) and time.monotonic() < until:
            time.sleep(0.01)
        assert not any(map(_lives, workers))


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
