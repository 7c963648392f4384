"""memory: the most that a process of a command had in memory at once (getrusage(2), ru_maxrss).

One file of 1 MB, and one of 1 GB, are copied into an image, which is then started. Run it as
tests/bench/run memory.
"""

from __future__ import annotations

import os
import sys

from tests.bench.harness import BenchmarkError, environment, machine, parse_options
from tests.bench.peers import Place, cgroups, import_root, our_image, place, versions

SIZES = (("1 MB", 1_000_000), ("1 GB", 1_000_000_000))


def main() -> int:
    """Set up, measure, print."""
    options = parse_options(__doc__)
    try:
        with place() as here, cgroups():
            our_image(options, here)
            import_root(here, "buildah")
            import_root(here, "podman")
            facts = machine() | dict(versions(options, "buildah", "podman"))
            print("\n".join(f"- {name}: {value}" for name, value in facts.items()), end="\n\n")
            print("| command | a file of | MB |\n| --- | --- | --: |")
            for title, size in SIZES:
                context = f"{here.path}/{size}"
                os.mkdir(context)
                with open(f"{context}/file", "wb") as file:
                    file.truncate(size)
                ours = here.write(f"{size}.ours", "FROM base\nCOPY file /\n")
                theirs = here.write(f"{size}.theirs", "FROM localhost/base\nCOPY file /\n")
                image = f"{here.path}/{size}.tar"
                build = ("-q", "-f", ours, "-o", image, context)
                bud = ("bud", "--quiet", "--isolation=chroot", "-t", "x", "-f", theirs, context)
                for name, argv in (
                    ("pybuild", (options.pybuild, *build)),
                    ("pyrun, first start", (options.pyrun, image, "true")),
                    ("pyrun, second start", (options.pyrun, image, "true")),
                    ("buildah bud", here.engine("buildah", *bud)),
                    ("podman load", here.engine("podman", "load", "-q", "-i", image)),
                ):
                    print(f"| {name} | {title} | {_peak(here, argv):.1f} |")
    except BenchmarkError as error:
        sys.stderr.write(f"memory: {error}\n")
        return 1
    return 0


def _peak(here: Place, argv: tuple[str, ...]) -> float:
    """Megabytes of the largest process that a command started or was."""
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1):
            os.dup2(null, fd)
        try:
            os.execvpe(argv[0], argv, environment(here.env))
        finally:
            os._exit(127)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise BenchmarkError(f"{argv[0]}: ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss / 1000


if __name__ == "__main__":
    sys.exit(main())
