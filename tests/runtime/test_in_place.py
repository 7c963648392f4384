"""Images that are mounted where they lie: `pyrun --rootfs` and `--verify`."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import (
    Caller,
    Result,
    busybox_layer,
    character,
    command,
    directory,
    environment,
    file,
    image_files,
    make_image,
    pack,
    run,
    symlink,
)

Pyrun = Callable[..., Result]
SCRIPT = "cat /greeting; stat -c '%a %u %g %Y %n' /greeting /d; ls /d; readlink /l"


def _layers() -> list[list[bytes]]:
    return [
        busybox_layer(),
        [directory("d", mode=0o1770, uid=3, gid=4, mtime=5), file("d/a", b"1"), file("d/b", b"2")],
        [
            file("greeting", b"hello\n", mode=0o640, uid=7, gid=8, mtime=9),
            file("d/.wh.a"),
            file("d/c", b"3"),
            symlink("l", "d/c"),
        ],
    ]


@pytest.fixture
def archive(public: Path) -> Path:
    """An archive that nobody has started."""
    return make_image(public / "image.tar", _layers(), {"Cmd": ["sh", "-c", SCRIPT]})


def _count(store: Path, folder: str) -> int:
    return len(os.listdir(store / folder)) if (store / folder).exists() else 0


def test_everybody_sees_the_same_and_root_unpacks_nothing(
    pyrun: Pyrun, archive: Path, store: Path, caller: Caller
) -> None:
    first, second = pyrun(archive), pyrun(archive)
    assert first.status == 0, first.stderr
    assert first.stdout.startswith("hello\n640 ")
    assert first.stdout.endswith("\nb\nc\nd/c\n")
    if caller.is_root:  # others have other ids for these owners
        assert first.stdout == "hello\n640 7 8 9 /greeting\n1770 3 4 5 /d\nb\nc\nd/c\n"
    assert second.stdout == first.stdout
    assert (_count(store, "layers"), _count(store, "indexes")) == (
        (0, 1) if caller.is_root else (3, 0)
    )
    unpacked = pyrun("--rootfs=unpack", archive)
    assert unpacked.stdout == first.stdout
    assert _count(store, "layers") == 3


def test_without_root_it_cannot_be_asked_for(pyrun: Pyrun, archive: Path, caller: Caller) -> None:
    ended = pyrun("--rootfs=inplace", archive)
    if caller.is_root:
        assert ended.status == 0, ended.stderr
    else:
        assert ended.status == 125
        assert "cannot be mounted in place: only root" in ended.stderr


@pytest.mark.parametrize("option", ["--rootfs=nowhere", "--verify=yes"])
def test_what_is_no_choice_is_status_125(pyrun: Pyrun, archive: Path, option: str) -> None:
    ended = pyrun(option, archive)
    assert ended.status == 125
    assert option.replace("=", " ") in ended.stderr


@pytest.mark.needs_root
class TestAsRoot:
    """What only root gets: the archive itself, mounted."""

    @pytest.fixture
    def caller(self) -> Caller:
        """Root alone."""
        return Caller("root", 0, 0, "/root")

    def test_what_a_container_writes_is_not_in_the_archive(
        self, pyrun: Pyrun, archive: Path
    ) -> None:
        before = archive.read_bytes()
        script = "echo more >> /greeting; rm -r /d /bin/vi; mkdir /d; echo 4 > /d/e; ls /d"
        ended = pyrun(archive, "sh", "-c", script)
        assert (ended.status, ended.stdout) == (0, "e\n"), ended.stderr
        assert archive.read_bytes() == before
        assert pyrun(archive).stdout.startswith("hello\n640")

    @pytest.mark.parametrize("compression", ["gzip", "zstd"])
    def test_compressed_layers_are_made_plain_once(
        self, pyrun: Pyrun, public: Path, store: Path, compression: str
    ) -> None:
        config = {"Cmd": ["cat", "/greeting"]}
        path = make_image(public / "i.tar", _layers(), config, compression=compression)
        assert pyrun(path).stdout == "hello\n"
        assert (_count(store, "layers"), _count(store, "indexes")) == (0, 1)
        assert _count(store, "blobs/sha256") == 3
        made = [blob.stat().st_ctime_ns for blob in (store / "blobs/sha256").iterdir()]
        for verify in ("auto", "always"):
            assert pyrun(f"--verify={verify}", path).stdout == "hello\n"
        assert made == [blob.stat().st_ctime_ns for blob in (store / "blobs/sha256").iterdir()]

    @pytest.mark.parametrize("compression", ["gzip", "zstd"])
    def test_a_compressed_layer_that_is_not_what_was_promised_is_refused(
        self, pyrun: Pyrun, public: Path, store: Path, compression: str
    ) -> None:
        wrong = {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64] * 3}}
        path = make_image(public / "i.tar", _layers(), compression=compression, document=wrong)
        for words in ((), ("--verify=never",)):
            ended = pyrun(*words, path, "true")
            assert ended.status == 125
            assert "diff_id is sha256:" in ended.stderr
        assert _count(store, "blobs/sha256") == 0
        assert os.listdir(store / "tmp") == []

    def test_layers_that_are_unpacked_already_are_used(
        self, pyrun: Pyrun, archive: Path, store: Path
    ) -> None:
        assert pyrun("--rootfs=unpack", archive).status == 0
        assert pyrun(archive).status == 0
        assert _count(store, "indexes") == 0
        assert pyrun("--rootfs=inplace", archive).status == 0
        assert _count(store, "indexes") == 1

    def test_a_wrong_digest_is_found_before_anything_starts(
        self, pyrun: Pyrun, public: Path
    ) -> None:
        files = image_files(_layers(), {"Cmd": ["cat", "/greeting"]})
        name = next(n for n, content in files.items() if b"hello\n" in content)
        files[name] = files[name].replace(b"hello\n", b"jello\n")
        path = pack(public / "i.tar", files)
        for _ in range(2):
            ended = pyrun(path)
            assert (ended.status, ended.stdout) == (125, "")
            assert "layer 3 (sha256:" in ended.stderr
            assert "digest is sha256:" in ended.stderr
        # Who says so gets what is there; it is not taken for verified the next time.
        assert pyrun("--verify=never", path).stdout == "jello\n"
        assert pyrun(path).status == 125

    @pytest.mark.parametrize("verify", ["auto", "always"])
    def test_an_archive_that_was_changed_is_another_one(
        self, pyrun: Pyrun, archive: Path, verify: str
    ) -> None:
        assert pyrun(archive).status == 0
        status = archive.stat()
        content = archive.read_bytes()
        with archive.open("r+b") as opened:
            opened.seek(content.index(b"hello\n"))
            opened.write(b"jello\n")
        os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns))
        ended = pyrun(f"--verify={verify}", archive)
        assert ended.status == 125
        assert "digest is sha256:" in ended.stderr
        assert "jello" not in ended.stdout

    @pytest.mark.parametrize("what", ["gone", "shorter", "empty"])
    def test_an_index_that_is_not_whole_is_made_again(
        self, pyrun: Pyrun, archive: Path, store: Path, what: str
    ) -> None:
        first = pyrun(archive)
        [index] = (store / "indexes").iterdir()
        content = index.read_bytes()
        match what:
            case "gone":
                index.unlink()
            case "shorter":
                index.write_bytes(content[:-512])
            case "empty":
                index.write_bytes(b"")
        assert pyrun(archive).stdout == first.stdout
        assert index.read_bytes() == content

    def test_a_damaged_index_is_removed_by_the_start_that_finds_it(
        self, pyrun: Pyrun, archive: Path, store: Path
    ) -> None:
        time.sleep(0.1)  # what was written just now is not remembered
        first = pyrun(archive)
        [index] = (store / "indexes").iterdir()
        with index.open("r+b") as opened:
            opened.seek(1024 + 80)
            opened.write(b"\xff" * 4)  # features that no kernel knows
        assert pyrun(archive).status == 125
        assert pyrun(archive).stdout == first.stdout

    def test_on_a_tmpfs_loop_devices_stand_for_the_files(
        self, pyrun: Pyrun, archive: Path, store: Path
    ) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "none", store], check=True)
        try:
            ended = pyrun(archive)
            assert ended.status == 0, ended.stderr
            assert (_count(store, "layers"), _count(store, "indexes")) == (0, 1)
        finally:
            subprocess.run(["umount", store], check=True)

    def test_a_store_that_an_index_cannot_be_mounted_from_unpacks(
        self, archive: Path, store: Path
    ) -> None:
        mounts = f"mount -t tmpfs none {store} && mount --bind /dev/null /dev/loop-control"
        argv = ["unshare", "--mount", "sh", "-c", f'{mounts} && "$@" && ls {store}/layers', "sh"]
        argv += command("pyrun")
        env = environment(PYBUILD_ROOT=str(store))
        ended = run([*argv, archive], env=env)
        assert ended.status == 0, ended.stderr
        assert ended.stdout.count("\n") == 6 + 3, "what the image prints, and three layers"
        ended = run([*argv, "--rootfs=inplace", archive], env=env)
        assert ended.status == 125
        assert "cannot be mounted in place: " in ended.stderr

    def test_a_store_without_room_for_an_index_says_so(
        self, pyrun: Pyrun, public: Path, store: Path
    ) -> None:
        layers = [busybox_layer(), [file(f"f{number}") for number in range(5000)]]
        path = make_image(public / "i.tar", layers)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", store], check=True)
        try:
            ended = pyrun(path, "true")
            assert (ended.status, ended.stderr.count("\n")) == (125, 1)
            assert "No space left on device" in ended.stderr
            assert os.listdir(store / "tmp") == []
        finally:
            subprocess.run(["umount", store], check=True)

    def test_a_bundle_is_copied_from_where_the_archive_lies(
        self, pyrun: Pyrun, archive: Path, public: Path, store: Path
    ) -> None:
        assert pyrun("bundle", archive, public / "bundle").status == 0
        assert (_count(store, "layers"), _count(store, "indexes")) == (0, 1)
        assert (public / "bundle/rootfs/greeting").read_text() == "hello\n"
        assert pyrun("bundle", "--rootfs=unpack", archive, public / "other").status == 0
        assert _count(store, "layers") == 3

    def test_no_bundle_is_made_of_a_damaged_archive(
        self, pyrun: Pyrun, archive: Path, public: Path
    ) -> None:
        content = archive.read_bytes()
        archive.write_bytes(content.replace(b"hello", b"jello"))
        for option in ("--rootfs=auto", "--rootfs=inplace", "--verify=always"):
            ended = pyrun("bundle", option, archive, public / "bundle")
            assert (ended.status, ended.stderr.count("digest is sha256:")) == (125, 1)
            assert not (public / "bundle").exists()

    def test_the_archive_may_be_on_a_tmpfs_and_go_while_it_runs(
        self, archive: Path, store: Path
    ) -> None:
        folder = archive.parent / "memory"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
        try:
            path = folder / "a,b:c.tar"
            shutil.copy(archive, path)
            script = "echo ready; read line; cat /greeting"
            process = subprocess.Popen(
                [*command("pyrun"), "-i", "--rootfs=inplace", path, "sh", "-c", script],
                env=environment(PYBUILD_ROOT=str(store)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            path.unlink()
            output, _ = process.communicate(b"\n", timeout=20)
            assert output == b"hello\n"
        finally:
            subprocess.run(["umount", folder], check=True)

    def test_nothing_stays_mounted(self, pyrun: Pyrun, archive: Path) -> None:
        before = Path("/proc/self/mountinfo").read_text()
        pyrun(archive)
        assert Path("/proc/self/mountinfo").read_text() == before

    def test_devices_of_the_image_cannot_be_opened(self, pyrun: Pyrun, public: Path) -> None:
        layers = [busybox_layer(), [character("null2", 1, 3, mode=0o666)]]
        path = make_image(public / "i.tar", layers)
        ended = pyrun(path, "sh", "-c", "ls -l /null2; cat /null2")
        assert "crw-rw-rw-" in ended.stdout
        assert "Permission denied" in ended.stderr

    def test_a_hundred_layers_start(self, pyrun: Pyrun, public: Path) -> None:
        layers = [busybox_layer(), *([file(f"f{n}", str(n))] for n in range(100))]
        path = make_image(public / "i.tar", layers)
        assert pyrun(path, "cat", "/f0", "/f99").stdout == "099"

    def test_a_name_of_the_store_is_mounted_over_its_blobs(
        self, pyrun: Pyrun, public: Path, store: Path
    ) -> None:
        context = public / "context"
        context.mkdir()
        shutil.copy("/bin/busybox", context)
        (context / "Containerfile").write_text("FROM scratch\nCOPY busybox /bin/\n")
        env = environment(PYBUILD_ROOT=str(store))
        built = run([*command("pybuild"), "-q", "-t", "name", context], env=env)
        assert built.status == 0, built.stderr
        ended = pyrun("name", "/bin/busybox", "echo", "hello")
        assert (ended.status, ended.stdout) == (0, "hello\n"), ended.stderr
        assert (_count(store, "layers"), _count(store, "indexes")) == (0, 1)

    def test_an_archive_of_ours_is_not_verified_again(
        self, pyrun: Pyrun, public: Path, store: Path
    ) -> None:
        context = public / "context"
        context.mkdir()
        (context / "greeting").write_text("hello\n" * 1000)
        shutil.copy("/bin/busybox", context)
        (context / "Containerfile").write_text("FROM scratch\nCOPY busybox greeting /\n")
        env = environment(PYBUILD_ROOT=str(store))
        path = public / "ours.tar"
        built = run([*command("pybuild"), "-q", "-o", path, context], env=env)
        assert built.status == 0, built.stderr
        for verify, read in (("auto", False), ("always", True)):
            trace = public / f"{verify}.trace"
            argv: list[str | Path] = ["strace", "-f", "-o", trace, "-P", path, "-e", "trace=read"]
            argv += [*command("pyrun"), f"--verify={verify}", path, "/busybox", "true"]
            ended = run(argv, env=env)
            assert ended.status == 0, ended.stderr
            assert ("read(" in trace.read_text()) is read

    @pytest.mark.parametrize("terminal", [False, True])
    def test_who_writes_into_the_archive_of_a_container_ends_it(
        self, archive: Path, store: Path, terminal: bool
    ) -> None:
        words = ["-t"] if terminal else []
        script = "echo ready; while :; do cat /greeting > /dev/null; done"
        process = subprocess.Popen(
            [*command("pyrun"), *words, archive, "sh", "-c", script],
            env=environment(PYBUILD_ROOT=str(store)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"ready"
        time.sleep(0.2)  # the lease is taken beside the container's first steps
        began = time.monotonic()
        with archive.open("r+b"):
            assert time.monotonic() - began < 20
        _, said = process.communicate(timeout=20)
        assert process.returncode == 125
        assert b"image.tar: somebody writes into it" in said
        assert b"hint: " in said

    def test_a_new_file_in_the_place_of_the_archive_is_no_trouble(
        self, archive: Path, store: Path
    ) -> None:
        process = subprocess.Popen(
            [*command("pyrun"), "-i", archive, "sh", "-c", "echo ready; read line; cat /greeting"],
            env=environment(PYBUILD_ROOT=str(store)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        beside = archive.with_name("new")
        beside.write_bytes(b"another")
        beside.rename(archive)
        output, _ = process.communicate(b"\n", timeout=20)
        assert (process.returncode, output) == (0, b"hello\n")
