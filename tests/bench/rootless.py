"""cold-run without root: as a user with subordinate ids, whose first start unpacks the image.

It is that of `cold_run`; the user is the first that subuid(5) knows, as tests/run makes one.
Run it as tests/bench/run rootless.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench.cold_run import image
from tests.bench.harness import (
    Benchmark,
    BenchmarkError,
    Command,
    Goal,
    Options,
    measure,
)
from tests.bench.peers import Place, run

_STORAGE = "--storage-driver=overlay --cgroup-manager=cgroupfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class _User:
    """An account, and a directory of its own in the place of the benchmark."""

    uid: int
    gid: int
    home: str
    env: Mapping[str, str]

    def command(self, name: str, script: str, omits: str) -> Command:
        """What a shell of the user's does; `$new` is a directory that nobody has used."""
        words = f"new=$(mktemp -d {self.home}/anew-XXXXXX); {{ {script}; }} > /dev/null"
        return Command(name=name, argv=(*self.words(), words), omits=omits, env=self.env)

    def words(self) -> tuple[str, ...]:
        """What makes the next word a script of the user's."""
        return (
            *("setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups"),
            *("sh", "-c"),
        )

    def call(self, here: Place, script: str) -> str:
        """Run a set-up script."""
        settings = [f"{name}={value}" for name, value in self.env.items()]
        return here.call("env", "-C", self.home, *settings, *self.words(), script)


def main() -> int:
    """Set up, measure, print."""
    return run(__doc__, ("podman", "crun", "runc"), _measured, groups=True)


def _measured(options: Options, here: Place) -> list[Benchmark]:
    user = _user(here)
    archive = image(options, here)
    here.call(options.pyrun, archive)  # leaves what starts load: a user cannot write there
    os.chown(archive, user.uid, user.gid)  # who owns a file can have a lease of it
    try:
        return [_first(options, user, archive), _second(options, here, user, archive)]
    finally:
        _end_pause_processes(user.home)


def _first(options: Options, user: _User, archive: str) -> Benchmark:
    podman = f"podman {_STORAGE} --root=$new/root --runroot=$new/run"
    run = f"{podman} run --rm --network=none --runtime=runc"
    return measure(
        "cold-run without root: an archive that was never seen",
        [
            user.command(
                "pyrun image.tar",
                f"PYBUILD_ROOT=$new/store exec {options.pyrun} {archive}",
                "unpacks it, and compares digests",
            ),
            user.command(
                "podman load, run",
                f"image=$({podman} load -q -i {archive}) && {run} ${{image##* }}",
                "the same; overlay storage",
            ),
        ],
        options,
        goals=(Goal(peer="podman load, run", at_most=0.25),),
    )


def _second(options: Options, here: Place, user: _User, archive: str) -> Benchmark:
    podman = f"podman {_STORAGE} --root={user.home}/root --runroot={user.home}/run"
    user.call(here, f"PYBUILD_ROOT={user.home}/store {options.pyrun} {archive}")
    image = user.call(here, f"{podman} load -q -i {archive}").split()[-1]
    peers = [
        user.command(
            f"podman ({runtime})",
            f"exec {podman} run --rm --network=none --log-driver=none --runtime={runtime} {image}",
            "does what pyrun does, without no_new_privs, and keeps a record of the container",
        )
        for runtime in ("crun", "runc")
    ]
    for runtime, settings in (("crun", "--cgroup-manager=disabled"), ("runc", "")):
        bundle = _bundle(here, user, runtime)
        peers.append(
            user.command(
                runtime,
                f"exec {runtime} {settings} --root={user.home}/{runtime} run "
                f"--bundle={bundle} bench-$$",
                "no seccomp filter, no overlay and no image: the bundle is unpacked",
            )
        )
    return measure(
        "cold-run without root: the second start",
        [
            user.command(
                "pyrun image.tar",
                f"PYBUILD_ROOT={user.home}/store exec {options.pyrun} {archive}",
                "maps subordinate ids by newuidmap each time, as podman does only at first",
            ),
            *peers,
        ],
        options,
        goals=(
            Goal(peer="crun", at_most=1.1),
            Goal(peer="runc", at_most=0.5),
            Goal(peer="podman (crun)", at_most=1 / 15),
            Goal(peer="podman (runc)", at_most=1 / 15),
        ),
    )


def _user(here: Place) -> _User:
    """The first account that subuid(5) grants ids; tests/run makes one."""
    with open("/etc/subuid", encoding="utf-8") as file:
        names = [line.partition(":")[0] for line in file]
    found = [entry for entry in pwd.getpwall() if entry.pw_name in names and entry.pw_uid]
    if not found:
        raise BenchmarkError("no account has subordinate ids; tests/run makes one")
    os.chmod(here.path, 0o755)
    home = f"{here.path}/user"
    for path in (home, f"{home}/xdg"):
        os.mkdir(path, 0o700)
        os.chown(path, found[0].pw_uid, found[0].pw_gid)
    env = {
        "HOME": home,
        "XDG_RUNTIME_DIR": f"{home}/xdg",
        "CONTAINERS_CONF": here.env["CONTAINERS_CONF"],
    }
    return _User(uid=found[0].pw_uid, gid=found[0].pw_gid, home=home, env=env)


def _bundle(here: Place, user: _User, runtime: str) -> str:
    """The runtime's own idea of a rootless bundle, with our root, and as we run it."""
    bundle = f"{user.home}/{runtime}-bundle"
    shutil.copytree(here.rootfs, f"{bundle}/rootfs", symlinks=True)
    here.call("chown", "-R", f"{user.uid}:{user.gid}", bundle)
    user.call(here, f"cd {bundle} && {runtime} spec --rootless")
    with open(f"{bundle}/config.json", encoding="utf-8") as file:
        spec = json.load(file)
    spec["process"]["terminal"] = False
    spec["process"]["args"] = ["true"]
    spec["root"]["readonly"] = False
    with open(f"{bundle}/config.json", "w", encoding="utf-8") as file:
        json.dump(spec, file)
    return bundle


def _end_pause_processes(home: str) -> None:
    """End what keeps podman's user namespace between two commands."""
    for folder, _, files in os.walk(f"{home}/xdg"):
        if "pause.pid" in files:
            with open(f"{folder}/pause.pid", encoding="ascii") as file:
                os.kill(int(file.read()), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
