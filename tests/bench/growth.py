"""growth: how our times grow with the layers of an image, with its files, and with bytes.

No peers: what they take is in the other benchmarks. A curve's points take turns, as competitors do
elsewhere. Run it as tests/bench/run growth; `--plots DIR` draws the curves, `--only` chooses among
layers, files and bytes.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.bench.cold_build import builds
from tests.bench.cold_run import first_start
from tests.bench.harness import (
    Benchmark,
    BenchmarkError,
    Command,
    Options,
    machine,
    measure,
    parse_options,
    publish,
)
from tests.bench.layers import layered
from tests.bench.peers import Place, our_image, place, versions
from tests.bench.plot import Axis, Chart, Series, svg
from tests.bench.trees import make_file, make_tree

LAYERS = (1, 10, 25, 50, 75, 100)
FILES = (1000, 5000, 10_000, 25_000, 50_000)
MEGABYTES = (1, 16, 128, 512, 1000)
FEW_ROUNDS = 5  # for what writes hundreds of megabytes, twice
MANY_MEGABYTES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One image of a curve: where its files are, and what is made of them."""

    amount: int
    context: str
    containerfile: str
    rounds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A chart: builds of growing amounts, and which of our times are its curves."""

    name: str
    unit: str
    axis: Axis
    amounts: Sequence[int]
    make: Callable[[Place, int], Build]
    curves: tuple[str, ...]


def _layers(here: Place, count: int) -> Build:
    context, containerfile = layered(here, count)
    return Build(amount=count, context=context, containerfile=containerfile)


def _files(here: Place, count: int) -> Build:
    make_tree(here, f"files-{count}", count, 1000)
    return _copy(f"files-{count}", count)


def _bytes(here: Place, megabytes: int) -> Build:
    make_file(here, f"bytes-{megabytes}/file", megabytes * 1_000_000)
    rounds = FEW_ROUNDS if megabytes >= MANY_MEGABYTES else 0
    return replace(_copy(f"bytes-{megabytes}", megabytes), rounds=rounds)


def _copy(context: str, amount: int) -> Build:
    text = 'FROM {base}\nCOPY . /srv/\nCMD ["true"]\n'
    return Build(amount=amount, context=context, containerfile=text)


BUILD, NOOP = "build", "no-op build"
VERIFYING, TRUSTING = "--verify=auto", "--verify=never"
GROWTHS = (
    Growth(
        name="layers",
        unit="layers",
        axis=Axis(label="layers, of one small file each"),
        amounts=LAYERS,
        make=_layers,
        curves=(BUILD, NOOP, VERIFYING, TRUSTING),
    ),
    Growth(
        name="files",
        unit="files",
        axis=Axis(label="files of one kilobyte, in one COPY", logarithmic=True),
        amounts=FILES,
        make=_files,
        curves=(BUILD, NOOP, VERIFYING, TRUSTING),
    ),
    Growth(
        name="bytes",
        unit="MB",
        axis=Axis(label="megabytes, in one file", logarithmic=True),
        amounts=MEGABYTES,
        make=_bytes,
        curves=(BUILD, VERIFYING, TRUSTING),
    ),
)


def main() -> int:
    """Set up, measure, print, draw."""
    options = parse_options(__doc__)
    chosen = [growth for growth in GROWTHS if options.only in growth.name]
    options = replace(options, only="")  # of a curve every point
    before = machine()
    measured = []
    try:
        for growth in chosen:
            with place() as here:
                our_image(options, here)
                measured.append(_measure(options, here, growth))
    except BenchmarkError as error:
        sys.stderr.write(f"growth: {error}\n")
        return 1
    publish(options, before, versions(options), [each for curves in measured for each in curves])
    if options.plots:
        os.makedirs(options.plots, exist_ok=True)
        for growth, curves in zip(chosen, measured, strict=True):
            path = f"{options.plots}/growth-{growth.name}.svg"
            with open(path, "w", encoding="utf-8") as file:
                file.write(svg(_chart(growth, curves, before)))
    return 0


def _measure(options: Options, here: Place, growth: Growth) -> list[Benchmark]:
    """A benchmark for each curve; in each the largest amount comes first, and is "ours"."""
    made = [growth.make(here, amount) for amount in reversed(growth.amounts)]
    for build in made:  # what is started, and what is there to be found unchanged
        here.call(*_command(options, here, build, NOOP).argv)
    return [
        measure(
            f"growth with {growth.name}: {_said(curve)}",
            [
                replace(
                    _command(options, here, build, curve),
                    name=f"{growth.unit}: {build.amount}",
                    omits="",
                    rounds=build.rounds if curve == BUILD else 0,
                )
                for build in made
            ],
            options,
            ours=len(made),
            after=here.forget,
        )
        for curve in growth.curves
    ]


def _command(options: Options, here: Place, build: Build, curve: str) -> Command:
    words = (options, here, build.context, build.containerfile)
    if curve == BUILD:
        return builds(*words, fresh=True)[0]
    if curve == NOOP:
        return builds(*words, cached=True)[0]
    return first_start(options, here, f"{here.path}/{build.context}.tar", (curve,))


def _said(curve: str) -> str:
    return curve if curve in (BUILD, NOOP) else f"first start, {curve}"


def _chart(growth: Growth, curves: Sequence[Benchmark], facts: dict[str, object]) -> Chart:
    """Medians of wall time; the amounts from the least to the most."""
    series = []
    for curve, benchmark in zip(growth.curves, curves, strict=True):
        samples = [benchmark.samples[command.name] for command in reversed(benchmark.commands)]
        medians = [statistics.median(s.wall_s for s in taken) * 1000 for taken in samples]
        points = tuple(zip(growth.amounts, medians, strict=True))
        series.append(Series(name=_said(curve), points=points))
    where = f"{facts['cpu']}, Linux {facts['kernel']}"
    return Chart(
        title=f"Growth with {growth.name}: medians in milliseconds",
        note=f"{where}; {facts['date']}; commit {facts['commit']}",
        x=growth.axis,
        y=Axis(label="milliseconds", logarithmic=growth.axis.logarithmic),
        series=tuple(series),
    )


if __name__ == "__main__":
    sys.exit(main())
