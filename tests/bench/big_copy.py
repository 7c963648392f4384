"""big-copy: COPY of 10,000 and 50,000 files of a kilobyte, by builds that do everything anew.

Run it as tests/bench/run big_copy.
"""

from __future__ import annotations

import sys

from tests.bench.cold_build import Measure, builds, run_builds
from tests.bench.harness import Benchmark, Goal, Options, measure
from tests.bench.peers import Place

GOALS = (
    Goal(peer="buildah bud", at_most=1 / 5),
    Goal(peer="podman build", at_most=1 / 5),
)


def main() -> int:
    """Set up, measure, print."""
    return run_builds(__doc__, [_copying(count) for count in (10_000, 50_000)])


def _copying(count: int) -> Measure:
    def run(options: Options, here: Place, missing: list[str]) -> Benchmark:
        name = f"copy-{count}"
        for number in range(count):
            # A directory for each hundred, and a kilobyte each: about what sources are.
            here.write(f"{name}/{number // 100}/{number % 100}", f"file {number}\n" * 80)
        commands = builds(options, here, name, "FROM {base}\nCOPY . /srv\n", fresh=True)
        title = f"COPY of {count} files of a kilobyte"
        return measure(title, commands, options, goals=GOALS, missing=missing)

    return run


if __name__ == "__main__":
    sys.exit(main())
