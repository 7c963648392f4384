"""big-copy: COPY of 10,000 and 50,000 files of a kilobyte, by builds that do everything anew.

Run it as tests/bench/run big_copy.
"""

from __future__ import annotations

import sys

from tests.bench.cold_build import builds, set_up_engines
from tests.bench.harness import (
    Benchmark,
    BenchmarkError,
    Goal,
    Options,
    machine,
    measure,
    parse_options,
    publish,
)
from tests.bench.peers import Place, our_image, place, versions

GOALS = (
    Goal(peer="buildah bud", at_most=1 / 5),
    Goal(peer="podman build", at_most=1 / 5),
)


def main() -> int:
    """Set up, measure, print."""
    options = parse_options(__doc__)
    before = machine()
    try:
        with place() as here:
            our_image(options, here)
            missing = set_up_engines(here)
            benchmarks = [_measure(options, here, missing, count) for count in (10_000, 50_000)]
    except BenchmarkError as error:
        sys.stderr.write(f"big_copy: {error}\n")
        return 1
    publish(options, before, versions(options, "buildah", "podman"), benchmarks)
    return 0


def _measure(options: Options, here: Place, missing: list[str], count: int) -> Benchmark:
    name = f"copy-{count}"
    for number in range(count):
        # A directory for each hundred, and a kilobyte each: about what sources are.
        here.write(f"{name}/{number // 100}/{number % 100}", f"file {number}\n" * 80)
    commands = builds(options, here, name, "FROM {base}\nCOPY . /srv\n")
    title = f"COPY of {count} files of a kilobyte"
    return measure(title, commands, options, goals=GOALS, missing=missing)


if __name__ == "__main__":
    sys.exit(main())
