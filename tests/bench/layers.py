"""layers: images of 1, 10, 50 and 100 layers, built again without a change, and started.

Each layer but the first has one small file; builds from nothing are in cold_build. Run it as
tests/bench/run layers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from tests.bench.cold_build import FEW_LAYERS, builds
from tests.bench.cold_run import first_start, peer_starts
from tests.bench.harness import (
    Benchmark,
    Command,
    Goal,
    Options,
    measure,
    seen_from,
)
from tests.bench.peers import (
    Place,
    our_image,
    reasons,
    run,
    set_up_engines,
)

COUNTS = (100, 50, 10, 1)  # the most first: goals are about it
FEW_ROUNDS = 3  # for peers with so many layers: a start takes up to half a minute
VERIFY = ("--verify=auto", "--verify=never")


def main() -> int:
    """Set up, measure, print."""
    return run(__doc__, ("buildah", "podman", "runc"), _measured, groups=True)


def _measured(options: Options, here: Place) -> list[Benchmark]:
    our_image(options, here)
    return [_rebuilds(options, here, reasons(set_up_engines(here))), *_starts(options, here)]


def layered(here: Place, count: int) -> tuple[str, str]:
    """The name of a context, and a Containerfile over a base of one layer."""
    name = f"layers-{count}"
    here.write(f"{name}/one", "one file\n")
    copies = "".join(f"COPY one /{number}\n" for number in range(count - 1))
    return name, f'FROM {{base}}\n{copies}CMD ["true"]\n'


def _rebuilds(options: Options, here: Place, missing: Sequence[str]) -> Benchmark:
    ours, theirs = [], []
    for count in COUNTS:
        us, *peers = builds(options, here, *layered(here, count), cached=True)
        ours.append(_of(us, count))
        if count <= FEW_LAYERS:  # theirs grow with the square, as in cold_build
            theirs += [_of(peer, count) for peer in peers]
    return measure(
        f"no-op: rebuild of {_numbers()} layers, nothing changed",
        [*ours, *theirs, *options.interpreters()],
        options,
        missing=missing,
        ours=len(ours),
    )


def _starts(options: Options, here: Place) -> list[Benchmark]:
    """Ours of all sizes take turns with those of podman that are measured."""
    ours, theirs = [], []
    for count in COUNTS:
        archive = _image(options, here, count)
        starts = [first_start(options, here, archive, (word,)) for word in VERIFY]
        ours.append([_of(start, count) for start in starts])
        if count in (max(COUNTS), 1):
            engines = peer_starts(here, archive)
            podman = [_of(each, count) for each in engines if each.name.startswith("podman")]
            rounds = 0 if count == 1 else FEW_ROUNDS
            theirs.append([replace(each, rounds=rounds) for each in podman])
    first = [each for pair in ours for each in pair]
    peers = [each for pair in theirs for each in pair]
    measured = measure("", [*first, *peers], options, ours=len(first), after=here.forget)
    return [
        part
        for number, word in enumerate(VERIFY)
        for part in _tables(measured, word, [pair[number] for pair in ours], theirs)
    ]


def _tables(
    measured: Benchmark, word: str, ours: Sequence[Command], theirs: Sequence[Sequence[Command]]
) -> list[Benchmark]:
    """The most layers beside fewer, and beside podman; then one layer beside podman."""
    most, *fewer = (command.name for command in ours)
    *_, one = fewer
    podman_most, podman_one = ([peer.name for peer in each] for each in theirs)
    flat = Goal(peer=one, at_most=1.2)
    goals = tuple(Goal(peer=peer, at_most=1 / 50) for peer in podman_most)
    title = f"cold-run of {_numbers()} layers, {word}"
    return [
        seen_from(measured, title, [most, *fewer, *podman_most], (flat, *goals)),
        seen_from(measured, f"cold-run of one layer, {word}", [one, *podman_one]),
    ]


def _image(options: Options, here: Place, count: int) -> str:
    build = builds(options, here, *layered(here, count), cached=True)[0]
    here.call(*build.argv)
    return f"{here.path}/layers-{count}.tar"


def _of(command: Command, count: int) -> Command:
    return replace(command, name=f"{command.name}, {count} layer{'s' if count > 1 else ''}")


def _numbers() -> str:
    first, *others = sorted(COUNTS, reverse=True)
    return f"{', '.join(str(count) for count in reversed(others))} and {first}"


if __name__ == "__main__":
    sys.exit(main())
