"""detached: a container beside its caller: until it is started, and until what it said is read.

It also prints what is held beside a container that runs. Run it as tests/bench/run detached.
"""

from __future__ import annotations

import contextlib
import json
import sys

from tests.bench.exec import Held, held, held_table
from tests.bench.harness import (
    Benchmark,
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
    cgroups,
    import_root,
    our_image,
    place,
    versions,
)

# Who: its name, how it is called, and what it calls the image.
Programs = list[tuple[str, tuple[str, ...], str]]
_GOALS = (Goal(peer="podman (crun)", at_most=1.0), Goal(peer="podman (runc)", at_most=1.0))


def main() -> int:
    """Set up, measure, print."""
    options = parse_options(__doc__)
    before = machine()
    memory: list[Held] = []
    try:
        with place() as here, cgroups(), contextlib.ExitStack() as stack:
            our_image(options, here)
            programs: Programs = [("pyrun", (options.pyrun,), "base")]
            missing = _podmans(here, programs)
            for name, program, image in programs:
                memory.append(_beside(name, program, image, here, stack))
            benchmarks = [
                _benchmark(title, programs, options, here, missing, reads=reads)
                for title, reads in (
                    ("run -d: until it is started", False),
                    ("run -d, logs -f: until all that it said is read", True),
                )
            ]
    except BenchmarkError as error:
        sys.stderr.write(f"detached: {error}\n")
        return 1
    publish(options, before, versions(options, "crun", "runc", "podman"), benchmarks)
    sys.stdout.write(held_table(memory))
    return 0


def _podmans(here: Place, programs: Programs) -> list[str]:
    missing = []
    try:
        import_root(here, "podman")
    except BenchmarkError as error:
        return [str(error)]
    for runtime in ("crun", "runc"):
        podman = here.engine("podman", f"--runtime={runtime}")
        try:
            here.call(*_run_line(podman), "localhost/base", "true")
        except BenchmarkError as error:
            missing.append(f"podman ({runtime}): {error}")
            continue
        programs.append((f"podman ({runtime})", podman, "localhost/base"))
    return missing


def _run_line(program: tuple[str, ...]) -> tuple[str, ...]:
    line = (*program, "run", "-d")
    if program[0] != "podman":
        return line
    parent = f"--cgroup-parent=/{CGROUP_PARENT}"
    return (*line, "--network=none", "--log-driver=k8s-file", parent)


def _benchmark(
    title: str,
    programs: Programs,
    options: Options,
    here: Place,
    missing: list[str],
    *,
    reads: bool,
) -> Benchmark:
    commands = []
    for name, program, image in programs:
        line = " ".join((*_run_line(program), image))
        logs = " ".join((*program, "logs", "-f"))
        text = f"exec {logs} $({line} echo ready)" if reads else f"exec {line} true >/dev/null"
        commands.append(Command(name=name, argv=("sh", "-c", text), env=here.env))
    return measure(
        title, [*commands, *options.interpreters()], options, goals=_GOALS, missing=missing
    )


def _beside(
    name: str, program: tuple[str, ...], image: str, here: Place, stack: contextlib.ExitStack
) -> Held:
    identity = here.call(*_run_line(program), image, "sleep", "10000")
    stack.callback(here.call, *program, "rm", "-f", identity)
    [document] = json.loads(here.call(*program, "inspect", identity))
    if program[0] == "podman":
        with open(document["ConmonPidFile"], encoding="ascii") as file:
            return held(f"conmon of {name}", int(file.read()))
    return held("the monitor of pyrun run -d", document["State"]["ConmonPid"])


if __name__ == "__main__":
    sys.exit(main())
