"""no-op: a rebuild of ten instructions over a base image when nothing has changed.

Four RUN, two COPY of 101 files in all, ENV, WORKDIR, CMD and FROM; once more with 10,000 files.
Run it as tests/bench/run noop_build.
"""

from __future__ import annotations

import os
import sys

from tests.bench.harness import (
    Benchmark,
    BenchmarkError,
    Command,
    Goal,
    Options,
    measure,
)
from tests.bench.peers import (
    Place,
    our_image,
    reasons,
    run,
    set_up_engines,
)

CONTAINERFILE = """\
FROM {base}
ENV STAGE=bench
WORKDIR /srv
COPY one /srv/one
RUN echo 1 > /srv/1
COPY many /srv/many
RUN echo 2 > /srv/2
RUN echo 3 > /srv/3
RUN echo 4 > /srv/4
CMD ["true"]
"""
GOALS = (
    Goal(peer="python3 -I -S -c pass", at_most=2.5),
    Goal(peer="buildah bud", at_most=1 / 60),
    Goal(peer="docker build", at_most=1 / 8),
    Goal(peer="BuildKit", at_most=1 / 8),
)


def main() -> int:
    """Set up, measure, print."""
    return run(__doc__, ("buildah", "podman", "docker"), _measured)


def _measured(options: Options, here: Place) -> list[Benchmark]:
    our_image(options, here)
    missing = set_up_engines(here)
    return [_measure(options, here, count, missing) for count in (100, 10_000)]


def _measure(options: Options, here: Place, count: int, missing: dict[str, str]) -> Benchmark:
    """Measure with a context of `count` files and one more."""
    context = f"context-{count}"
    here.write(f"{context}/one", "one file\n")
    for number in range(count):
        # A directory for each hundred, and a kilobyte each: about what sources are.
        text = f"file {number}\n" * 80
        here.write(f"{context}/many/{number // 100}/{number % 100}", text)
    ours = here.write(f"ours-{count}", CONTAINERFILE.format(base="base"))
    theirs = here.write(f"theirs-{count}", CONTAINERFILE.format(base="localhost/base"))
    path = f"{here.path}/{context}"
    archive = f"{here.path}/{context}.tar"
    us = Command(
        name="pybuild",
        argv=(options.pybuild, "-q", "-f", ours, "-o", archive, path),
        omits="looks at the status of every file, finds that the archive is up to date",
        env=here.env,
    )
    peers = [each for each in _peers(here, count, theirs, path) if each.argv[0] not in missing]
    benchmark = measure(
        f"no-op: rebuild of 10 instructions, a context of {count + 1} files, nothing changed",
        [us, *peers, *options.interpreters()],
        options,
        goals=GOALS if count == 100 else (),
        missing=reasons(missing),
    )
    if not os.path.exists(archive):
        raise BenchmarkError(f"{archive}: pybuild made none")
    return benchmark


def _peers(here: Place, count: int, containerfile: str, context: str) -> list[Command]:
    no_archive = "writes no archive"
    image = f"localhost/bench-{count}"
    build = (
        "--layers", "--isolation=chroot", "--quiet", f"--tag={image}",
        f"--file={containerfile}", context,
    )  # fmt: skip
    docker = (
        *("docker", "build", "--quiet", "--network=host", f"--tag={image}"),
        *(f"--file={containerfile}", context),
    )
    return [
        Command(
            name="buildah bud",
            argv=(*here.engine("buildah"), "bud", *build),
            omits=no_archive,
            env=here.env,
        ),
        Command(
            name="podman build",
            argv=(*here.engine("podman"), "build", *build),
            omits=no_archive,
            env=here.env,
        ),
        Command(
            name="docker build",
            argv=docker,
            omits=f"{no_archive}; CPU time is the client's only",
            env={"DOCKER_BUILDKIT": "0"},
        ),
        Command(
            name="BuildKit",
            argv=docker,
            omits=f"{no_archive}; CPU time is the client's only",
            env={"DOCKER_BUILDKIT": "1"},
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
