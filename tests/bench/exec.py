"""exec: a command in a running container, and the memory that is held beside a container.

Run it as tests/bench/run exec.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

from tests.bench.bundles import our_bundle
from tests.bench.harness import (
    BenchmarkError,
    Command,
    Goal,
    Options,
    environment,
    machine,
    measure,
    parse_options,
    publish,
)
from tests.bench.peers import (
    CGROUP_PARENT,
    Place,
    cgroups,
    import_root,
    our_image,
    place,
    versions,
)

GOALS = (
    Goal(peer="crun exec", at_most=1.0),
    Goal(peer="runc exec", at_most=0.5),
    Goal(peer="podman exec (crun)", at_most=1 / 7),
    Goal(peer="podman exec (runc)", at_most=1 / 7),
)
_WAITING = ("sleep", "10000")


def main() -> int:
    """Set up, measure, print."""
    options = parse_options(__doc__)
    before = machine()
    missing: list[str] = []
    try:
        with place() as here, cgroups(), contextlib.ExitStack() as stack:
            our_image(options, here)
            commands, memory = _ours(options, here, stack)
            for set_up in (_oci("crun"), _oci("runc"), _podman("crun"), _podman("runc")):
                try:
                    command, beside = set_up(options, here, stack)
                except BenchmarkError as error:
                    missing.append(str(error))
                    continue
                commands.append(command)
                memory += beside
            benchmark = measure(
                "exec: `true` in a container that runs",
                [*commands, *options.interpreters()],
                options,
                goals=GOALS,
                missing=missing,
            )
    except BenchmarkError as error:
        sys.stderr.write(f"exec: {error}\n")
        return 1
    publish(options, before, versions(options, "crun", "runc", "podman", "nsenter"), [benchmark])
    sys.stdout.write(held_table(memory))
    return 0


# What stays beside a container: who, its resident and its proportional set size, in KiB.
Held = tuple[str, int, int]
SetUp = Callable[[Options, Place, contextlib.ExitStack], tuple[Command, list[Held]]]


def _ours(
    options: Options, here: Place, stack: contextlib.ExitStack
) -> tuple[list[Command], list[Held]]:
    waiting = subprocess.Popen(
        [options.pyrun, "base", *_WAITING], env=environment(here.env), stdout=subprocess.DEVNULL
    )
    stack.callback(_end, waiting)
    pid = _child_of(waiting.pid)
    command, _ = _oci("pyrun-oci")(options, here, stack)
    nsenter = Command(
        name="nsenter --all",
        argv=("nsenter", f"--target={pid}", "--all", "true"),
        omits="joins the namespaces only: no control group, filter or capabilities; the floor",
    )
    return [command, nsenter], [held("pyrun, waiting for the container", waiting.pid)]


def _end(running: subprocess.Popen[bytes]) -> None:
    running.terminate()
    running.wait()


def _child_of(pid: int) -> int:
    """The container's process, once it is what it is to be."""
    for _ in range(500):
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = file.read().split()
        for child in children:
            with contextlib.suppress(OSError), open(f"/proc/{child}/comm", "rb") as comm:
                if comm.read() == b"sleep\n":
                    return int(child)
        time.sleep(0.01)
    raise BenchmarkError("pyrun: no container within five seconds")


def _oci(name: str) -> SetUp:
    def set_up(
        options: Options, here: Place, stack: contextlib.ExitStack
    ) -> tuple[Command, list[Held]]:
        program = options.pyrun_oci if name == "pyrun-oci" else name
        runtime = (program, f"--root={here.path}/exec-state-{name}")
        bundle = our_bundle(options, here, f"exec-{name}", *_WAITING)
        identity = f"bench-exec-{name}"
        _detach(here, *runtime, "run", "--detach", f"--bundle={bundle}", identity)
        stack.callback(here.call, *runtime, "delete", "--force", identity)
        command = Command(
            name=f"{name} exec",
            argv=(*runtime, "exec", identity, "true"),
            omits="into all namespaces and control groups, with filter and capabilities",
            env=here.env,
        )
        return command, []

    return set_up


def _detach(here: Place, *argv: str) -> None:
    """Start what goes on in the background, which must not keep a pipe of ours."""
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(here.env),
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"{argv[0]}: ended with {done.returncode}")


def _podman(runtime: str) -> SetUp:
    def set_up(
        options: Options, here: Place, stack: contextlib.ExitStack
    ) -> tuple[Command, list[Held]]:
        if not os.path.exists(f"{here.path}/rootfs.tar"):
            import_root(here, "podman")
        podman = here.engine("podman", f"--runtime={runtime}")
        name = f"bench-exec-{runtime}"
        identity = here.call(
            *(*podman, "run", "--detach", "--name", name, "--network=none", "--log-driver=none"),
            *(f"--cgroup-parent=/{CGROUP_PARENT}", "localhost/base", *_WAITING),
        )
        stack.callback(here.call, *podman, "rm", "--force", "--time=0", name)
        [table] = json.loads(here.call(*podman, "inspect", name))
        with open(table["ConmonPidFile"], encoding="ascii") as file:
            conmon = int(file.read())
        command = Command(
            name=f"podman exec ({runtime})",
            argv=(*podman, "exec", identity, "true"),
            omits="as the runtime's, with a record of the session, and a monitor of its own",
            env=here.env,
        )
        return command, [held(f"conmon of podman ({runtime})", conmon)]

    return set_up


def held(name: str, pid: int) -> Held:
    """Memory of one process (proc(5), /proc/PID/smaps_rollup)."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        sizes = {line.split()[0]: int(line.split()[1]) for line in file.readlines()[1:]}
    return name, sizes["Rss:"], sizes["Pss:"]


def held_table(memory: list[Held]) -> str:
    lines = [
        "\n### memory: what is held beside a container that runs\n",
        "| process | resident (RSS) KiB | proportional (PSS) KiB |",
        "| --- | --: | --: |",
        *(f"| {name} | {rss} | {pss} |" for name, rss, pss in memory),
        "\n- runc, crun and pyrun-oci leave nothing behind with `run --detach`.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
