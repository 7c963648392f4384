"""registry: images pushed to a registry on this machine and pulled from it, beside skopeo.

Needs docker-registry. The image has two layers of 200 MB and ten of 1 MB, all compressed, of which
nobody compresses anything. Run it as tests/bench/run registry.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.bench.harness import Benchmark, BenchmarkError, Command, Goal, Options, measure
from tests.bench.peers import Place, anew, run
from tests.runtime.registry.registries import PROGRAM, Registry, running_registry

_LARGE, _SMALL = 200, 1  # MB
_GOAL = (Goal(peer="skopeo copy", at_most=1.0),)


def main() -> int:
    """Set up, measure, print."""
    return run(__doc__, ("skopeo",), _measured)


def _measured(options: Options, here: Place) -> list[Benchmark]:
    if not PROGRAM:
        raise BenchmarkError("needs docker-registry")
    with running_registry(Path(here.path, "registry")) as registry:
        return list(_benchmarks(options, here, registry))


def _benchmarks(options: Options, here: Place, registry: Registry) -> list[Benchmark]:
    sizes = [_LARGE, _LARGE, *[_SMALL] * 10]
    lines = ["FROM scratch"]
    for number, size in enumerate(sizes):
        with open(f"{here.path}/f{number}", "wb") as file:
            for _ in range(size):
                file.write(os.urandom(1 << 20))
        lines.append(f"COPY f{number} /")
    here.write("Containerfile", "\n".join(lines) + "\n")
    store, name = f"{here.path}/store", f"{registry.host}/bench/image:1"
    archive = f"{here.path}/image.tar"
    here.call(
        options.pybuild, "--root", store, "-q", "--compression=gzip:1", "-t", name,
        "-o", archive, "--push", here.path,
    )  # fmt: skip
    fresh = f"{registry.host}/bench/$(basename $new | tr A-Z a-z):1"
    skopeo = "skopeo copy -q --src-tls-verify=false --dest-tls-verify=false"
    push = f"{options.pybuild} push --root {store} -q {name}"
    remembered = _skopeo_memory(here)
    pull = f"{options.pybuild} pull -q --root"
    return [
        measure(
            "push: 410 MB into a new repository, with another one known to have them",
            [
                anew(here, "pybuild push", f"{push} {fresh}", "from the store"),
                anew(
                    here,
                    "skopeo copy",
                    f"{skopeo} oci-archive:{archive} docker://{fresh}",
                    "from an archive",
                ),
            ],
            options,
            goals=_GOAL,
        ),
        measure(
            "push: 410 MB into a new repository, with nothing remembered of others",
            [
                anew(
                    here,
                    "pybuild push",
                    f"rm -rf {store}/origins; {push} {fresh}",
                    "from the store",
                ),
                anew(
                    here,
                    "skopeo copy",
                    f"rm -f {remembered}; {skopeo} oci-archive:{archive} docker://{fresh}",
                    "from an archive",
                ),
            ],
            options,
            goals=_GOAL,
        ),
        measure(
            "push again: everything is there",
            [
                Command(name="pybuild push", argv=("sh", "-c", f"{push} > /dev/null")),
                Command(
                    name="skopeo copy",
                    argv=("sh", "-c", f"{skopeo} oci-archive:{archive} docker://{name}"),
                ),
            ],
            options,
            goals=_GOAL,
        ),
        measure(
            "pull: 410 MB into a new store",
            [
                anew(here, "pybuild pull", f"{pull} $new/store {name}", "synced to the disk"),
                anew(
                    here,
                    "skopeo copy",
                    f"{skopeo} docker://{name} oci:$new/layout:1",
                    "into a layout, not synced",
                ),
            ],
            options,
            goals=_GOAL,
            after=here.forget,
        ),
    ]


def _skopeo_memory(here: Place) -> str:
    """Where skopeo remembers who has which blob: a file that is not this machine's own."""
    folder = "/var/lib/containers/cache"  # of root's, whatever HOME says
    os.makedirs(folder, exist_ok=True)
    here.call("mount", "-t", "tmpfs", "none", folder)
    return f"{folder}/blob-info-cache-v1.boltdb"


if __name__ == "__main__":
    sys.exit(main())
