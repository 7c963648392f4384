"""What both benchmarks set up: a root of busybox, other people's engines, a place for all of it.

Everything lies in one temporary directory, and every mount in the mount namespace that
tests/bench/run makes; the little that must be outside (control groups) is taken away again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.harness import (
    Benchmark,
    BenchmarkError,
    Command,
    Options,
    environment,
    last_words,
    machine,
    parse_options,
    publish,
    version_of,
)

CGROUPS = "/sys/fs/cgroup"
CGROUP_PARENT = "pybuild-bench"
# Enough where this process may not raise its hard limits, which podman's defaults do.
_CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:2048"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A temporary directory with what the competitors need in it."""

    path: str

    @property
    def rootfs(self) -> str:
        """A root file system: busybox, and a link to it for each of its programs."""
        return f"{self.path}/rootfs"

    @property
    def env(self) -> dict[str, str]:
        """Environment of our commands and of the engines."""
        return {
            "PYBUILD_ROOT": f"{self.path}/store",
            "CONTAINERS_CONF": f"{self.path}/containers.conf",
        }

    def engine(self, name: str, *options: str) -> tuple[str, ...]:
        """`podman` or `buildah` with its storage here."""
        storage = [f"--root={self.path}/{name}", f"--runroot={self.path}/{name}-run"]
        if name == "podman":
            # Its default, systemd, isn't there in a container or under another init.
            storage += [f"--tmpdir={self.path}/libpod", "--cgroup-manager=cgroupfs"]
        return (name, *storage, *options)

    def call(self, *argv: str) -> str:
        """Run a set-up command and return what it prints; raises BenchmarkError with its words."""
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, env=environment(self.env), check=False
            )
        except OSError as error:
            raise BenchmarkError(f"{argv[0]}: {error.strerror}") from error
        if done.returncode != 0:
            said = last_words(done.stderr)
            raise BenchmarkError(f"{' '.join(argv[:2])}: ended with {done.returncode}: {said}")
        return done.stdout.strip()

    def write(self, name: str, text: str) -> str:
        """Make a file, with the directories above it, and return its path."""
        path = f"{self.path}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def forget(self) -> None:
        """Remove what commands had to themselves: stores, and directories of `anew`.

        Deleting many files would slow down who makes many next (see cold_build.builds). What is
        still in use goes in the end, with the place.
        """
        for entry in os.scandir(self.path):
            if entry.name.startswith(("anew-", "store-")):
                _unmount_below(entry.path)
                shutil.rmtree(entry.path, ignore_errors=True)


def anew(here: Place, name: str, script: str, omits: str) -> Command:
    """A command line of a shell's in which `$new` is a directory that nobody has used."""
    new = f"new=$(mktemp -d {here.path}/anew-XXXXXX)"
    words = f"{new}; {{ {script}; }} > /dev/null"
    return Command(name=name, argv=("sh", "-c", words), omits=omits, env=here.env)


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """Make the place, and leave nothing behind."""
    path = tempfile.mkdtemp(prefix="pybuild-bench-")
    try:
        made = Place(path=path)
        made.write("containers.conf", _CONTAINERS_CONF)
        _make_root(made.rootfs)
        yield made
    finally:
        _unmount_below(path)
        shutil.rmtree(path)


def _make_root(path: str) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise BenchmarkError("needs a static busybox (Debian: busybox-static)")
    os.makedirs(f"{path}/bin")
    os.mkdir(f"{path}/etc")  # buildah's chroot isolation wants to bind files there
    shutil.copyfile(os.path.realpath(busybox), f"{path}/bin/busybox")
    os.chmod(f"{path}/bin/busybox", 0o755)
    try:
        subprocess.run(["chroot", path, "/bin/busybox", "true"], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        raise BenchmarkError(f"{busybox} isn't static (Debian: busybox-static)") from error
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    for program in listed.stdout.split():
        if program != "busybox":
            os.symlink("busybox", f"{path}/bin/{program}")


def _unmount_below(path: str) -> None:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split(" ")[4] for line in file]
    for point in reversed(points):
        if point.startswith(f"{path}/"):
            subprocess.run(["umount", "--lazy", point], check=False)


def our_image(options: Options, here: Place) -> str:
    """The root as an image archive, made by pybuild, that `base` names in the store as well."""
    containerfile = here.write("base.Containerfile", "FROM scratch\nCOPY rootfs/ /\n")
    archive = f"{here.path}/base.tar"
    here.call(
        options.pybuild, "-q", "-f", containerfile, "-o", archive, "-t", "base", here.path
    )  # fmt: skip
    return archive


def import_root(here: Place, engine: str) -> None:
    """The root as the image localhost/base in podman's, buildah's or docker's storage.

    Raises BenchmarkError for one that cannot have it.
    """
    if engine == "docker" and (reason := docker_answers()):
        raise BenchmarkError(reason)
    command = ("docker",) if engine == "docker" else here.engine(engine)
    if engine in ("podman", "docker"):
        archive = f"{here.path}/rootfs.tar"
        here.call("tar", "--create", f"--file={archive}", f"--directory={here.rootfs}", ".")
        here.call(*command, "import", archive, "localhost/base")
        return
    container = here.call(*command, "from", "scratch")
    here.call(*command, "add", container, here.rootfs, "/")
    here.call(*command, "commit", "--quiet", container, "localhost/base")
    here.call(*command, "rm", container)


def docker_answers() -> str | None:
    """None if a docker daemon can be used, else why not."""
    if version_of("docker", "--version") == "missing":
        return "docker: not installed"
    if version_of("docker", "version", "--format", "{{.Server.Version}}") == "missing":
        return "docker: no daemon answers"
    return None


def versions(options: Options, *programs: str) -> Mapping[str, str]:
    """Versions of ours and of the peers."""
    ours = {
        "python": version_of(f"{options.venv}/bin/python", "--version"),
        "pybuild": version_of(options.pybuild, "--version"),
    }
    return ours | {name: version_of(name, "--version") for name in programs}


def run(
    description: str | None,
    programs: Sequence[str],
    measured: Callable[[Options, Place], Sequence[Benchmark]],
    *,
    groups: bool = False,
) -> int:
    """A benchmark from its command line to its report; returns the exit status.

    `programs` are the peers whose versions are told, `groups` asks for control groups as crun
    wants them.
    """
    options = parse_options(description or "")
    before = machine()
    try:
        with place() as here, cgroups() if groups else contextlib.nullcontext():
            benchmarks = measured(options, here)
    except BenchmarkError as error:
        name = os.path.basename(sys.argv[0]).removesuffix(".py")
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    publish(options, before, versions(options, *programs), benchmarks)
    return 0


def set_up_engines(here: Place) -> dict[str, str]:
    """Give each peer the base image; returns for those that cannot have it the reason."""
    missing = {}
    for engine in ("buildah", "podman", "docker"):
        try:
            import_root(here, engine)
        except BenchmarkError as error:
            missing[engine] = str(error)
    return missing


def reasons(missing: Mapping[str, str]) -> list[str]:
    """Why peers are missing, as a report says it."""
    return [f"{name}: {reason}" for name, reason in missing.items()]


@contextlib.contextmanager
def cgroups() -> Iterator[None]:
    """Control groups as crun and podman want them; what they leave behind is removed.

    In the hybrid layout crun refuses to work as long as version 2 has a controller. Each that it
    has becomes a hierarchy of version 1, which is gone when it is empty and unmounted.
    """
    mounted = []
    try:
        for controller in _controllers_left_to_v2():
            point = f"{CGROUPS}/{controller}"
            if not os.path.exists(point):
                os.mkdir(point)
                mount = ["mount", "-t", "cgroup", "-o", controller, "cgroup", point]
                if subprocess.run(mount, check=False).returncode == 0:
                    mounted.append(point)
                else:
                    os.rmdir(point)
        yield
    finally:
        for hierarchy in (CGROUPS, *_hierarchies()):
            _remove_groups(f"{hierarchy}/{CGROUP_PARENT}")
        for point in mounted:
            _wait_until_empty(os.path.basename(point))
            subprocess.run(["umount", point], check=False)
            with contextlib.suppress(OSError):
                os.rmdir(point)


def _wait_until_empty(controller: str) -> None:
    """Wait for the groups that are going away: with one left the hierarchy outlives its mount."""
    for _ in range(100):
        with open("/proc/cgroups", encoding="ascii") as file:
            rows = [line.split() for line in file]
        if all(row[2] == "1" for row in rows if row[0] == controller):
            break
        time.sleep(0.1)


def _controllers_left_to_v2() -> list[str]:
    try:
        with open(f"{CGROUPS}/unified/cgroup.controllers", encoding="ascii") as file:
            return file.read().split()
    except OSError:  # not the hybrid layout
        return []


def _hierarchies() -> list[str]:
    return [entry.path for entry in os.scandir(CGROUPS) if entry.is_dir(follow_symlinks=False)]


def _remove_groups(path: str) -> None:
    for directory, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
