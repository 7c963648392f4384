"""cold builds: ten instructions, stages that could be built at once, many layers.

Everything is done anew each time: we with `--no-cache`, the peers with theirs. Run it as
tests/bench/run cold_build.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from tests.bench.harness import (
    Benchmark,
    Command,
    Goal,
    Options,
    measure,
)
from tests.bench.noop_build import CONTAINERFILE
from tests.bench.peers import (
    Place,
    our_image,
    reasons,
    run,
    set_up_engines,
)

FEW_LAYERS = 10
Measure = Callable[[Options, Place, list[str]], Benchmark]
COLD_GOALS = (
    Goal(peer="buildah bud, push", at_most=0.12),
    Goal(peer="BuildKit", at_most=0.6),
    Goal(peer="BuildKit, docker save", at_most=0.2),
)


def main() -> int:
    """Set up, measure, print."""
    measures = [
        _ten,
        *(_stages(count) for count in (2, 4)),
        *(_layers(count) for count in (10, 50, 100)),
    ]
    return run_builds(__doc__, measures)


def run_builds(description: str | None, measures: Sequence[Measure]) -> int:
    """Give us and each peer the base image, measure, print; returns the exit status."""

    def measured(options: Options, here: Place) -> list[Benchmark]:
        our_image(options, here)
        missing = reasons(set_up_engines(here))
        return [each(options, here, missing) for each in measures]

    return run(description, ("buildah", "podman", "docker"), measured)


def _ten(options: Options, here: Place, missing: list[str]) -> Benchmark:
    here.write("ten/one", "one file\n")
    for number in range(100):
        here.write(f"ten/many/{number}", f"file {number}\n" * 80)
    us, *peers = builds(options, here, "ten", CONTAINERFILE)
    exported = [_exported(here, peers[0]), _saved(here, peers[-1])]
    return measure(
        "cold-10: ten instructions, four of them RUN, to an archive",
        [us, *exported, *peers, *options.interpreters()],
        options,
        goals=COLD_GOALS,
        missing=missing,
    )


def _stages(count: int) -> Measure:
    def run(options: Options, here: Place, missing: list[str]) -> Benchmark:
        stages = "".join(
            f"FROM {{base}} AS s{n}\nRUN sleep 2; echo {n} > /made\n" for n in range(count)
        )
        copies = "".join(f"COPY --from=s{n} /made /{n}\n" for n in range(count))
        here.write(f"stages-{count}/one", "")
        text = f"{stages}FROM {{base}}\n{copies}"
        commands = builds(options, here, f"stages-{count}", text, jobs=count)
        title = f"{count} independent stages that sleep for 2 s (goal: at most 2150 ms)"
        return measure(title, commands, options, missing=missing)

    return run


def _layers(count: int) -> Measure:
    def run(options: Options, here: Place, missing: list[str]) -> Benchmark:
        here.write(f"layers-{count}/one", "one file\n")
        copies = "".join(f"COPY one /{number}\n" for number in range(count))
        commands = builds(options, here, f"layers-{count}", f"FROM {{base}}\n{copies}")
        # Theirs grow with the square: minutes each, which say nothing new.
        commands = commands if count <= FEW_LAYERS else commands[:1]
        title = f"{count} layers of one file each (goal: 100 take at most 11 times as long as 10)"
        return measure(title, commands, options, missing=missing)

    return run


def builds(
    options: Options,
    here: Place,
    name: str,
    text: str,
    *,
    jobs: int = 0,
    fresh: bool = False,
    cached: bool = False,
) -> list[Command]:
    """Ours first; each builds the same file without its cache, or we with an empty store.

    `cached`: each with what a build before has left.

    A layer that the store has already is made again and thrown away. That costs what deleting its
    files costs, and on ext4 more: it does not give their inodes out again for a minute or more,
    and passes over them one by one (fs/ext4/ialloc.c, recently_deleted). Peers keep all they make.
    """
    base = f"{here.path}/base.tar" if fresh else "base"
    ours = here.write(f"{name}.{'fresh' if fresh else 'ours'}", text.format(base=base))
    theirs = here.write(f"{name}.theirs", text.format(base="localhost/base"))
    context = f"{here.path}/{name}"
    choices = (
        *(() if cached else ("--no-cache",)),
        *((f"--jobs={jobs}",) if jobs else ()),
    )
    argv = (
        *(options.pybuild, "-q", *choices, "-f", ours),
        *("-o", f"{here.path}/{name}.tar", context),
    )
    if fresh:
        store = f"PYBUILD_ROOT=$(mktemp -d {here.path}/store-XXXXXX)"
        argv = ("sh", "-c", f'{store} exec "$@"', "sh", *argv)
    omits = "writes an archive; imports the base image first" if fresh else "writes an archive"
    commands = [Command(name="pybuild", argv=argv, omits=omits, env=here.env)]
    build = (
        *(*choices, "--layers", "--isolation=chroot", "--quiet"),
        *(f"--tag=localhost/{name}", f"--file={theirs}", context),
    )
    for peer, verb in (("buildah", "bud"), ("podman", "build")):
        # They print an id that depends on the time.
        words = " ".join((*here.engine(peer), verb, *build))
        commands.append(
            Command(
                name=f"{peer} {verb}",
                argv=("sh", "-c", f"{words} > /dev/null"),
                omits="writes no archive",
                env=here.env,
            )
        )
    commands.append(_buildkit(name, theirs, context, cached=cached))
    return commands


def _buildkit(name: str, containerfile: str, context: str, *, cached: bool) -> Command:
    """Docker's builder, through the daemon that answers."""
    words = (
        *("docker", "build", "--quiet", "--network=host", *(() if cached else ("--no-cache",))),
        *(f"--tag=localhost/{name}", f"--file={containerfile}", context),
    )
    return Command(
        name="BuildKit",
        argv=("sh", "-c", f"{' '.join(words)} > /dev/null"),
        omits="writes no archive; CPU time is the client's only",
        env={"DOCKER_BUILDKIT": "1"},
    )


def _exported(here: Place, peer: Command) -> Command:
    """buildah's build and its export."""
    words = ("push", "--quiet", "localhost/ten", f"oci-archive:{here.path}/t.tar")
    push = " ".join((*here.engine("buildah"), *words))
    return Command(
        name="buildah bud, push",
        argv=("sh", "-c", f"{peer.argv[2]} && rm -f {here.path}/t.tar && {push} > /dev/null"),
        omits="writes an archive with compressed layers, its only kind",
        env=here.env,
    )


def _saved(here: Place, peer: Command) -> Command:
    """BuildKit's build, and the archive of `docker save`."""
    archive = f"{here.path}/saved.tar"
    return Command(
        name="BuildKit, docker save",
        argv=("sh", "-c", f"{peer.argv[2]} && docker save -o {archive} localhost/ten"),
        omits="writes an archive; CPU time is the client's only",
        env=peer.env,
    )


if __name__ == "__main__":
    sys.exit(main())
