"""Measuring commands side by side: alternation, wall and CPU time, ratios, and where and when.

Alternation because other work on the machine then falls on all of them alike: the ratios hold
where the milliseconds do not. What is measured, and against whom, is in the modules beside this.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

FAST_S = 0.1  # below this median a command is measured FAST_ROUNDS times at least
FAST_ROUNDS, SLOW_ROUNDS = 15, 5


class BenchmarkError(Exception):
    """There is nothing to measure; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One competitor: what to run, and what has to be said about it."""

    name: str
    argv: tuple[str, ...]
    omits: str = ""  # what it does not do, or what it does beyond the others
    env: Mapping[str, str] = field(default_factory=dict)
    settle_s: float = 0.0  # rest afterwards: it leaves work behind in the background
    rounds: int = 0  # if not 0: run this often and no more, after one run that is not counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A ratio of medians, ours to a peer's, that the project aims at."""

    peer: str
    at_most: float
    of_cpu: bool = False  # of CPU time, instead of the time that passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run of a command. `cpu_s`: user and system time, with the children it waited for."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """What was measured: for each command its samples, one a round. The first command is ours."""

    title: str
    commands: tuple[Command, ...]
    samples: Mapping[str, Sequence[Sample]]
    goals: tuple[Goal, ...] = ()
    missing: tuple[str, ...] = ()  # peers that could not take part, each with the reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line of a benchmark."""

    venv: str
    fast_rounds: int
    slow_rounds: int
    json: str | None
    only: str
    plots: str | None = None

    @property
    def pybuild(self) -> str:
        """Path of the installed command."""
        return f"{self.venv}/bin/pybuild"

    @property
    def pyrun(self) -> str:
        """Path of the installed command."""
        return f"{self.venv}/bin/pyrun"

    @property
    def pyrun_oci(self) -> str:
        """Path of the installed command."""
        return f"{self.venv}/bin/pyrun-oci"

    def interpreters(self) -> tuple[Command, ...]:
        """How long the interpreter of our commands takes to do nothing: the floor."""
        python = f"{self.venv}/bin/python"
        return (
            Command(
                name="python3 -I -S -c pass",
                argv=(os.path.realpath(python), "-I", "-S", "-c", "pass"),
                omits="starts and ends; no site, no virtual environment",
            ),
            Command(
                name="python3 -c pass",
                argv=(python, "-c", "pass"),
                omits="starts and ends, as the installed scripts do",
            ),
        )


def parse_options(description: str) -> Options:
    """Read the command line; ends the program where that makes no sense."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--venv", required=True, help="where pybuild and pyrun are installed")
    parser.add_argument("--rounds", type=int, default=30, help="of what takes less than 100 ms")
    parser.add_argument("--slow-rounds", type=int, default=15, help="of what takes longer")
    parser.add_argument("--json", metavar="FILE", help="write every sample as well")
    parser.add_argument("--only", default="", metavar="TEXT", help="peers with TEXT in their name")
    parser.add_argument("--plots", metavar="DIR", help="draw curves there, if there are any")
    parsed = parser.parse_args()
    return Options(
        venv=os.path.abspath(parsed.venv),
        fast_rounds=max(FAST_ROUNDS, parsed.rounds),
        slow_rounds=max(SLOW_ROUNDS, parsed.slow_rounds),
        json=parsed.json,
        only=parsed.only,
        plots=parsed.plots,
    )


def measure(
    title: str,
    commands: Sequence[Command],
    options: Options,
    *,
    goals: tuple[Goal, ...] = (),
    missing: Sequence[str] = (),
    ours: int = 1,
    after: Callable[[], None] = lambda: None,
) -> Benchmark:
    """Run the commands in turn, round after round; `after` each run, what is not measured.

    The first so many are `ours`: they must work, and no choice of peers leaves them out. A peer
    that fails at first is left out, and said to be. Everything that takes part must succeed every
    time and say the same on standard output: the digest of an image, as a rule.
    """
    required = list(commands[:ours])
    commands = [*required, *(c for c in commands[ours:] if options.only in c.name)]
    left_out = list(missing)
    expected: dict[str, bytes] = {}
    for command in list(commands):
        try:
            # The second time with everything in the page cache.
            for _ in range(1 if command.rounds else 2):
                expected[command.name] = _run(command)[1]
                after()
        except BenchmarkError as error:
            if command in required:
                raise
            commands.remove(command)
            left_out.append(str(error))
            after()
    samples: dict[str, list[Sample]] = {command.name: [] for command in commands}
    for number in range(options.fast_rounds):
        for command in commands:
            taken = samples[command.name]
            slow = len(taken) >= SLOW_ROUNDS and _median(s.wall_s for s in taken) >= FAST_S
            most = options.slow_rounds if slow else options.fast_rounds
            if number >= (command.rounds or most):
                continue
            sample, output = _run(command)
            after()
            if output != expected[command.name]:
                raise BenchmarkError(f"{command.name}: printed {output!r} for once")
            taken.append(sample)
    return Benchmark(
        title=title,
        commands=tuple(commands),
        samples=samples,
        goals=goals,
        missing=tuple(left_out),
    )


def seen_from(
    measured: Benchmark, title: str, names: Sequence[str], goals: tuple[Goal, ...] = ()
) -> Benchmark:
    """The same samples of some commands, in that order: the first is what goals are about."""
    by_name = {command.name: command for command in measured.commands}
    commands = tuple(by_name[name] for name in names if name in by_name)
    samples = {command.name: measured.samples[command.name] for command in commands}
    return replace(measured, title=title, commands=commands, samples=samples, goals=goals)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of everything that is run, without any of Python's variables.

    PYTHONDONTWRITEBYTECODE and its like would change what is measured.
    """
    kept = ("PATH", "HOME", "USER", "TMPDIR", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ} | dict(extra or {})


def _run(command: Command) -> tuple[Sample, bytes]:
    """Run once; returns the sample and what was printed. Raises BenchmarkError with the reason."""
    env = environment(command.env)
    with (
        open(os.devnull, "rb") as stdin,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        actions = [
            (os.POSIX_SPAWN_DUP2, file.fileno(), number)
            for number, file in enumerate((stdin, stdout, stderr))
        ]
        # vfork inside: a large harness costs the command nothing. The rusage of wait4 is the
        # child's with the children that it waited for in turn.
        begin = time.perf_counter()
        try:
            pid = os.posix_spawnp(command.argv[0], command.argv, env, file_actions=actions)
        except OSError as error:
            raise BenchmarkError(f"{command.name}: {command.argv[0]}: {error.strerror}") from error
        _, wait_status, usage = os.wait4(pid, 0)
        wall_s = time.perf_counter() - begin
        stdout.seek(0)
        stderr.seek(0)
        if wait_status != 0:
            said = last_words(stderr.read().decode("utf-8", "replace"))
            status = os.waitstatus_to_exitcode(wait_status)
            raise BenchmarkError(f"{command.name}: ended with {status}: {said}")
        time.sleep(command.settle_s)
        return Sample(wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime), stdout.read()


def last_words(text: str) -> str:
    """The end of what a failing program said, in one line: an error, and perhaps a hint."""
    return " / ".join(text.strip().splitlines()[-2:])


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


# --- What is printed


def report(benchmark: Benchmark) -> str:
    """The tables in Markdown: times first, then ratios of our first command to each other one."""
    times = [
        "| command | runs | wall ms: min | median | max | CPU ms: min | median | max |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for command in benchmark.commands:
        taken = benchmark.samples[command.name]
        wall = _spread([sample.wall_s for sample in taken])
        cpu = _spread([sample.cpu_s for sample in taken])
        times.append(f"| {command.name} | {len(taken)} | {wall} | {cpu} |")
    ours = benchmark.commands[0].name
    ratios = [
        f"| {ours} to | median | min | CPU | goal | met |",
        "| --- | --: | --: | --: | --: | --- |",
    ]
    for peer in benchmark.commands[1:]:
        figures = ratios_to(benchmark, peer.name)
        goal = next((g for g in benchmark.goals if g.peer == peer.name), None)
        columns = [peer.name, *(_number(figure) for figure in figures.values())]
        columns += ["", ""] if goal is None else [_wanted(goal), _verdict(figures, goal)]
        ratios.append(f"| {' | '.join(columns)} |")
    notes = [f"- {c.name}: {c.omits}." for c in benchmark.commands if c.omits]
    absent = [f"- not measured: {reason}" for reason in benchmark.missing]
    absent += [
        f"- goal not judged: {_wanted(goal)} of {goal.peer}"
        for goal in benchmark.goals
        if goal.peer not in benchmark.samples
    ]
    blocks = ["\n".join(lines) for lines in (times, ratios, notes + absent)]
    return "\n\n".join([f"### {benchmark.title}", *filter(None, blocks)]) + "\n"


def ratios_to(benchmark: Benchmark, peer: str) -> dict[str, float]:
    """Our first command's figures by a peer's, over the rounds in which both ran."""
    ours = benchmark.samples[benchmark.commands[0].name]
    theirs = benchmark.samples[peer]
    both = min(len(ours), len(theirs))
    ours, theirs = ours[:both], theirs[:both]
    return {
        "median": _median(s.wall_s for s in ours) / _median(s.wall_s for s in theirs),
        "min": min(s.wall_s for s in ours) / min(s.wall_s for s in theirs),
        "cpu": _median(s.cpu_s for s in ours) / _median(s.cpu_s for s in theirs),
    }


def _wanted(goal: Goal) -> str:
    return _number(goal.at_most) + (" of CPU" if goal.of_cpu else "")


def _verdict(figures: Mapping[str, float], goal: Goal) -> str:
    return "yes" if figures["cpu" if goal.of_cpu else "median"] <= goal.at_most else "no"


def _spread(seconds: Sequence[float]) -> str:
    figures = (min(seconds), _median(seconds), max(seconds))
    return " | ".join(f"{figure * 1000:.1f}" for figure in figures)


def _number(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.2 else f"1/{1 / ratio:.1f}"


# --- Where and when

# Of this checkout; the wheel is taken to be made of it. It may belong to somebody else.
_REVISION = (
    *("git", "-c", "safe.directory=*", "-C", os.path.dirname(os.path.abspath(__file__))),
    *("rev-parse", "--short", "HEAD"),
)


def machine() -> dict[str, object]:
    """What the figures depend on beside the programs."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    with open("/proc/self/mountinfo", "rb") as mounts:
        mount_count = len(mounts.readlines())
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "kernel": os.uname().release,
        "cpu": f"{os.cpu_count()} x {models[0] if models else os.uname().machine}",
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "mounts": mount_count,
        "commit": version_of(*_REVISION),
    }


def version_of(*argv: str) -> str:
    """The first line that a program prints when asked; "missing" if it can't be asked."""
    try:
        asked = subprocess.run(
            argv, capture_output=True, text=True, env=environment(), timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "missing"
    lines = (asked.stdout + asked.stderr).strip().splitlines()
    return lines[0] if lines and asked.returncode == 0 else "missing"


def publish(
    options: Options,
    before: Mapping[str, object],
    versions: Mapping[str, str],
    benchmarks: Sequence[Benchmark],
) -> None:
    """Print the report; write every sample to the JSON file if one was asked for."""
    facts = {**before, "load average at the end": machine()["load average"], **versions}
    lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    sys.stdout.write(f"{lines}\n\n" + "\n".join(report(each) for each in benchmarks))
    if options.json:
        document = {
            "machine": facts,
            "benchmarks": [
                {
                    **asdict(each),
                    "ratios": {p.name: ratios_to(each, p.name) for p in each.commands[1:]},
                }
                for each in benchmarks
            ],
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
