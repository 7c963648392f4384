"""Class B: what stands in a bundle's root where the runtime mounts, makes or masks something.

The same for images is in tests/runtime/test_hostile_images.py. What is outside of the root must be
afterwards what it was.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runtime.sandbox.defaults import MASKED_PATHS
from tests.buildkit.support import SHELL, make_pybuild
from tests.runtime.security.support import Oci, configuration
from tests.support import Caller, make_tree, tree_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tests.runtime.security.support import Config

pytestmark = pytest.mark.needs_root
ROUTES = ["{outside}", "../../../../../..{outside}"]


@pytest.fixture
def outside(public: Path) -> Path:
    """A tree outside of every root, which everybody may write to."""
    tree = make_tree(public / "outside", {"null": "x", "file": "x", "pts/": None, "shm/": None})
    for path in (tree, *tree.iterdir()):
        path.chmod(0o777)
    return tree


def _without(config: Config, *destinations: str) -> Config:
    config["mounts"] = [m for m in config["mounts"] if m["destination"] not in destinations]
    return config


def _on_the_roots_dev(*args: str, **process: Any) -> Config:
    """A configuration without a tmpfs on /dev: the devices are in the root's own directory."""
    return _without(configuration(*args, **process), "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")


@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
@pytest.mark.parametrize("route", [*ROUTES, "tmp", "."])
def test_cve_2019_19921_a_mount_point_that_is_a_symlink_is_refused(
    place: str, route: str, outside: Path, oci: Oci
) -> None:
    before = tree_state(outside)
    link = Path(route.format(outside=outside))
    result = oci.run(oci.bundle(configuration("true"), {place: link}))
    assert result.status == 125
    assert f"mount /{place}: the image has a symbolic link there" in result.stderr
    assert tree_state(outside) == before


@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
def test_cve_2023_27561_a_mount_point_that_is_a_file_is_refused(place: str, oci: Oci) -> None:
    result = oci.run(oci.bundle(configuration("true"), {place: "x"}))
    assert result.status == 125
    assert f"mount /{place}: " in result.stderr


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        *(
            ("bind", f"/{place}")
            for place in ("proc", "proc/self", "proc/sys", "proc/keys", "link")
        ),
        *(("tmpfs", f"/{place}") for place in ("proc", "proc/self", "proc/sys", "link")),
    ],
)
def test_cve_2019_16884_nothing_covers_proc(
    kind: str, place: str, outside: Path, oci: Oci
) -> None:
    source = outside / "file" if place == "/proc/keys" else outside
    config = configuration("true")
    options = ["bind"] if kind == "bind" else []
    config["mounts"].append(
        {"destination": place, "type": kind, "source": str(source), "options": options}
    )
    result = oci.run(oci.bundle(config, {"link": Path("/proc/sys")}))
    assert result.status == 125
    assert f"mount {place}: nothing may cover /proc" in result.stderr


def _node(kind: int, major: int, minor: int) -> object:
    def make(path: Path) -> None:
        os.mknod(path, kind | 0o666, os.makedev(major, minor))

    return make


FALSE_DEVICES = {
    "a symlink": lambda path: path.symlink_to("/etc/passwd"),
    "a link outside": lambda path: path.symlink_to("../../outside/null"),
    "a file": lambda path: path.write_text("x"),
    "a directory": lambda path: path.mkdir(),
    "a FIFO": lambda path: os.mkfifo(path),
    "/dev/zero": _node(stat.S_IFCHR, 1, 5),
    "a block device of that number": _node(stat.S_IFBLK, 1, 3),
}


@pytest.mark.parametrize("name", ["null", "zero", "tty"])
@pytest.mark.parametrize("make", FALSE_DEVICES.values(), ids=FALSE_DEVICES)
def test_cve_2025_31133_a_device_that_is_another_file_is_refused(
    make: object, name: str, outside: Path, oci: Oci
) -> None:
    before = tree_state(outside)
    bundle = oci.bundle(_on_the_roots_dev("true"))
    if name == "zero" and make is FALSE_DEVICES["/dev/zero"]:
        make = _node(stat.S_IFCHR, 1, 3)
    make(bundle / "rootfs/dev" / name)  # type: ignore[operator]
    result = oci.run(bundle)
    assert result.status == 125
    assert f"device /dev/{name}: the image has something else there" in result.stderr
    assert tree_state(outside) == before


@pytest.mark.parametrize("own_dev", [True, False])
def test_cve_2025_31133_every_masked_path_reads_empty(own_dev: bool, oci: Oci) -> None:
    script = "for path; do [ -e $path ] || continue; echo $path; "
    script += "if [ -d $path ]; then ls -A $path; else cat $path; fi; done"
    argv = ("sh", "-c", script, "sh", *MASKED_PATHS)
    config = configuration(*argv) if own_dev else _on_the_roots_dev(*argv)
    result = oci.run(oci.bundle(config))
    printed = result.stdout.splitlines()
    assert {"/proc/keys", "/sys/firmware"} <= set(printed)
    assert set(printed) <= set(MASKED_PATHS)
    assert (result.status, result.stderr) == (0, "")


@pytest.mark.parametrize("route", [*ROUTES, "/etc/passwd"])
def test_cve_2025_52565_a_console_that_is_a_symlink_is_refused(
    route: str, outside: Path, oci: Oci
) -> None:
    before = tree_state(outside)
    config = configuration("true", terminal=True)
    config = _without(config, "/dev", "/dev/shm", "/dev/mqueue")
    link = Path(route.format(outside=outside / "file"))
    bundle = oci.bundle(config, {"dev/console": link, "dev/": None})
    result = oci.run(bundle)
    assert result.status == 125
    assert "mount /dev/console: the image has a symbolic link there" in result.stderr
    assert tree_state(outside) == before


def test_cve_2025_52565_the_terminal_is_of_the_containers_own_devpts(oci: Oci) -> None:
    script = "stat -c %t:%T /dev/console; stat -L -c %t:%T /proc/self/fd/0; ls /dev/pts"
    result = oci.run(oci.bundle(configuration("sh", "-c", script, terminal=True)))
    console, own, *names = result.stdout.split()
    assert console == own == "88:0"
    assert set(names) == {"0", "ptmx"}


@pytest.mark.parametrize("route", [*ROUTES, "../..", "/"])
def test_cve_2026_41579_devices_are_not_made_through_a_dev_that_is_a_symlink(
    route: str, outside: Path, oci: Oci
) -> None:
    before, host = tree_state(outside), set(os.listdir("/"))
    bundle = oci.bundle(_on_the_roots_dev("true"))
    (bundle / "rootfs/dev").rmdir()
    (bundle / "rootfs/dev").symlink_to(route.format(outside=outside))
    result = oci.run(bundle)
    assert result.status in (0, 125)
    assert tree_state(outside) == before
    assert set(os.listdir("/")) == host
    assert set(os.listdir(bundle)) == {"config.json", "rootfs"}


@pytest.mark.parametrize("route", [*ROUTES, "../..", "/"])
def test_cve_2026_55686_a_working_directory_through_a_symlink_is_made_inside(
    route: str, outside: Path, oci: Oci
) -> None:
    before, host = tree_state(outside), set(os.listdir("/"))
    tree = {"out": Path(route.format(outside=outside)), f"{outside}/".lstrip("/"): None}
    bundle = oci.bundle(configuration("true", cwd="/out/made/here"), tree)
    assert oci.run(bundle).status == 0
    assert tree_state(outside) == before
    assert set(os.listdir("/")) == host
    assert set(os.listdir(bundle)) == {"config.json", "rootfs"}


def test_cve_2025_52881_sysctls_are_not_written_to_what_the_root_has_for_proc(
    outside: Path, oci: Oci
) -> None:
    before = tree_state(outside)
    config = _without(configuration("cat", "/p/sys/net/ipv4/ip_default_ttl"), "/proc")
    config["mounts"].append({"destination": "/p", "type": "proc", "source": "proc"})
    config["linux"] |= {"sysctl": {"net.ipv4.ip_default_ttl": "77"}}
    del config["linux"]["maskedPaths"], config["linux"]["readonlyPaths"]
    link = {"proc/sys/net/ipv4/ip_default_ttl": outside / "file", "proc/": None}
    result = oci.run(oci.bundle(config, link))
    assert (result.status, result.stdout) == (0, "77\n"), result.stderr
    assert tree_state(outside) == before


@pytest.mark.parametrize("route", [*ROUTES, "../..", "/"])
def test_cve_2026_55686_workdir_of_a_build_through_a_symlink_is_made_inside(
    route: str, public: Path, outside: Path
) -> None:
    before, host = tree_state(outside), set(os.listdir("/"))
    pybuild = make_pybuild(public / "build", Caller("root", 0, 0, "/root"))
    link = route.format(outside=outside)
    text = f"{SHELL}RUN mkdir -p {outside} && ln -s {link} /out\nWORKDIR /out/made/here\n"
    assert pybuild.try_build(f"{text}RUN touch file\n").status in (0, 1)
    assert tree_state(outside) == before
    assert set(os.listdir("/")) == host


@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
def test_cve_2019_19921_a_mount_point_of_run_that_is_a_symlink_is_refused(
    place: str, public: Path, outside: Path
) -> None:
    before = tree_state(outside)
    pybuild = make_pybuild(public / "build", Caller("root", 0, 0, "/root"))
    pybuild.add({f"tree/{place}": outside})
    result = pybuild.try_build(f'{SHELL}COPY tree /\nRUN ["/bin/busybox", "true"]\n')
    assert result.status not in (0, 125)
    assert f"mount /{place}: the image has a symbolic link there" in result.stderr
    assert tree_state(outside) == before
