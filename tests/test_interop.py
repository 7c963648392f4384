"""Other people's programs read our archives, and see the same files and configuration."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.buildkit.conftest import new_room
from tests.buildkit.support import SHELL, Image, make_pybuild
from tests.support import Caller, TreeValue

TEXT = f"""\
{SHELL}
COPY d /d/
RUN mkdir -m 1777 /t && ln -s ../d/x /t/l && ln /d/x /t/h && chown 5:6 /d/y && chmod 4755 /d/y
RUN rm /d/gone && mkfifo /t/fifo && mkdir -p /d/long && touch /d/long/$(printf %0200d 0)
ENV A=1 B="two words"
LABEL l=1
EXPOSE 80
VOLUME /v
USER 5:6
WORKDIR /w
ENTRYPOINT ["sh"]
CMD ["-c", "echo $A"]
STOPSIGNAL SIGINT
"""
FILES: dict[str, TreeValue] = {"d/x": "1", "d/y": "2", "d/gone": "", "d/grün": "ü"}
NAME = "localhost/interop:v1"

Files = dict[str, tuple[object, ...]]


@pytest.fixture(scope="module")
def image(public_root: Path) -> Iterator[Image]:
    """An image with a bit of everything, named in its archive."""
    with new_room(public_root) as room:
        me = Caller("me", os.geteuid(), os.getegid(), os.path.expanduser("~"))
        pybuild = make_pybuild(room, me)
        pybuild.add(FILES)
        yield pybuild.build(TEXT, "-t", NAME, "-o", "image.tar")


def _expected(image: Image) -> Files:
    """The files as our layers say, stacked."""
    found: Files = {}
    for number in range(len(image.layers)):
        for name, info in image.layer(number).items():
            folder, _, last = name.rpartition("/")
            if last.startswith(".wh."):
                del found[f"{folder}/{last.removeprefix('.wh.')}"]
            elif name != ".":
                found[name] = _of_tar(image, info)
    return found


def _of_tar(image: Image, info: tarfile.TarInfo) -> tuple[object, ...]:
    if info.islnk():
        info = image.files[info.linkname]
    kind = "l" if info.issym() else "d" if info.isdir() else "p" if info.isfifo() else "f"
    mode = None if kind == "l" else info.mode
    return kind, mode, info.uid, info.gid, info.linkname if kind == "l" else None


def _unpacked(root: Path) -> Files:
    """The files below a directory, in the same form."""
    found: Files = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            kind = {0o12: "l", 0o04: "d", 0o01: "p", 0o10: "f"}[status.st_mode >> 12]
            found[os.path.relpath(path, root)] = (
                kind,
                None if kind == "l" else status.st_mode & 0o7777,
                status.st_uid,
                status.st_gid,
                os.readlink(path) if kind == "l" else None,
            )
    return found


def _run(*argv: str | Path, env: Mapping[str, str] | None = None) -> str:
    ended = subprocess.run(argv, check=False, capture_output=True, text=True, env=env)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


# --- skopeo


@pytest.mark.needs_program("skopeo")
@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_skopeo_sees_the_image_in_both_views(image: Image, transport: str) -> None:
    seen = json.loads(_run("skopeo", "inspect", f"{transport}:{image.path}"))
    assert seen["Architecture"] == image.config["architecture"]
    assert seen["Env"] == image.process["Env"]
    assert seen["Labels"] == {"l": "1"}
    assert len(seen["Layers"]) == len(image.layers)


@pytest.mark.needs_program("skopeo")
def test_skopeo_sees_the_configuration_that_we_wrote(image: Image) -> None:
    seen = json.loads(_run("skopeo", "inspect", "--config", f"oci-archive:{image.path}"))
    for name in ("Env", "Entrypoint", "Cmd", "WorkingDir", "User", "Labels", "Volumes"):
        assert seen["config"][name] == image.process[name]
    assert seen["history"] == image.config["history"]


@pytest.mark.needs_program("skopeo")
def test_skopeo_copies_the_image_without_changing_its_digest(image: Image, tmp_path: Path) -> None:
    _run("skopeo", "copy", f"oci-archive:{image.path}", f"oci:{tmp_path}/copy:v1")
    index = json.loads((tmp_path / "copy/index.json").read_text())
    config = json.loads(_run("skopeo", "inspect", "--raw", f"oci:{tmp_path}/copy:v1"))["config"]
    assert config["digest"] == image.manifest["config"]["digest"]
    assert len(index["manifests"]) == 1


# --- umoci


@pytest.mark.needs_root
@pytest.mark.needs_program("skopeo", "umoci")
def test_umoci_unpacks_the_same_files_and_process(image: Image, tmp_path: Path) -> None:
    _run("skopeo", "copy", f"oci-archive:{image.path}", f"oci:{tmp_path}/copy:v1")
    _run("umoci", "unpack", "--image", f"{tmp_path}/copy:v1", tmp_path / "bundle")
    assert _unpacked(tmp_path / "bundle/rootfs") == _expected(image)
    process = json.loads((tmp_path / "bundle/config.json").read_text())["process"]
    assert process["args"] == ["sh", "-c", "echo $A"]
    assert (process["cwd"], process["user"]["uid"], process["user"]["gid"]) == ("/w", 5, 6)


# --- podman and buildah


class Engine:
    """podman or buildah with a storage of its own."""

    def __init__(self, program: str, directory: Path) -> None:
        self._options = [
            program,
            *("--root", str(directory / "root")),
            *("--runroot", str(directory / "run")),
            *("--storage-driver", "vfs"),
        ]
        conf = directory / "containers.conf"
        # The default limits are more than some machines grant.
        conf.write_text('[containers]\ndefault_ulimits=["nofile=1024:4096", "nproc=1024:2048"]\n')
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "CONTAINERS_CONF": str(conf),
            "XDG_RUNTIME_DIR": str(directory),
        }

    def __call__(self, *arguments: str) -> str:
        return _run(*self._options, *arguments, env=self._env)


@pytest.fixture
def directory(image: Image) -> Iterator[Path]:
    """A place for an engine's storage: short, as sockets live in it."""
    path = image.path.parent.parent / "engine"
    path.mkdir()
    yield path
    shutil.rmtree(path)


def _check_engine(image: Image, table: Mapping[str, Any]) -> None:
    """What an engine says of the image's `config`."""
    for name in ("Env", "Entrypoint", "Cmd", "WorkingDir", "User", "ExposedPorts", "StopSignal"):
        assert table.get(name) == image.process[name]


@pytest.mark.needs_root
@pytest.mark.needs_program("podman")
@pytest.mark.parametrize("view", ["both", "docker only"])
def test_podman_loads_the_same_files_and_configuration(
    image: Image, directory: Path, view: str
) -> None:
    podman = Engine("podman", directory)
    archive = image.path if view == "both" else _docker_view(image, directory / "docker.tar")
    podman("load", "--input", str(archive))
    [table] = json.loads(podman("image", "inspect", NAME))
    assert table["Id"] == image.manifest["config"]["digest"].removeprefix("sha256:")
    _check_engine(image, table["Config"])
    mounted = podman("image", "mount", NAME).strip()
    assert _unpacked(Path(mounted)) == _expected(image)


def _docker_view(image: Image, path: Path) -> Path:
    with tarfile.open(image.path) as archive, tarfile.open(path, "w") as target:
        for member in archive:
            if member.name not in ("oci-layout", "index.json"):
                target.addfile(member, archive.extractfile(member))
    return path


@pytest.mark.needs_root
@pytest.mark.needs_program("buildah")
def test_buildah_builds_on_the_image(image: Image, directory: Path) -> None:
    buildah = Engine("buildah", directory)
    container = buildah("from", "--pull-never", f"oci-archive:{image.path}").strip()
    table = json.loads(buildah("inspect", container))
    _check_engine(image, table["OCIv1"]["config"])
    mounted = buildah("mount", container).strip()
    found = _unpacked(Path(mounted))
    assert {name: found[name] for name in _expected(image)} == _expected(image)


@pytest.mark.needs_root
@pytest.mark.needs_program("podman")
def test_what_podman_saves_is_a_base_of_ours(image: Image, directory: Path) -> None:
    podman = Engine("podman", directory)
    podman("load", "--input", str(image.path))
    me = Caller("root", 0, 0, "/root")
    for form in ("oci-archive", "docker-archive"):
        pybuild = make_pybuild(directory / form, me)
        base = pybuild.context / "base.tar"
        podman("save", "--format", form, "--output", str(base), NAME)
        made = pybuild.build("FROM base.tar\nUSER 0\nRUN cat /d/x > /seen\n")
        assert made.read("seen") == b"1"
        assert made.process["WorkingDir"] == "/w"
