"""Images unpacked to a tmpfs: where they are asked to be, and where no store can be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import (
    BUSYBOX,
    Caller,
    Result,
    busybox_layer,
    command,
    environment,
    file,
    make_image,
    run,
    run_pyrun,
)

# With a directory instead of the host's /var/lib, where root's store is.
READ_ONLY = (
    *("unshare", "--mount", "sh", "-c"),
    'mount --bind "$0" /var/lib && mount -o remount,bind,ro /var/lib && exec "$@"',
)
SCRIPT = "cat /greeting; ls /d"


@pytest.fixture
def image(public: Path) -> Path:
    layers = [
        busybox_layer(),
        [file("d/a"), file("d/b")],
        [file("greeting", b"hello\n"), file("d/.wh.a"), file("d/c")],
    ]
    return make_image(public / "image.tar", layers, {"Cmd": ["sh", "-c", SCRIPT]})


@pytest.fixture
def homeless(public: Path, caller: Caller) -> tuple[list[str], dict[str, str]]:
    """What makes `caller` one whose own store cannot be written: words before, the environment."""
    env = environment(caller, HOME=str(public / "no-home"))
    if not caller.is_root:
        return [], env
    return [*READ_ONLY, str(public)], env


def _pyrun(
    homeless: tuple[list[str], dict[str, str]], caller: Caller, *words: str | Path
) -> Result:
    before, env = homeless
    return run([*before, *command("pyrun"), *words], caller=caller, env=env)


def _mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def test_what_is_asked_to_be_in_memory_leaves_nothing_in_the_store(
    image: Path, store: Path, caller: Caller
) -> None:
    before = _mounts()
    ended = run_pyrun("--rootfs=tmpfs", image, store=store, caller=caller)
    assert ended == Result(0, "hello\nb\nc\n", "")
    assert os.listdir(store) == []
    assert _mounts() == before


def test_a_small_image_starts_where_no_store_can_be_written(
    image: Path, homeless: tuple[list[str], dict[str, str]], caller: Caller
) -> None:
    assert _pyrun(homeless, caller, image) == Result(0, "hello\nb\nc\n", "")


@pytest.mark.parametrize("words", [("--rootfs=unpack",), ("--root", "/proc/store")])
def test_a_store_that_is_asked_for_is_not_replaced_by_memory(
    image: Path,
    homeless: tuple[list[str], dict[str, str]],
    caller: Caller,
    words: tuple[str, ...],
) -> None:
    ended = _pyrun(homeless, caller, *words, image)
    assert ended.status == 125
    assert ended.stdout == ""


@pytest.mark.parametrize("compression", ["", "gzip"])
def test_a_large_image_is_not_unpacked_to_memory_unasked(
    public: Path,
    homeless: tuple[list[str], dict[str, str]],
    caller: Caller,
    compression: str,
) -> None:
    layer = [file(f"zeros{number}", bytes(70 << 20)) for number in range(2)]
    image = make_image(
        public / "large.tar", [busybox_layer(), layer], {"Cmd": ["true"]}, compression=compression
    )
    ended = _pyrun(homeless, caller, image)
    assert ended.status == 125
    assert "; and in memory: " in ended.stderr
    expected = "No space left on device" if compression else "at most 128 are unpacked to memory"
    assert expected in ended.stderr
    asked = _pyrun(homeless, caller, "--rootfs=tmpfs", image)
    assert asked.status == 0, asked.stderr


def test_an_image_that_is_not_there_is_no_matter_of_room(
    homeless: tuple[list[str], dict[str, str]], caller: Caller
) -> None:
    ended = _pyrun(homeless, caller, "/no/image.tar")
    assert ended.status == 125
    assert "/no/image.tar: no such file" in ended.stderr


def test_a_volume_is_never_hidden_by_it(image: Path, store: Path, caller: Caller) -> None:
    ended = run_pyrun(
        *("--rootfs=tmpfs", "-v", "/:/host:ro", image, "true"), store=store, caller=caller
    )
    assert ended.status == 125
    assert "no place for a tmpfs" in ended.stderr
    script = "ls -a /host"
    for place in ("/mnt", "/srv"):
        words = ("--rootfs=tmpfs", "-v", f"{place}:/host", image, "sh", "-c", script)
        seen = run_pyrun(*words, store=store, caller=caller)
        assert set(seen.stdout.split()) == {".", "..", *os.listdir(place)}, seen.stderr


@pytest.mark.needs_root
def test_a_name_in_a_store_that_cannot_be_written_starts_from_memory(public: Path) -> None:
    (public / "context").mkdir()
    (public / "context/busybox").write_bytes(BUSYBOX.read_bytes())
    (public / "context/Containerfile").write_text("FROM scratch\nCOPY --chmod=755 busybox /\n")
    env = environment(PYBUILD_ROOT=str(public / "store"))
    built = run([*command("pybuild"), "-q", "-t", "web", public / "context"], env=env)
    assert built.status == 0, built.stderr
    # The store is where root's is, on a disk that cannot be written.
    os.rename(public / "store", public / "pybuild")
    argv = [*READ_ONLY, str(public), *command("pyrun"), "web", "/busybox", "echo", "x"]
    assert run(argv, env=environment()) == Result(0, "x\n", "")
