"""big-copy: COPY of 10,000 and 50,000 files of a kilobyte, and of one file of a gibibyte.

By builds that do everything anew, and for the large file by cp(1) as well. Run it as
tests/bench/run big_copy.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from tests.bench.cold_build import Measure, builds, run_builds
from tests.bench.harness import Benchmark, Goal, Options, measure
from tests.bench.peers import Place, anew
from tests.bench.trees import make_file

GOALS = (
    Goal(peer="buildah bud", at_most=1 / 5),
    Goal(peer="podman build", at_most=1 / 5),
)
FILE_SIZE = 1 << 30
FILE_GOALS = (
    Goal(peer="buildah bud", at_most=0.6),
    Goal(peer="podman build", at_most=0.6),
    Goal(peer="cp", at_most=1.5),
)
FEW_ROUNDS = 5  # of a peer, which takes up to a minute and keeps all that it makes
MANY_FILES = 50_000


def main() -> int:
    """Set up, measure, print."""
    return run_builds(__doc__, [*(_copying(count) for count in (10_000, MANY_FILES)), _one_file])


def _copying(count: int) -> Measure:
    def run(options: Options, here: Place, missing: list[str]) -> Benchmark:
        name = f"copy-{count}"
        for number in range(count):
            # A directory for each hundred, and a kilobyte each: about what sources are.
            here.write(f"{name}/{number // 100}/{number % 100}", f"file {number}\n" * 80)
        us, *peers = builds(options, here, name, "FROM {base}\nCOPY . /srv\n", fresh=True)
        if count >= MANY_FILES:
            peers = [replace(peer, rounds=FEW_ROUNDS) for peer in peers]
        title = f"COPY of {count} files of a kilobyte"
        return measure(title, [us, *peers], options, goals=GOALS, missing=missing)

    return run


def _one_file(options: Options, here: Place, missing: list[str]) -> Benchmark:
    file = make_file(here, "large/file", FILE_SIZE)
    us, *peers = builds(options, here, "large", "FROM {base}\nCOPY file /srv/\n", fresh=True)
    copy = f"cp --reflink=never {file} $new/copy"
    one = "one copy, where we write two, a layer and an archive; no digest"
    copies = [
        anew(here, "cp", copy, f"{one}, and it waits for no disk"),
        anew(here, "cp, sync", f"{copy} && sync $new/copy", one),
    ]
    return measure(
        f"COPY of one file of {FILE_SIZE >> 20} MiB",
        [
            replace(us, omits=f"{us.omits}; waits until what it wrote is on the disk"),
            *(replace(peer, rounds=FEW_ROUNDS) for peer in peers),
            *copies,
        ],
        options,
        goals=FILE_GOALS,
        missing=missing,
        after=here.forget,
    )


if __name__ == "__main__":
    sys.exit(main())
