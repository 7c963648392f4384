"""warm-run: the second run of an image whose command is `true`, from the shell's point of view.

Run it as tests/bench/run warm_run.
"""

from __future__ import annotations

import sys

from tests.bench.bundles import our_bundle, own_bundle
from tests.bench.harness import (
    Benchmark,
    BenchmarkError,
    Command,
    Goal,
    Options,
    measure,
)
from tests.bench.peers import (
    CGROUP_PARENT,
    Place,
    docker_answers,
    import_root,
    our_image,
    run,
)

GOALS = (
    Goal(peer="crun", at_most=1.1),
    Goal(peer="runc", at_most=0.5),
    Goal(peer="podman (crun)", at_most=1 / 15),
    Goal(peer="podman (runc)", at_most=1 / 15),
    Goal(peer="docker", at_most=1 / 15),
)


def main() -> int:
    """Set up, measure, print."""
    return run(
        __doc__, ("crun", "runc", "podman", "buildah", "bwrap", "docker"), _measured, groups=True
    )


def _measured(options: Options, here: Place) -> list[Benchmark]:
    ours = _ours(options, here)
    peers, missing = _peers(options, here)
    benchmark = measure(
        "warm-run: second run of an image, `true` exits",
        [*ours, *peers, *options.interpreters()],
        options,
        goals=GOALS,
        missing=missing,
    )
    return [benchmark]


def _ours(options: Options, here: Place) -> list[Command]:
    archive = our_image(options, here)
    return [
        Command(
            name="pyrun image.tar",
            argv=(options.pyrun, archive, "true"),
            omits="overlay with a tmpfs above, all namespaces, seccomp filter, capabilities, "
            "no_new_privs, masked paths; a control group in one hierarchy, for a limit of "
            "processes",
            env=here.env,
        ),
        Command(
            name="pyrun NAME",
            argv=(options.pyrun, "base", "true"),
            omits="the same, with the image found by its name in the store",
            env=here.env,
        ),
    ]


def _peers(options: Options, here: Place) -> tuple[list[Command], list[str]]:
    found: list[Command] = []
    missing: list[str] = []
    for set_up in (_crun, _runc, _bwrap, _podman, _docker):
        try:
            found += set_up(here)
        except BenchmarkError as error:
            missing.append(str(error))
    for runtime in ("crun", "runc"):
        try:
            found.append(_at_parity(options, here, runtime))
        except BenchmarkError as error:
            missing.append(str(error))
    return found, missing


def _at_parity(options: Options, here: Place, runtime: str) -> Command:
    bundle = our_bundle(options, here, f"{runtime}-parity", "true")
    return Command(
        name=f"{runtime}, our bundle",
        argv=(runtime, "run", f"--bundle={bundle}", f"bench-{runtime}-parity"),
        omits="what `pyrun bundle` writes: our seccomp profile (which is compiled anew), masks, "
        "capabilities and limit; control groups in all hierarchies; no overlay and no image",
    )


def _crun(here: Place) -> list[Command]:
    bare = own_bundle(here, "crun", cgroup_mount=False)
    full = own_bundle(here, "crun", cgroup_mount=True)
    return [
        Command(
            name="crun",
            argv=("crun", "run", f"--bundle={full}", "bench-crun"),
            omits="no seccomp filter (`crun spec` has none), no overlay and no image: the bundle "
            "is unpacked and writable; makes a control group in every hierarchy, we in one",
        ),
        Command(
            name="crun, no cgroup",
            argv=("crun", "--cgroup-manager=disabled", "run", f"--bundle={bare}", "bench-bare"),
            omits="as crun, without control groups",
        ),
    ]


def _runc(here: Place) -> list[Command]:
    bundle = own_bundle(here, "runc", cgroup_mount=True)
    return [
        Command(
            name="runc",
            argv=("runc", "run", f"--bundle={bundle}", "bench-runc"),
            omits="as crun",
        )
    ]


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
            "version 1), and control groups in all hierarchies, a record of the container and a "
            "monitor, whose CPU time is not counted",
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
