"""warm-run: the second run of an image whose command is `true`, from the shell's point of view.

Run it as tests/bench/run warm_run.
"""

from __future__ import annotations

import json
import os
import sys

from tests.bench.harness import (
    BenchmarkError,
    Command,
    Goal,
    Options,
    machine,
    measure,
    parse_options,
    publish,
)
from tests.bench.peers import (
    CGROUP_PARENT,
    Place,
    bundle_of_ours,
    cgroups,
    docker_answers,
    import_root,
    our_image,
    place,
    versions,
)

GOALS = (
    Goal(peer="crun", at_most=1.1),
    Goal(peer="runc", at_most=0.5),
    Goal(peer="podman (crun)", at_most=1 / 15),
    Goal(peer="podman (runc)", at_most=1 / 15),
    Goal(peer="docker", at_most=1 / 15),
    Goal(peer="crun, our bundle", at_most=1.1),
    Goal(peer="runc, our bundle", at_most=0.5),
)


def main() -> int:
    """Set up, measure, print."""
    options = parse_options(__doc__)
    before = machine()
    programs = ("crun", "runc", "podman", "buildah", "bwrap", "docker")
    try:
        with place(options) as here, cgroups():
            ours = _ours(options, here)
            peers, missing = _peers(here)
            benchmark = measure(
                "warm-run: second run of an image, `true` exits",
                [*ours, *peers, *options.interpreters()],
                options,
                goals=GOALS,
                missing=missing,
            )
    except BenchmarkError as error:
        sys.stderr.write(f"warm_run: {error}\n")
        return 1
    publish(options, before, versions(options, *programs), [benchmark])
    return 0


def _ours(options: Options, here: Place) -> list[Command]:
    archive = our_image(options, here)
    return [
        Command(
            name="pyrun image.tar",
            argv=(options.pyrun, archive, "true"),
            omits="nothing of what podman does but its record of the container and its monitor: "
            "seccomp filter, control group for processes (no other), overlay with a tmpfs above, "
            "all namespaces, capabilities, no_new_privs, masked paths, session keyring",
            env=here.env,
        ),
        Command(
            name="pyrun NAME",
            argv=(options.pyrun, "base", "true"),
            omits="the same, with the image found by its name in the store",
            env=here.env,
        ),
    ]


def _peers(here: Place) -> tuple[list[Command], list[str]]:
    found: list[Command] = []
    missing: list[str] = []
    for set_up in (_crun, _runc, _our_bundle, _bwrap, _podman, _docker):
        try:
            found += set_up(here)
        except BenchmarkError as error:
            missing.append(str(error))
    return found, missing


def _crun(here: Place) -> list[Command]:
    bare = _bundle(here, "crun", cgroup_mount=False)
    full = _bundle(here, "crun", cgroup_mount=True)
    return [
        Command(
            name="crun",
            argv=("crun", "run", f"--bundle={full}", "bench-crun"),
            omits="no seccomp filter (`crun spec` has none), no overlay and no image: the bundle "
            "is unpacked and writable; makes a control group in every hierarchy",
        ),
        Command(
            name="crun, no cgroup",
            argv=("crun", "--cgroup-manager=disabled", "run", f"--bundle={bare}", "bench-bare"),
            omits="as crun, without control groups",
        ),
    ]


def _runc(here: Place) -> list[Command]:
    bundle = _bundle(here, "runc", cgroup_mount=True)
    return [
        Command(
            name="runc",
            argv=("runc", "run", f"--bundle={bundle}", "bench-runc"),
            omits="as crun",
        )
    ]


def _our_bundle(here: Place) -> list[Command]:
    """The others with what `pyrun bundle` writes, so with our filter, paths and capabilities."""
    bundle = bundle_of_ours(here, "true")
    return [
        Command(
            name=f"{runtime}, our bundle",
            argv=(runtime, "run", f"--bundle={bundle}", f"bench-{runtime}-ours"),
            omits="no overlay and no image: the bundle is unpacked and writable; compiles the "
            "filter at each start; makes a control group in every hierarchy",
        )
        for runtime in ("crun", "runc")
    ]


def _bundle(here: Place, runtime: str, *, cgroup_mount: bool) -> str:
    """The runtime's own idea of a bundle, with our root, no terminal, and our namespaces."""
    bundle = f"{here.path}/{runtime}-{'cgroup' if cgroup_mount else 'bare'}"
    os.mkdir(bundle)
    os.mkdir(f"{bundle}/rootfs")
    here.call("cp", "--archive", f"{here.rootfs}/.", f"{bundle}/rootfs")
    here.call("sh", "-c", f'cd "$1" && {runtime} spec', "sh", bundle)
    path = f"{bundle}/config.json"
    with open(path, encoding="utf-8") as file:
        spec = json.load(file)
    spec["process"]["terminal"] = False
    spec["process"]["args"] = ["true"]
    spec["root"]["readonly"] = False
    kinds = ("pid", "mount", "uts", "ipc", "network", "cgroup")
    spec["linux"]["namespaces"] = [{"type": kind} for kind in kinds]
    if not cgroup_mount:
        spec["mounts"] = [m for m in spec["mounts"] if m["type"] not in ("cgroup", "cgroup2")]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(spec, file)
    return bundle


def _bwrap(here: Place) -> list[Command]:
    root = ("--bind", here.rootfs, "/", "--proc", "/proc", "--dev", "/dev")
    return [
        Command(
            name="bwrap",
            argv=("bwrap", "--unshare-all", *root, "true"),
            omits="no seccomp filter, control group, /sys, masked paths, overlay or image; drops "
            "no capabilities, but works in a user namespace",
        )
    ]


def _podman(here: Place) -> list[Command]:
    import_root(here, "podman")
    return [
        Command(
            name=f"podman ({runtime})",
            argv=(
                *here.engine("podman", f"--runtime={runtime}"),
                *("run", "--rm", "--network=none", "--log-driver=none"),
                *(f"--cgroup-parent=/{CGROUP_PARENT}", "localhost/base", "true"),
            ),
            omits="does what pyrun does, without no_new_privs (nor a cgroup namespace, with "
            "version 1), and seccomp, control groups, a record of the container and a monitor, "
            "whose CPU time is not counted",
            env=here.env,
            settle_s=0.3,  # its clean-up process runs on
        )
        for runtime in ("crun", "runc")
    ]


def _docker(here: Place) -> list[Command]:
    reason = docker_answers()
    if reason:
        raise BenchmarkError(reason)
    here.call("docker", "import", f"{here.path}/rootfs.tar", "pybuild-bench/base")
    return [
        Command(
            name="docker",
            argv=("docker", "run", "--rm", "--network=none", "pybuild-bench/base", "true"),
            omits="as podman; CPU time is the client's only, the daemon's is not counted",
            settle_s=0.3,
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
