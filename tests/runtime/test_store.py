"""The store: many processes at once, killed at any moment, on full and foreign disks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.errors import StoreError
from runtime.store.store import Store, write_atomically
from runtime.store.workspace import Workspace, remove_tree
from tests.support import (
    CHECKOUT,
    Caller,
    command,
    environment,
    file,
    make_image,
    make_tree,
    read_members,
    run,
    run_pyrun,
    to_json,
)


def test_two_processes_that_apply_the_same_layer_at_once_both_run(
    busybox: Path, store: Path, caller: Caller
) -> None:
    argv = [*command("pyrun"), str(busybox), "echo", "hello"]
    env = environment(caller, PYBUILD_ROOT=str(store))
    started = [
        subprocess.Popen(argv, env=env, cwd="/", stdout=subprocess.PIPE, **caller.switch)
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in started]
    assert outputs == [b"hello\n"] * 4
    assert len(_made(store, caller)) == 1
    assert os.listdir(store / "tmp") == []


def _made(store: Path, caller: Caller) -> list[Path]:
    """What images are mounted from: root mounts them in place."""
    return list((store / ("indexes" if caller.is_root else "layers")).iterdir())


def test_a_second_run_does_not_read_the_layers_again(
    busybox: Path, store: Path, caller: Caller
) -> None:
    assert run_pyrun(busybox, "true", store=store, caller=caller).status == 0
    (layer,) = _made(store, caller)
    before = layer.stat().st_ctime_ns
    assert run_pyrun(busybox, "true", store=store, caller=caller).status == 0
    assert [layer.stat().st_ctime_ns] == [before]
    assert len(_made(store, caller)) == 1


HOLD = """
import sys, time
from runtime.store.store import Store
from runtime.store.workspace import Workspace
with Workspace(Store(sys.argv[1])) as work:
    open(work.directory("d") + "/file", "w").close()
    print(work.path, flush=True)
    time.sleep(60)
"""


def _hold(store: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that works in a store until it is killed, and its directory."""
    argv = [sys.executable, "-c", HOLD, str(store)]
    process = subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path: Path) -> None:
    process, left = _hold(tmp_path)
    _end(process)
    assert (left / "d/file").exists()
    with Workspace(Store(str(tmp_path))):
        assert not left.exists()


def test_what_a_living_process_makes_is_left_alone(tmp_path: Path) -> None:
    process, made = _hold(tmp_path)
    try:
        with Workspace(Store(str(tmp_path))):
            pass
        assert (made / "d/file").exists()
    finally:
        _end(process)


def test_a_workspace_is_gone_when_its_work_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with Workspace(Store(str(tmp_path))) as work:
            Path(work.directory("d"), "file").write_text("")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert os.listdir(tmp_path / "tmp") == []


def test_a_stray_file_under_tmp_does_no_harm(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    (tmp_path / "tmp/stray").write_text("")
    with Workspace(store) as work:
        assert os.path.isdir(work.path)


@pytest.mark.slow
def test_a_pyrun_killed_at_any_moment_leaves_a_store_that_works(
    busybox: Path, store: Path, caller: Caller
) -> None:
    argv = [*command("pyrun"), str(busybox), "true"]
    env = environment(caller, PYBUILD_ROOT=str(store))
    for delay_ms in range(0, 120, 3):
        process = subprocess.Popen(argv, env=env, cwd="/", **caller.switch)
        time.sleep(delay_ms / 1000)
        process.kill()
        process.wait()
        run(["rm", "-rf", store / "layers", store / "version"])
    assert run_pyrun(busybox, "true", store=store, caller=caller).status == 0
    assert os.listdir(store / "tmp") == []


@pytest.mark.parametrize("content", [b"2\n", b"", b"\xff\xfe", b"0" * 10_000])
def test_a_store_of_an_unknown_format_is_refused(tmp_path: Path, content: bytes) -> None:
    Store(str(tmp_path))
    (tmp_path / "version").write_bytes(content)
    with pytest.raises(StoreError, match=f"{tmp_path}: store of format"):
        Store(str(tmp_path))


def test_a_directory_with_other_things_in_it_is_not_made_a_store(tmp_path: Path) -> None:
    make_tree(tmp_path / "home", {"letter.txt": "dear"})
    (tmp_path / "home").chmod(0o755)
    with pytest.raises(StoreError, match="home: not a store, and not empty"):
        Store(str(tmp_path / "home"))
    assert os.listdir(tmp_path / "home") == ["letter.txt"]
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o755


def test_a_store_that_was_half_made_is_finished(tmp_path: Path) -> None:
    make_tree(tmp_path / "store", {"blobs/": None, "layers/": None, "version.1-abc": ""})
    Store(str(tmp_path / "store"))
    assert (tmp_path / "store/version").read_text() == "1\n"


def test_a_store_that_another_process_has_just_made_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Store._create

    def create_late(self: Store) -> None:
        with monkeypatch.context() as other:
            other.setattr(Store, "_create", create)
            Store(self.root)
        create(self)

    monkeypatch.setattr(Store, "_create", create_late)
    Store(str(tmp_path / "store"))
    assert (tmp_path / "store/version").read_text() == "1\n"


def test_a_store_is_closed_to_others(tmp_path: Path) -> None:
    Store(str(tmp_path / "store"))
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("place", ["a file", "below a file", "/proc/store", "not ours"])
def test_a_store_that_cannot_be_made_gives_one_line(
    place: str, busybox: Path, public: Path, caller: Caller
) -> None:
    if place == "not ours" and caller.is_root:
        place = "/sys/store"
    (public / "file").write_text("")
    places = {"a file": public / "file", "below a file": public / "file/store"}
    root = (places | {"not ours": Path("/etc/store")}).get(place, Path(place))
    result = run_pyrun(busybox, "true", store=root, caller=caller)
    assert result.status == 125
    assert result.stderr.startswith(f"pyrun: {root}: ")
    assert "Traceback" not in result.stderr


@pytest.mark.needs_root
@pytest.mark.parametrize("limit", ["size=1m", "nr_inodes=100", "nr_inodes=9"])
def test_a_full_disk_gives_one_line_and_leaves_no_work_behind(
    limit: str, busybox: Path, public: Path
) -> None:
    script = 'mount -t tmpfs -o "$0" none "$1" && shift && "$@"; s=$?; ls "$PYBUILD_ROOT/tmp"'
    script += "; exit $s"
    argv = ["unshare", "--mount", "sh", "-c", script, limit, str(public)]
    image = busybox  # lies on another filesystem, outside of `public`
    env = environment(None, PYBUILD_ROOT=str(public / "store"))
    result = run([*argv, *command("pyrun"), "--rootfs=unpack", image, "true"], env=env)
    assert (result.status, result.stdout) == (125, "")
    assert "No space left on device" in result.stderr
    assert result.stderr.startswith("pyrun: ")
    assert "Traceback" not in result.stderr


@pytest.mark.needs_root
def test_a_store_on_a_read_only_disk_runs_what_it_has(busybox: Path, public: Path) -> None:
    store = public / "store"
    assert run_pyrun(busybox, "true", store=store).status == 0
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", script, str(public), *command("pyrun")]
    env = environment(None, PYBUILD_ROOT=str(store))
    assert run([*argv, busybox, "echo", "hello"], env=env).stdout == "hello\n"


# --- named images --------------------------------------------------------------------------


def _name(store: Path, name: str, archive: Path) -> dict[str, bytes]:
    """Put an archive's image into a store under a name, as pybuild does."""
    files = read_members(archive)
    Store(str(store))
    for member, content in files.items():
        if member.startswith("blobs/"):
            (store / member).write_bytes(content)
    (entry,) = json.loads(files["index.json"])["manifests"]
    (store / "images" / name).write_bytes(to_json(entry))
    return files


@pytest.mark.needs_root
@pytest.mark.parametrize("spelled", ["shop/web", "shop/web:latest"])
def test_a_named_image_runs(spelled: str, busybox: Path, public: Path) -> None:
    store = public / "store"
    _name(store, "shop%2Fweb:latest", busybox)
    result = run_pyrun(spelled, "echo", "hello", store=store)
    assert (result.stdout, result.stderr) == ("hello\n", "")


@pytest.mark.needs_root
@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
@pytest.mark.parametrize("damage", ["missing", "changed", "cut"])
def test_a_named_image_with_a_damaged_blob_gives_one_line(
    which: str, damage: str, public: Path
) -> None:
    store = public / "store"
    archive = make_image(public / "i.tar", [[file("x", b"x" * 5000)]], {"Cmd": ["/x"]})
    files = _name(store, "web:latest", archive)
    kinds = {"manifest": b'"schemaVersion"', "config": b'"rootfs"', "layer": b"ustar"}
    (name,) = (n for n, c in files.items() if n.startswith("blobs/") and kinds[which] in c)
    match damage:
        case "missing":
            (store / name).unlink()
        case "changed":
            content = bytearray(files[name])
            content[len(content) // 2] ^= 1
            (store / name).write_bytes(content)
        case "cut":
            (store / name).write_bytes(files[name][:-10])
    result = run_pyrun("web", store=store)
    assert result.status == 125
    assert result.stderr.startswith("pyrun: web: ")
    assert result.stderr.count("\n") == 1


def test_an_unknown_name_says_where_was_looked(store: Path, caller: Caller) -> None:
    result = run_pyrun("no/such:image", store=store, caller=caller)
    assert result.status == 125
    expected = f"pyrun: no/such:image: no such file, and no image of that name in {store}\nhint: "
    assert result.stderr.startswith(expected)


# --- parts ---------------------------------------------------------------------------------


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_atomically(str(tmp_path / "x"), b"new")
    assert ((tmp_path / "x").read_bytes(), os.listdir(tmp_path)) == (b"new", ["x"])


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(b"old")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(str(tmp_path / "x"), b"new")
    assert ((tmp_path / "x").read_bytes(), os.listdir(tmp_path)) == (b"old", ["x"])


def test_a_tree_is_removed_however_deep_and_whatever_is_in_it(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"a/b/c": "x", "a/link": Path("/etc"), "empty/": None})
    os.mkfifo(tree / "fifo")
    place = os.open(tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=place)
        below = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    remove_tree(str(tree))
    assert os.listdir(tmp_path) == []


def test_removing_a_tree_does_not_follow_a_symlink(tmp_path: Path) -> None:
    outside = make_tree(tmp_path / "outside", {"file": "x"})
    remove_tree(str(make_tree(tmp_path / "tree", {"link": outside})))
    assert (outside / "file").exists()


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "nothing"))
    assert os.listdir(tmp_path) == []
