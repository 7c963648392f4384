"""exec: another process in a running container; and what stays beside a container in memory.

Run it as tests/bench/run exec_command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

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
    bundle_of_ours,
    cgroups,
    import_root,
    our_image,
    place,
    versions,
)

GOALS = (Goal(peer="crun", at_most=1.0),)
_MEMORY_GOAL_KB = 14 << 10


def main() -> int:
    """Set up, measure, print."""
    options = parse_options(__doc__)
    before = machine()
    try:
        with place(options) as here, cgroups(), contextlib.ExitStack() as running:
            our_image(options, here)
            benchmark = measure(
                "exec: `true` in a running container",
                [*_commands(options, here, running), *options.interpreters()],
                options,
                goals=GOALS,
                missing=[],
            )
            memory = _memory(options, here)
    except BenchmarkError as error:
        sys.stderr.write(f"exec_command: {error}\n")
        return 1
    publish(options, before, versions(options, "crun", "runc", "podman"), [benchmark])
    sys.stdout.write(memory)
    return 0


def _commands(options: Options, here: Place, running: contextlib.ExitStack) -> list[Command]:
    bundle = bundle_of_ours(here, "sleep", "100000")
    ours = f"{options.venv}/bin/pyrun-oci"
    commands = []
    pid = 0
    for runtime in (ours, "crun", "runc"):
        name = f"bench-exec-{os.path.basename(runtime)}"
        running.enter_context(_created(here, runtime, name, bundle))
        if runtime == ours:
            pid = int(here.call(ours, "ps", "--format=json", name).strip("[] \n").split(",")[0])
        commands.append(
            Command(
                name="pyrun oci exec" if runtime == ours else runtime,
                argv=(runtime, "exec", name, "true"),
                omits="nothing: namespaces, control groups, capabilities and filter of the "
                "container" + ("" if runtime == ours else "; compiles the filter each time"),
                env=here.env,
            )
        )
    commands.append(
        Command(
            name="nsenter",
            argv=("nsenter", f"--target={pid}", "--all", "--root", "--wd=/", "/bin/true"),
            omits="no control group, capabilities, filter or user lookup",
        )
    )
    return [*commands, _podman(here, running)]


@contextlib.contextmanager
def _created(here: Place, runtime: str, name: str, bundle: str) -> Iterator[None]:
    """A container that sleeps, under one runtime; its streams are not ours."""
    null = subprocess.DEVNULL
    for verb in (("create", f"--bundle={bundle}", name), ("start", name)):
        done = subprocess.run(
            (runtime, *verb),
            env=environment(here.env),
            stdin=null,
            stdout=null,
            stderr=null,
            check=False,
        )
        if done.returncode:
            raise BenchmarkError(f"{runtime} {verb[0]}: ended with {done.returncode}")
    try:
        yield
    finally:
        here.call(runtime, "delete", "--force", name)


def _podman(here: Place, running: contextlib.ExitStack) -> Command:
    import_root(here, "podman")
    engine = here.engine("podman", "--runtime=crun")
    options = ("--detach", "--network=none", "--log-driver=none")
    parent = f"--cgroup-parent=/{CGROUP_PARENT}"
    run = ("run", "--name=bench-exec", *options, parent, "localhost/base", "sleep", "100000")
    here.call(*engine, *run)
    running.callback(here.call, *engine, "rm", "--force", "--time=0", "bench-exec")
    return Command(
        name="podman (crun)",
        argv=(*engine, "exec", "bench-exec", "true"),
        omits="does more: records the process and starts a monitor for it",
        env=here.env,
        settle_s=0.3,
    )


def _memory(options: Options, here: Place) -> str:
    """Resident memory of `pyrun IMAGE` beside its container, and of podman's monitor."""
    argv = (options.pyrun, f"{here.path}/base.tar", "sleep", "100000")
    with subprocess.Popen(argv, env=environment(here.env)) as ours:
        time.sleep(1)
        lines = [_row("pyrun", ours.pid)]
        ours.send_signal(signal.SIGTERM)
    for pid in _pids_of("conmon"):
        lines.append(_row("conmon (podman)", pid))
    head = "| beside a container stays | resident kB | proportional kB |\n| --- | --: | --: |\n"
    goal = f"\nGoal: at most {_MEMORY_GOAL_KB} kB resident.\n"
    return head + "".join(lines) + goal


def _row(name: str, pid: int) -> str:
    figures = {}
    for file in ("status", "smaps_rollup"):
        with open(f"/proc/{pid}/{file}", encoding="ascii", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                figures[key] = value.split()
    return f"| {name} | {figures['VmRSS'][0]} | {figures['Pss'][0]} |\n"


def _pids_of(program: str) -> list[int]:
    listed = subprocess.run(("pgrep", "-x", program), capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


if __name__ == "__main__":
    sys.exit(main())
