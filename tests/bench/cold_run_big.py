"""cold-run, big: an image.tar of 480 MB in 48,000 files that was never seen, until `true` ends.

As cold_run, apart from it because a peer takes half a minute. Nothing that a peer unpacks is
deleted before the end, which ext4 would punish (cold_build.builds): needs 10 GB in $TMPDIR. Run it
as tests/bench/run cold_run_big.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from tests.bench.cold_run import first_start, image, peer_starts, second_start
from tests.bench.harness import (
    Benchmark,
    Goal,
    Options,
    measure,
    seen_from,
)
from tests.bench.peers import Place, run

FILES, FILE_SIZE = 48_000, 10_000
FEW_ROUNDS = 3  # of a peer


def main() -> int:
    """Set up, measure, print."""
    return run(__doc__, ("podman", "skopeo", "umoci", "runc"), _measured, groups=True)


def _measured(options: Options, here: Place) -> list[Benchmark]:
    """All in turn, and three tables of it: ours begins in three ways, theirs in one."""
    archive = image(options, here, FILES, FILE_SIZE)
    verified = first_start(options, here, archive, ("--verify=auto",))
    unverified = first_start(options, here, archive, ("--verify=never",))
    again = second_start(options, here, archive)
    peers = [replace(peer, rounds=FEW_ROUNDS) for peer in peer_starts(here, archive)]
    measured = measure("", [verified, unverified, again, *peers], options, ours=3)
    names = [peer.name for peer in peers]
    size = f"{FILE_SIZE * FILES // 1_000_000} MB in {FILES} files"
    return [
        seen_from(
            measured,
            f"cold-run of {size}, {title}",
            [ours.name, *names],
            tuple(Goal(peer=name, at_most=goal) for name in names),
        )
        for ours, title, goal in (
            (verified, "verified", 1 / 12),
            (unverified, "not verified", 1 / 30),
            (again, "with a cached index", 1 / 150),
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
