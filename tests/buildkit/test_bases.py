"""Base images that are not unpacked to build on them, where they can be mounted in place."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.buildkit.support import Pybuild
from tests.support import busybox_layer, directory, file, make_image, symlink

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Layer

LAYERS: list[Layer] = [
    busybox_layer(),
    [
        directory("d", mode=0o1777, uid=3, mtime=7),
        file("d/a", b"1", mode=0o4755, mtime=8),
        directory("old"),
        file("old/x", b"x"),
        symlink("way", "d"),
    ],
    [file("d/.wh.a"), file("d/b", b"2"), file("old/.wh..wh..opq"), file("old/y", b"y")],
]
STEPS = """\
RUN cat /d/b > /d/c && rm /d/b && echo 3 > /old/z && \\
  find /d /old /way -exec stat -c '%a %u %g %F %n' {} + | sort > /listing
COPY new /way/
COPY --from=other /d/b /taken
WORKDIR /d/deep/er
RUN --mount=type=bind,from=other,target=/seen cat /seen/old/y > /y
COPY --link new /linked/
ADD new /d/new2
"""


def _base(pybuild: Pybuild, compression: str = "") -> None:
    make_image(pybuild.context / "base.tar", LAYERS, compression=compression)
    pybuild.add({"new": "content"})


TEXT = f"FROM base.tar AS other\nFROM base.tar\n{STEPS}"


def test_every_way_to_have_a_base_leads_to_the_same_image(anybody: Pybuild) -> None:
    _base(anybody)
    image = anybody.build(TEXT)
    chroot = anybody.build(TEXT, "--no-cache", "--isolation", "chroot")
    assert image.layers == chroot.layers
    assert image.read("y") == b"y"
    assert image.read("taken") == b"2"


@pytest.mark.needs_root
def test_nothing_of_a_base_is_unpacked(as_root: Pybuild) -> None:
    _base(as_root)
    image = as_root.build(TEXT)
    assert len(list((as_root.store / "indexes").iterdir())) == 1
    # A directory is made by RUN, and by COPY only where something is done over it.
    assert len(list((as_root.store / "layers").iterdir())) < len(image.layers) - len(LAYERS) + 1
    assert not any((path / "fs/bin").exists() for path in (as_root.store / "layers").iterdir())
    assert os.listdir(as_root.store / "tmp") == []


@pytest.mark.needs_root
def test_a_base_that_is_unpacked_already_leads_to_the_same(as_root: Pybuild) -> None:
    _base(as_root)
    image = as_root.build(TEXT)
    shutil.rmtree(as_root.store)
    as_root.store.mkdir()
    # By the steps of an unpacked base: its directories are found.
    from tests.support import command, environment, run

    env = environment(PYBUILD_ROOT=str(as_root.store))
    base = as_root.context / "base.tar"
    assert run([*command("pyrun"), "--rootfs=unpack", base, "true"], env=env).status == 0
    assert as_root.build(TEXT).layers == image.layers
    assert list((as_root.store / "indexes").iterdir()) == []


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_base_leads_to_the_same_layers(pybuild: Pybuild, compression: str) -> None:
    _base(pybuild)
    plain = pybuild.build(TEXT)
    _base(pybuild, compression)
    squeezed = pybuild.build(TEXT, "--no-cache")
    count = len(LAYERS)
    assert squeezed.layers[count:] == plain.layers[count:]
    assert squeezed.config["rootfs"] == plain.config["rootfs"]


def test_a_layer_that_is_not_what_the_config_says_is_refused(
    pybuild: Pybuild, public: Path
) -> None:
    _base(pybuild)
    wrong = {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}
    make_image(pybuild.context / "base.tar", [LAYERS[0]], document=wrong)
    ended = pybuild.try_build("FROM base.tar\nRUN true\n")
    assert ended.status == 1
    assert "Containerfile:1:6" in ended.stderr or "Containerfile:1:1" in ended.stderr
    assert "diff_id is sha256:" in ended.stderr


@pytest.mark.needs_root
def test_nothing_stays_mounted_after_a_step_that_failed(as_root: Pybuild) -> None:
    _base(as_root)
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        before = mounts.read()
    ended = as_root.try_build("FROM base.tar\nRUN echo 1 > /x; exit 3\n")
    assert ended.status == 1
    assert "exited with status 3" in ended.stderr
    assert os.listdir(as_root.store / "tmp") == []
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        assert mounts.read() == before


def test_layers_of_a_base_are_loaded_in_a_step_of_their_own_once(
    pybuild: Pybuild, busybox: Path
) -> None:
    shutil.copy(busybox, pybuild.context / "base.tar")
    text = "FROM base.tar\nRUN true\n"
    said = pybuild.try_build(text).stderr
    assert said.startswith("#1 [internal] load layers of base.tar\n#1 DONE ")
    assert "#2 [stage-0 1/1] RUN true\n" in said
    assert pybuild.try_build(text).stderr.startswith("#1 [stage-0 1/1] RUN true\n#1 CACHED\n")
    assert "load layers" not in pybuild.try_build(f"{text}ENV A=1\n").stderr


def test_a_base_that_was_damaged_in_the_store_comes_from_its_archive_again(
    pybuild: Pybuild,
) -> None:
    _base(pybuild)
    pybuild.build("FROM base.tar\nRUN true\n")
    blobs = [path for path in (pybuild.store / "blobs/sha256").iterdir()]
    [damaged] = [path for path in blobs if b"busybox" in path.read_bytes()[:2000]]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    ended = pybuild.try_build("FROM base.tar\nRUN echo > /f\n")
    assert ended.status == 0, ended.stderr
    assert "load layers of base.tar" in ended.stderr
    assert pybuild.run("verify-store").status == 0
