"""memory: the most that a process of a command had in memory at once (getrusage(2), ru_maxrss).

One file of 1 MB, and one of 1 GB, are copied into an image, which is then started. Run it as
tests/bench/run memory.
"""

from __future__ import annotations

import os
import sys

from tests.bench.harness import BenchmarkError, Options, machine, parse_options
from tests.bench.peers import Place, cgroups, import_root, our_image, place, versions

SIZES = (("1 MB", 1_000_000), ("1 GB", 1_000_000_000))
# Starts the command in the place of this process: ru_maxrss outlives execve(2), so that a child of
# ours had our 12 MB at least. This interpreter has 9 MB; no figure can be below that.
_PROBE = """\
import os, sys
null = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[null])
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss)
sys.exit(status != 0)
"""


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
                    print(f"| {name} | {title} | {peak(options, here, argv):.1f} |")
    except BenchmarkError as error:
        sys.stderr.write(f"memory: {error}\n")
        return 1
    return 0


def peak(options: Options, here: Place, argv: tuple[str, ...]) -> float:
    """Megabytes of the largest process that a command started or was."""
    python = options.interpreters()[0].argv[0]
    return int(here.call(python, "-I", "-S", "-c", _PROBE, *argv)) / 1000


if __name__ == "__main__":
    sys.exit(main())
