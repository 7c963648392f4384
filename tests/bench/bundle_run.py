"""bundle-run: an OCI runtime's `run` of an unpacked bundle whose command is `true`.

Run it as tests/bench/run bundle_run.
"""

from __future__ import annotations

import sys

from tests.bench.harness import (
    BenchmarkError,
    Command,
    Goal,
    Options,
    machine,
    measure,
    parse_options,
    publish,
)
from tests.bench.peers import Place, bundle_of_ours, cgroups, our_image, place, versions

GOALS = (Goal(peer="crun", at_most=1.5),)


def main() -> int:
    """Set up, measure, print."""
    options = parse_options(__doc__)
    before = machine()
    try:
        with place(options) as here, cgroups():
            benchmark = measure(
                "bundle-run: run of a bundle, `true` exits",
                [*_commands(options, here), *options.interpreters()],
                options,
                goals=GOALS,
                missing=[],
            )
    except BenchmarkError as error:
        sys.stderr.write(f"bundle_run: {error}\n")
        return 1
    publish(options, before, versions(options, "crun", "runc"), [benchmark])
    return 0


def _commands(options: Options, here: Place) -> list[Command]:
    """All three on one bundle: the same filter, paths, capabilities and root."""
    our_image(options, here)
    bundle = bundle_of_ours(here, "true")
    ours = Command(
        name="pyrun-oci",
        argv=(f"{options.venv}/bin/pyrun-oci", "run", f"--bundle={bundle}", "bench-pyrun"),
        omits="nothing: a control group in every hierarchy, as crun and runc",
        env=here.env,
    )
    peers = [
        Command(
            name=runtime,
            argv=(runtime, "run", f"--bundle={bundle}", f"bench-{runtime}"),
            omits="compiles the filter at each start",
        )
        for runtime in ("crun", "runc")
    ]
    return [ours, *peers]


if __name__ == "__main__":
    sys.exit(main())
