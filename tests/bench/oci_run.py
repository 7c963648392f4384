"""oci-run: `run` of one and the same bundle by each OCI runtime; its process is `true`.

Run it as tests/bench/run oci_run.
"""

from __future__ import annotations

import sys

from tests.bench.bundles import our_bundle
from tests.bench.harness import (
    Benchmark,
    Command,
    Goal,
    Options,
    measure,
)
from tests.bench.peers import Place, our_image, run

GOALS = (Goal(peer="crun run", at_most=1.5), Goal(peer="runc run", at_most=0.5))


def main() -> int:
    """Set up, measure, print."""
    return run(__doc__, ("crun", "runc"), _measured, groups=True)


def _measured(options: Options, here: Place) -> list[Benchmark]:
    our_image(options, here)
    commands = []
    for name, program in (("pyrun-oci", options.pyrun_oci), ("crun", ""), ("runc", "")):
        bundle = our_bundle(options, here, f"oci-{name}", "true")
        commands.append(
            Command(
                name=f"{name} run",
                argv=(
                    *(program or name, f"--root={here.path}/state-{name}"),
                    *("run", f"--bundle={bundle}", f"bench-{name}"),
                ),
                omits="our seccomp profile (compiled anew), a control group in every "
                "hierarchy, all namespaces, masks, capabilities; no overlay, no image"
                if program == ""
                else "the same; the compiled profile is in a cache",
                env=here.env,
            )
        )
    benchmark = measure(
        "oci-run: `run` of the same bundle, `true` exits",
        [*commands, *options.interpreters()],
        options,
        goals=GOALS,
    )
    return [benchmark]


if __name__ == "__main__":
    sys.exit(main())
