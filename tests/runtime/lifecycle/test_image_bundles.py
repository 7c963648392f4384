"""`pyrun bundle IMAGE DIR`: an image as a bundle that any runtime can run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.runtime.lifecycle.runtime_calls import Runtime, as_root, complaint, until
from tests.support import (
    Result,
    busybox_layer,
    command,
    directory,
    environment,
    fifo,
    file,
    hardlink,
    make_image,
    pax_records,
    run,
    symlink,
    which,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Pyrun = Callable[..., Result]


@pytest.fixture(scope="module")
def image(public_root: Path) -> Path:
    """An image with busybox and one of each kind of file in two layers."""
    upper = [
        directory("d", mode=0o1751),
        file("d/x", "content", mode=0o4755),
        hardlink("d/h", "d/x"),
        symlink("d/l", "../nowhere"),
        fifo("d/fifo", mode=0o600),
        *(pax_records({"SCHILY.xattr.user.a": "value"}), file("d/attribute", "a")),
        file("d/.wh.gone"),
    ]
    lower = [*busybox_layer(), directory("d"), file("d/gone", "g"), file("d/kept", "k")]
    config = {
        "Entrypoint": ["sh"],
        "Cmd": ["-c", "echo $GREETING from $(id -u) in $(pwd); exit 3"],
        "Env": ["PATH=/bin", "GREETING=hello"],
        "WorkingDir": "/tmp",
    }
    return make_image(public_root / "bundled.tar", [lower, upper], config)


@pytest.fixture
def made(oci: Runtime, image: Path) -> Path:
    """The image's bundle, made by the caller."""
    path = oci.room.place / "made"
    result = _bundle(oci, image, path)
    assert (result.status, result.stderr) == (0, ""), result
    return path


def _bundle(oci: Runtime, *arguments: str | Path) -> Result:
    store = oci.room.place / "store"
    if not store.exists():
        store.mkdir()
        oci.room.give(store)
    argv = [*command("pyrun"), "bundle", *arguments]
    env = environment(oci.caller, PYBUILD_ROOT=str(store))
    return run(argv, caller=oci.caller, env=env)


@pytest.fixture(autouse=True)
def _removed(oci: Runtime) -> Iterator[None]:
    yield
    path = oci.room.place / "made"
    if path.exists():
        subprocess.run(["rm", "-rf", path], check=True)


def test_the_tree_is_the_images(made: Path, oci: Runtime) -> None:
    d = made / "rootfs/d"
    assert sorted(os.listdir(d)) == ["attribute", "fifo", "h", "kept", "l", "x"]
    assert d.stat().st_mode & 0o7777 == 0o1751
    assert (d / "x").read_text() == "content"
    assert (d / "x").stat().st_mode & 0o7777 == 0o4755
    assert (d / "x").stat().st_ino == (d / "h").stat().st_ino
    assert os.readlink(d / "l") == "../nowhere"
    assert (d / "fifo").is_fifo()
    assert os.getxattr(d / "attribute", "user.a") == b"value"
    assert (d / "x").stat().st_mtime == 1_000_000_000
    assert (d / "x").stat().st_uid == oci.caller.uid


def test_our_runtime_runs_it(made: Path, oci: Runtime) -> None:
    result = oci.run(made)
    assert (result.status, result.stdout) == (3, "hello from 0 in /tmp\n"), result


@pytest.mark.parametrize("program", ["runc", "crun"])
@as_root
def test_another_runtime_runs_it(program: str, made: Path, oci: Runtime) -> None:
    if not (path := which(program)):
        pytest.skip(f"{program} is not installed")
    argv = [path, "--root", str(oci.room.place / program)]
    result = run([*argv, "run", "--bundle", made, oci.new_id()], env=oci.env)
    if "hybrid mode not supported" in result.stderr:
        pytest.skip(f"{program} runs nothing where both versions of cgroups have controllers")
    assert (result.status, result.stdout) == (3, "hello from 0 in /tmp\n"), result


@as_root
def test_options_are_those_of_run(oci: Runtime, image: Path) -> None:
    path = oci.room.place / "made"
    options = ("-e", "A=1", "-w", "/d", "-u", "alice", "--read-only", "--cap-drop", "ALL")
    result = _bundle(oci, *options, image, path, "-c", "pwd")
    assert (result.status, result.stderr) == (0, "")
    config = json.loads((path / "config.json").read_text())
    process: dict[str, Any] = config["process"]
    assert process["args"] == ["sh", "-c", "pwd"]
    assert "A=1" in process["env"]
    assert "HOME=/home/alice" in process["env"]
    assert (process["cwd"], process["user"]["uid"]) == ("/d", 1000)
    assert config["root"] == {"path": "rootfs", "readonly": True}
    assert oci.run(path).stdout == "/d\n"


@pytest.mark.parametrize("kind", ["empty directory", "full directory", "file", "dangling link"])
@as_root
def test_what_exists_is_refused_and_untouched(kind: str, oci: Runtime, image: Path) -> None:
    path = oci.room.place / "there"
    if "directory" in kind:
        path.mkdir()
        if "full" in kind:
            (path / "file").write_text("mine")
    elif kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to("/nowhere")
    before = path.lstat()
    said = complaint(_bundle(oci, image, path))
    assert f"{path}: exists already; nothing of it is replaced" in said
    assert path.lstat() == before
    assert "full" not in kind or (path / "file").read_text() == "mine"
    assert not (oci.room.place / ".there.unfinished").exists()


@as_root
def test_what_goes_wrong_leaves_nothing(oci: Runtime, image: Path) -> None:
    path = oci.room.place / "made"
    for arguments, words in (
        (("-u", "nobody", image, path), "nobody"),
        ((image, oci.room.place / "no/where"), "No such file"),
        ((oci.room.place / "no.tar", path), "no.tar"),
        ((image,), "bundle: IMAGE and DIR expected"),
    ):
        assert words in complaint(_bundle(oci, *arguments))
        assert [p for p in os.listdir(oci.room.place) if "made" in p or "no" in p] == []


@as_root
def test_what_a_killed_one_left_does_not_hinder_the_next(oci: Runtime, image: Path) -> None:
    left = oci.room.place / ".made.unfinished"
    (left / "rootfs/d/deep").mkdir(parents=True)
    (left / "config.json").write_text("{")
    path = oci.room.place / "made"
    result = _bundle(oci, image, path)
    assert (result.status, result.stderr) == (0, "")
    assert not left.exists()
    assert oci.run(path).status == 3


@pytest.mark.slow
def test_a_bundle_killed_at_any_time_is_whole_or_not_there(oci: Runtime, image: Path) -> None:
    path, chance = oci.room.place / "made", random.Random(7)
    _bundle(oci, image, oci.room.place / "made")
    for _ in range(15):
        subprocess.run(["rm", "-rf", path], check=True)
        argv = [*command("pyrun"), "bundle", str(image), str(path)]
        env = oci.env
        call = subprocess.Popen(argv, env=env, cwd="/", **oci.caller.switch)
        time.sleep(chance.uniform(0.05, 0.5))
        call.kill()
        call.wait()
        if not path.exists():
            ended: list[Result] = []

            def again(found: list[Result] = ended) -> bool:
                found.append(_bundle(oci, image, path))
                return found[-1].status == 0

            # Its child is killed, too, but perhaps not gone yet.
            assert until(again, 5), ended
        assert oci.run(path).status == 3
        assert [p for p in os.listdir(oci.room.place) if "unfinished" in p] == []


@as_root
def test_two_at_once_do_not_meet(oci: Runtime, image: Path) -> None:
    path = oci.room.place / "made"
    _bundle(oci, image, oci.room.place / "warm")
    argv = [*command("pyrun"), "bundle", str(image), str(path)]
    calls = [
        subprocess.Popen(argv, env=oci.env, cwd="/", stderr=subprocess.PIPE) for _ in range(3)
    ]
    said = [call.communicate(timeout=30)[1].decode() for call in calls]
    assert sorted(call.returncode for call in calls) == [0, 125, 125]
    assert all("exists already" in text or "is at work there" in text for text in said if text)
    assert oci.run(path).status == 3


@as_root
class TestInPlace:
    """A bundle without files: the annotation names the image, which our runtime mounts."""

    @pytest.fixture
    def in_place(self, oci: Runtime, image: Path) -> Path:
        """The image's bundle, without its files."""
        path = oci.room.place / "made"
        result = _bundle(oci, "--rootfs=inplace", "-u", "alice", image, path)
        assert (result.status, result.stderr) == (0, ""), result
        return path

    def test_no_file_is_copied_and_the_container_sees_them_all(
        self, in_place: Path, oci: Runtime
    ) -> None:
        assert os.listdir(in_place / "rootfs") == []
        result = oci.run(in_place)
        assert (result.status, result.stdout) == (3, "hello from 1000 in /tmp\n"), result
        layers = oci.room.place / "store/layers"
        assert os.listdir(layers) == []

    def test_what_it_writes_is_gone_when_it_ends(self, in_place: Path, oci: Runtime) -> None:
        config = json.loads((in_place / "config.json").read_text())
        config["process"]["args"] = ["sh", "-c", "cat /tmp/x 2>&1; echo 1 >/tmp/x; cat /tmp/x"]
        (in_place / "config.json").write_text(json.dumps(config))
        for _ in range(2):
            assert oci.run(in_place).stdout.endswith("No such file or directory\n1\n")
        assert os.listdir(in_place / "rootfs") == []

    def test_a_name_of_the_store_is_another_image_once_it_names_one(
        self, oci: Runtime, image: Path
    ) -> None:
        (oci.room.place / "Containerfile").write_text(f"FROM {image}\nENV GREETING=named\n")
        argv = [*command("pybuild"), "-q", "-t", "greeter", str(oci.room.place)]
        env = environment(oci.caller, PYBUILD_ROOT=str(oci.room.place / "store"))
        assert run(argv, env=env).status == 0
        path = oci.room.place / "made"
        assert _bundle(oci, "--rootfs=inplace", "greeter", path).status == 0
        assert oci.run(path).stdout == "named from 0 in /tmp\n"

    @pytest.mark.parametrize("kind", ["user", "mount"])
    def test_where_it_could_not_be_mounted_it_is_refused(
        self, in_place: Path, oci: Runtime, kind: str
    ) -> None:
        config = json.loads((in_place / "config.json").read_text())
        namespaces = config["linux"]["namespaces"]
        if kind == "user":
            namespaces.append({"type": "user"})
            ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
            config["linux"] |= {"uidMappings": ids, "gidMappings": ids}
        else:
            config["linux"] = {"namespaces": [n for n in namespaces if n["type"] != "mount"]}
            config["mounts"] = []
        (in_place / "config.json").write_text(json.dumps(config))
        assert "in a mount namespace of its own" in complaint(oci.run(in_place))

    def test_an_image_that_is_gone_is_named(self, oci: Runtime, image: Path) -> None:
        copy = oci.room.place / "copy.tar"
        copy.write_bytes(image.read_bytes())
        path = oci.room.place / "made"
        assert _bundle(oci, "--rootfs=inplace", copy, path).status == 0
        copy.unlink()
        assert f"{copy}" in complaint(oci.run(path))


@pytest.mark.parametrize("caller", ["user"], indirect=True)
def test_a_user_cannot_have_a_bundle_without_files(oci: Runtime, image: Path) -> None:
    said = complaint(_bundle(oci, "--rootfs=inplace", image, oci.room.place / "made"))
    assert "cannot be mounted in place: only root" in said
    assert not (oci.room.place / "made").exists()
