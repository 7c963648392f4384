"""Other people's programs read our archives, and see the same files and configuration."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.buildkit.conftest import new_room
from tests.buildkit.support import SHELL, Image, make_pybuild
from tests.claims import accepted, foreign_image
from tests.daemons import Containerd, Docker
from tests.support import (
    Caller,
    TreeValue,
    digest_of,
    directory,
    file,
    hardlink,
    pax_records,
    run_pyrun,
    symlink,
    tar_of,
)

TEXT = f"""\
{SHELL}
COPY d /d/
ADD odd.tar /odd/
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

# What a filesystem has and COPY of plain files has not.
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
ODD = [
    directory("odd", mode=0o2750, uid=7, gid=8),
    pax_records({"SCHILY.xattr.security.capability": CAPABILITY, "mtime": "1500000000.123456789"}),
    file("odd/ping", b"#!", mode=0o755),
    pax_records({"SCHILY.xattr.user.colour": "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n \n"}),
    file("odd/colour", b"c" * 100_000, uid=1000, gid=100),
    hardlink("odd/twin", "odd/colour"),
    file("odd/empty"),
    symlink("odd/dangling", "/nowhere/at/all"),
    directory("odd/old", mtime=1),
]

Files = dict[str, "Entry"]


@pytest.fixture(scope="module")
def image(public_root: Path) -> Iterator[Image]:
    """An image with a bit of everything, named in its archive."""
    with new_room(public_root) as room:
        me = Caller("me", os.geteuid(), os.getegid(), os.path.expanduser("~"))
        pybuild = make_pybuild(room, me)
        pybuild.add({**FILES, "odd.tar": tar_of(ODD)})
        yield pybuild.build(TEXT, "-t", NAME, "-o", "image.tar")


class Entry(NamedTuple):
    """All of a file that a reader is to keep."""

    kind: str
    mode: int | None  # not of links
    owner: tuple[int, int]
    time_ns: int
    content: str  # or where a link leads to
    xattrs: tuple[tuple[str, bytes], ...]
    names: tuple[str, ...]  # of the same file


_KINDS = {stat.S_IFLNK: "link", stat.S_IFDIR: "directory", stat.S_IFIFO: "pipe", stat.S_IFREG: ""}
_TYPES = {tarfile.SYMTYPE: "link", tarfile.DIRTYPE: "directory", tarfile.FIFOTYPE: "pipe"}
_XATTR = "SCHILY.xattr."


def _expected(image: Image) -> Files:
    """The files as our layers say, stacked."""
    found: dict[str, Entry] = {}
    first: dict[str, str] = {}  # of the names of a file
    for number, blob in enumerate(image.layers):
        for name, info in image.layer(number).items():
            folder, _, last = name.rpartition("/")
            if last.startswith(".wh."):
                del found[f"{folder}/{last.removeprefix('.wh.')}"]
            elif info.islnk():
                first[name] = info.linkname
                found[name] = found[info.linkname]
            elif name != ".":
                first[name] = name
                found[name] = _of_tar(info, blob)
    return _with_names(found, first)


def _with_names(found: Mapping[str, Entry], first: Mapping[str, object]) -> Files:
    groups: dict[object, list[str]] = {}
    for name in sorted(found):
        groups.setdefault(first[name], []).append(name)
    return {name: one._replace(names=tuple(groups[first[name]])) for name, one in found.items()}


def _of_tar(info: tarfile.TarInfo, layer: bytes) -> Entry:
    seconds, _, part = info.pax_headers.get("mtime", str(int(info.mtime))).partition(".")
    content = layer[info.offset_data : info.offset_data + info.size]
    return Entry(
        kind=_TYPES.get(info.type, ""),
        mode=None if info.issym() else info.mode,
        owner=(info.uid, info.gid),
        time_ns=int(seconds) * 10**9 + int(part.ljust(9, "0")[:9]),
        content=info.linkname if info.issym() else digest_of(content) if info.isreg() else "",
        xattrs=tuple(
            (key.removeprefix(_XATTR), value.encode("utf-8", "surrogateescape"))
            for key, value in sorted(info.pax_headers.items())
            if key.startswith(_XATTR)
        ),
        names=(),
    )


def _unpacked(root: Path) -> Files:
    """The files below a directory, in the same form."""
    found: dict[str, Entry] = {}
    first: dict[str, object] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            kind = _KINDS[stat.S_IFMT(status.st_mode)]
            content = os.readlink(path) if kind == "link" else ""
            relative = os.path.relpath(path, root)
            first[relative] = status.st_ino
            found[relative] = Entry(
                kind=kind,
                mode=None if kind == "link" else stat.S_IMODE(status.st_mode),
                owner=(status.st_uid, status.st_gid),
                time_ns=status.st_mtime_ns,
                content=content if kind else digest_of(Path(path).read_bytes()),
                xattrs=tuple(
                    (key, os.getxattr(path, key, follow_symlinks=False))
                    for key in sorted(os.listxattr(path, follow_symlinks=False))
                ),
                names=(),
            )
    return _with_names(found, first)


def _run(*argv: str | Path, env: Mapping[str, str] | None = None) -> str:
    ended = subprocess.run(argv, check=False, capture_output=True, text=True, env=env)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_image_has_all_that_is_compared(image: Image) -> None:
    entries = _expected(image).values()
    assert {one.kind for one in entries} == {"", "directory", "link", "pipe"}
    assert {one.mode for one in entries} >= {0o2750, 0o4755, 0o1777, None}
    assert {name for one in entries for name, _ in one.xattrs} == {
        "security.capability",
        "user.colour",
    }
    # Whole seconds, as all layers of ours.
    assert {one.time_ns for one in entries} >= {10**9, 1_500_000_000 * 10**9}
    assert any(len(one.names) > 1 for one in entries)
    assert len({one.owner for one in entries}) > 3


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


@accepted
@pytest.mark.needs_root
@pytest.mark.needs_program("skopeo", "umoci")
@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive", "itself"])
def test_umoci_unpacks_the_same_files_and_process(
    image: Image, tmp_path: Path, transport: str
) -> None:
    if transport == "itself":
        (tmp_path / "copy").mkdir()
        _run("tar", "-C", tmp_path / "copy", "-xf", image.path)
    else:
        _run("skopeo", "copy", f"{transport}:{image.path}", f"oci:{tmp_path}/copy:v1")
    _run("umoci", "unpack", "--image", f"{tmp_path}/copy:v1", tmp_path / "bundle")
    assert _unpacked(tmp_path / "bundle/rootfs") == _expected(image)
    process = json.loads((tmp_path / "bundle/config.json").read_text())["process"]
    assert process["args"] == ["sh", "-c", "echo $A"]
    assert (process["cwd"], process["user"]["uid"], process["user"]["gid"]) == ("/w", 5, 6)


# --- pyrun


@accepted
@pytest.mark.needs_root
def test_pyrun_unpacks_the_same_files(image: Image, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    ended = run_pyrun("bundle", "--rootfs=unpack", image.path, bundle, store=tmp_path / "store")
    assert ended.status == 0, ended.stderr
    assert _unpacked(bundle / "rootfs") == _expected(image)


# --- podman and buildah


class Engine:
    """podman or buildah with a storage of its own."""

    def __init__(self, program: str, place: Path) -> None:
        self._options = [
            program,
            *("--root", str(place / "root")),
            *("--runroot", str(place / "run")),
            *("--storage-driver", "vfs"),
        ]
        conf = place / "containers.conf"
        # The default limits are more than some machines grant.
        conf.write_text('[containers]\ndefault_ulimits=["nofile=1024:4096", "nproc=1024:2048"]\n')
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(place),
            "CONTAINERS_CONF": str(conf),
            "XDG_RUNTIME_DIR": str(place),
        }

    def __call__(self, *arguments: str) -> str:
        return _run(*self._options, *arguments, env=self._env)


@pytest.fixture
def place(image: Image) -> Iterator[Path]:
    """A place for an engine's storage: short, as sockets live in it."""
    path = image.path.parent.parent / "engine"
    path.mkdir()
    yield path
    shutil.rmtree(path)


def _check_engine(image: Image, table: Mapping[str, Any]) -> None:
    """What an engine says of the image's `config`."""
    for name in ("Env", "Entrypoint", "Cmd", "WorkingDir", "User", "ExposedPorts", "StopSignal"):
        assert table.get(name) == image.process[name]


@accepted
@pytest.mark.needs_root
@pytest.mark.needs_program("podman")
@pytest.mark.parametrize("view", ["both", "docker only"])
def test_podman_loads_the_same_files_and_configuration(
    image: Image, place: Path, view: str
) -> None:
    podman = Engine("podman", place)
    archive = image.path if view == "both" else _docker_view(image, place / "docker.tar")
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


@accepted
@pytest.mark.needs_root
@pytest.mark.needs_program("buildah")
def test_buildah_builds_on_the_image(image: Image, place: Path) -> None:
    buildah = Engine("buildah", place)
    container = buildah("from", "--pull-never", f"oci-archive:{image.path}").strip()
    table = json.loads(buildah("inspect", container))
    _check_engine(image, table["OCIv1"]["config"])
    mounted = buildah("mount", container).strip()
    found = _unpacked(Path(mounted))
    assert {name: found[name] for name in _expected(image)} == _expected(image)


# --- docker and containerd


@pytest.fixture(scope="module")
def docker(public_root: Path) -> Iterator[Docker]:
    """A dockerd of our own."""
    with new_room(public_root) as room:
        docker = Docker(room)
        with docker.running():
            yield docker


@accepted
@pytest.mark.needs_root
@pytest.mark.needs_program("dockerd", "docker")
def test_docker_loads_the_same_files_and_configuration(
    image: Image, docker: Docker, place: Path
) -> None:
    assert docker("load", "--input", image.path) == f"Loaded image: {NAME}\n"
    [table] = json.loads(docker("image", "inspect", NAME))
    assert table["Id"] == image.manifest["config"]["digest"]
    _check_engine(image, table["Config"])
    layers = table["GraphDriver"]["Data"]
    how = f"lowerdir={layers['UpperDir']}:{layers['LowerDir']}"
    mounted = place / "mounted"
    mounted.mkdir()
    _run("mount", "-t", "overlay", "-o", how, "none", mounted)
    try:
        assert _unpacked(mounted) == _expected(image)
    finally:
        _run("umount", mounted)


@pytest.fixture(scope="module")
def ctr(public_root: Path) -> Iterator[Containerd]:
    """A containerd of our own."""
    with new_room(public_root) as room:
        ctr = Containerd(room)
        with ctr.running():
            yield ctr


@accepted
@pytest.mark.needs_root
@pytest.mark.needs_program("containerd", "ctr")
def test_containerd_imports_the_same_files(image: Image, ctr: Containerd, place: Path) -> None:
    ctr("image", "import", "--snapshotter=native", image.path)
    assert NAME in ctr("image", "list", "--quiet").split()
    mounted = place / "mounted"
    mounted.mkdir()
    ctr("image", "mount", "--snapshotter=native", NAME, mounted)
    try:
        assert _unpacked(mounted) == _expected(image)
    finally:
        ctr("image", "unmount", mounted)


# --- theirs


def _by_skopeo(form: str, image: Image, place: Path) -> Path:
    path = place / "copied"
    _run("skopeo", "copy", f"oci-archive:{image.path}", f"{form}:{path}:v1")
    return path


def _by_umoci(image: Image, place: Path) -> Path:
    path = _by_skopeo("oci", image, place)
    _run("umoci", "unpack", "--image", f"{path}:v1", place / "bundle")
    (place / "bundle/rootfs/theirs").write_text("umoci's\n")
    _run("umoci", "repack", "--image", f"{path}:v1", place / "bundle")
    return path


def _by_buildah(form: str, image: Image, place: Path) -> Path:
    buildah = Engine("buildah", place)
    container = buildah("from", "--pull-never", f"oci-archive:{image.path}").strip()
    (Path(buildah("mount", container).strip()) / "theirs").write_text("buildah's\n")
    buildah("commit", "-q", container, f"{form}:{place}/made.tar:localhost/made:v3")
    return place / "made.tar"


def _by_podman(form: str, image: Image, place: Path) -> Path:
    podman = Engine("podman", place)
    podman("load", "--input", str(image.path))
    podman("save", "--format", form, "--output", str(place / "saved.tar"), NAME)
    return place / "saved.tar"


def _by_docker(docker: Docker, image: Image, place: Path) -> Path:
    docker("load", "--input", image.path)
    docker("save", "--output", place / "saved.tar", NAME)
    return place / "saved.tar"


def _by_ctr(ctr: Containerd, image: Image, place: Path) -> Path:
    ctr("image", "import", "--no-unpack", image.path)
    ctr("image", "export", place / "exported.tar", NAME)
    return place / "exported.tar"


slow, program = pytest.mark.slow, pytest.mark.needs_program


@foreign_image
@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("make", "first"),
    [
        pytest.param(_by_skopeo, "oci-archive", marks=program("skopeo")),
        pytest.param(_by_skopeo, "docker-archive", marks=program("skopeo")),
        pytest.param(_by_skopeo, "oci", marks=program("skopeo")),
        pytest.param(_by_umoci, "", marks=program("skopeo", "umoci")),
        pytest.param(_by_buildah, "oci-archive", marks=program("buildah")),
        pytest.param(_by_buildah, "docker-archive", marks=[program("buildah"), slow]),
        pytest.param(_by_podman, "oci-archive", marks=program("podman")),
        pytest.param(_by_podman, "docker-archive", marks=[program("podman"), slow]),
        pytest.param(_by_docker, "docker", marks=program("dockerd", "docker")),
        pytest.param(_by_ctr, "ctr", marks=program("containerd", "ctr")),
    ],
)
def test_what_others_make_runs(
    image: Image,
    place: Path,
    request: pytest.FixtureRequest,
    make: Callable[..., Path],
    first: str,
) -> None:
    fixture = [request.getfixturevalue(first)] if first in ("docker", "ctr") else []
    path = make(*(fixture or ([first] if first else [])), image, place)
    ended = run_pyrun(path, store=place / "store")
    assert (ended.status, ended.stdout, ended.stderr) == (0, "1\n", "")
    if make in (_by_umoci, _by_buildah):
        ended = run_pyrun(path, "-c", "cat /theirs", store=place / "store")
        assert ended.stdout == f"{make.__name__.removeprefix('_by_')}'s\n"


@pytest.mark.needs_root
@pytest.mark.needs_program("podman")
def test_what_podman_saves_is_a_base_of_ours(image: Image, place: Path) -> None:
    podman = Engine("podman", place)
    podman("load", "--input", str(image.path))
    me = Caller("root", 0, 0, "/root")
    for form in ("oci-archive", "docker-archive"):
        pybuild = make_pybuild(place / form, me)
        base = pybuild.context / "base.tar"
        podman("save", "--format", form, "--output", str(base), NAME)
        made = pybuild.build("FROM base.tar\nUSER 0\nRUN cat /d/x > /seen\n")
        assert made.read("seen") == b"1"
        assert made.process["WorkingDir"] == "/w"
