"""Class B: places that change between a check and a use (CVE-2021-30465, CVE-2024-45310).

Somebody who shares a root or a volume with the container exchanges names without a pause while
containers start. Whether a start works is not what counts: nothing may land outside.
"""

from __future__ import annotations

import os
import random
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.sandbox.defaults import MASKED_PATHS
from runtime.sandbox.rootpath import open_in_root
from tests.runtime.security.support import Oci, configuration
from tests.support import Caller, make_tree, run_pyrun, tree_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.runtime.security.conftest import Build
    from tests.runtime.security.support import Config

pytestmark = pytest.mark.needs_root
TIMES = [pytest.param(30, id="30"), pytest.param(2000, id="2000", marks=pytest.mark.slow)]
BIND = {"type": "bind", "options": ["bind"]}


@pytest.fixture
def outside(public: Path) -> Iterator[Path]:
    """A tree that must not change, nor may the host's mounts or its root directory."""
    tree = make_tree(public / "outside", {"file": "x", "null": "x", "inner/": None})
    before = (tree_state(tree), set(os.listdir("/")), _mounts(public))
    yield tree
    assert (tree_state(tree), set(os.listdir("/")), _mounts(public)) == before


def _mounts(public: Path) -> set[str]:
    # Others mount on this machine meanwhile: at the root, or what has our name, would be ours.
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line for line in lines if str(public) in line or line.split()[4] == "/"}


@contextmanager
def _swapping(program: Path, *names: Path) -> Iterator[None]:
    process = subprocess.Popen([program, *names])
    try:
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def _routes(outside: Path) -> list[str]:
    return [f"../../../../../..{outside}", str(outside), "/", "../../.."]


def _check(status: int, stderr: str) -> None:
    assert status in (0, 125, 126, 127), stderr
    assert "internal error" not in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize("times", TIMES)
def test_cve_2021_30465_a_mount_point_that_is_swapped_leads_nowhere_outside(
    times: int, outside: Path, build: Build, oci: Oci
) -> None:
    config = configuration("true")
    config["mounts"] += [
        {"destination": "/data/inner", "source": str(outside), **BIND, "options": ["bind", "ro"]},
        {"destination": "/data/new", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/data", "type": "tmpfs", "source": "tmpfs"},
    ]
    bundle = oci.bundle(config, {"data/": None})
    data, link = bundle / "rootfs/data", bundle / "rootfs/link"
    worked = 0
    for number, route in enumerate(_routes(outside)):
        link.unlink() if number else None
        link.symlink_to(route)
        with _swapping(build("swapper"), data, link):
            for _ in range(times // 4):
                result = oci.run(bundle)
                _check(result.status, result.stderr)
                worked += result.status == 0
        if data.is_symlink():
            data.unlink()
            link.rename(data)
            link.symlink_to(route)
    assert worked


@pytest.mark.parametrize("times", TIMES)
def test_cve_2024_45310_directories_are_not_made_through_a_link_that_is_swapped_in(
    times: int, public: Path, outside: Path, build: Build, oci: Oci
) -> None:
    shared = make_tree(public / "shared", {"a/": None, "link": Path(f"../../../../..{outside}")})
    config = configuration("true")
    config["mounts"] += [
        {"destination": "/vol", "source": str(shared), **BIND},
        {"destination": "/vol/a/b/c", "source": str(outside / "inner"), **BIND},
        {"destination": "/vol/a/b/file", "source": str(outside / "file"), **BIND},
    ]
    bundle = oci.bundle(config)
    with _swapping(build("swapper"), shared / "a", shared / "link"):
        for _ in range(times):
            result = oci.run(bundle)
            _check(result.status, result.stderr)
            subprocess.run(["rm", "-rf", shared / "a/b", shared / "link/b"], check=False)
    assert {path.name for path in shared.iterdir()} == {"a", "link"}


@pytest.mark.parametrize("times", TIMES)
def test_cve_2024_45310_nor_in_the_volume_of_an_image(
    times: int, public: Path, outside: Path, busybox: Path, build: Build, warm_store: Path,
    caller: Caller,
) -> None:  # fmt: skip
    shared = make_tree(public / "shared", {"a/": None, "link": Path(f"../../../../..{outside}")})
    for path in (shared, shared / "a"):
        os.chown(path, caller.uid, caller.gid)
    volumes = ("-v", f"{shared}:/vol", "-v", f"{outside / 'inner'}:/vol/a/b/c")
    with _swapping(build("swapper"), shared / "a", shared / "link"):
        for _ in range(times // 3):
            result = run_pyrun(*volumes, busybox, "true", store=warm_store, caller=caller)
            _check(result.status, result.stderr)
            subprocess.run(["rm", "-rf", shared / "a/b", shared / "link/b"], check=False)


@pytest.mark.parametrize("times", TIMES)
def test_cve_2025_31133_a_null_device_that_is_swapped_masks_or_the_start_is_refused(
    times: int, outside: Path, build: Build, oci: Oci
) -> None:
    script = "for path; do [ ! -f $path ] || cat $path; done"
    config = configuration("sh", "-c", script, "sh", *MASKED_PATHS)
    config["mounts"] = [m for m in config["mounts"] if not m["destination"].startswith("/dev")]
    bundle = oci.bundle(config, {"dev/link": outside / "null"})
    os.mknod(bundle / "rootfs/dev/null", 0o020666, os.makedev(1, 3))
    worked = tries = 0
    with _swapping(build("swapper"), bundle / "rootfs/dev/null", bundle / "rootfs/dev/link"):
        # A start that works has met the device at every look: the faster the swap, the fewer.
        while tries < times or (not worked and tries < 600):
            result = oci.run(bundle)
            _check(result.status, result.stderr)
            assert result.stdout == ""
            worked += result.status == 0
            tries += 1
    assert worked > 0


@pytest.mark.parametrize("times", TIMES)
def test_cve_2024_9341_a_mount_that_is_added_to_a_swapped_place_stays_inside(
    times: int, public: Path, outside: Path, build: Build, oci: Oci
) -> None:
    bundle = oci.bundle(
        configuration("sleep", "1000"), {"a/": None, "link": Path(f"../../../../..{outside}")}
    )
    array = public / "mounts.json"
    array.write_text(f'[{{"destination": "/a/b/c", "type": "bind", "source": "{outside}",'
                     ' "options": ["bind", "ro"]}]')  # fmt: skip
    root = bundle / "rootfs"
    with oci.running(bundle) as identity, _swapping(build("swapper"), root / "a", root / "link"):
        for _ in range(times):
            result = oci("mounts", "add", identity, array)
            _check(result.status, result.stderr)
            result = oci("mounts", "remove", identity, array)
            _check(result.status, result.stderr)


def _shuffled(rng: random.Random, root: Path, outside: Path) -> None:
    """One step of somebody who puts anything in the place of anything."""
    names = [*"abcdef", "dev", "proc", "sys", "etc", "etc/passwd", "dev/null", "a/b", "tmp"]
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    parents = [root_fd]
    try:
        places = []
        for name in (rng.choice(names), rng.choice(names)):
            folder, _, base = name.rpartition("/")
            # Never through the links that were made here.
            parents.append(open_in_root(root_fd, folder or ".", follow=False))
            places.append((base, parents[-1]))
        (name, fd), (other, other_fd) = places
        match rng.randrange(5):
            case 0:
                to = rng.choice([*_routes(outside), "a", ".", "..", "/proc/self"])
                os.symlink(to, name, dir_fd=fd)
            case 1:
                os.mkdir(name, dir_fd=fd)
            case 2:
                os.unlink(name, dir_fd=fd)
            case 3:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, dir_fd=fd))
            case _:
                os.rename(name, other, src_dir_fd=fd, dst_dir_fd=other_fd)
    except OSError:
        pass  # what cannot be done does not count
    finally:
        for fd in parents:
            os.close(fd)


def _fuzzed() -> Config:
    config = configuration("sh", "-c", "true", cwd="/a/work")
    config["mounts"] += [
        {"destination": "/a/b", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/a/b/c", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
        {"destination": "/d/e", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
    ]
    return config


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("seed", [1])
def test_a_root_that_is_shuffled_while_containers_start_keeps_everything_inside(
    seed: int, times: int, outside: Path, oci: Oci
) -> None:
    rng = random.Random(seed)
    bundle = oci.bundle(_fuzzed(), {"a/": None, "c/": None})
    root, statuses = bundle / "rootfs", set()
    for number in range(times):
        identity = oci.name()
        with open(oci.directory / "said", "w+b") as said:
            started = oci.popen("run", "-d", "-b", bundle, identity, stdout=said, stderr=said)
            while started.poll() is None:
                _shuffled(rng, root, outside)
            said.seek(0)
            _check(started.returncode, said.read().decode(errors="replace"))
        statuses.add(started.returncode)
        assert oci("delete", "--force", identity).status == 0
        if number % 5 == 4:
            subprocess.run(["rm", "-rf", root], check=True)
            bundle = oci.bundle(_fuzzed(), {"a/": None, "c/": None})
            root = bundle / "rootfs"
    assert len(statuses) > 1, "neither what works nor what is refused was met"
    assert os.listdir(oci.root) == []
