"""cold-run: an image.tar that was never seen, until its command has ended.

The image is made for the purpose: busybox, and 8,700 files in 290 directories, 172 MB. Each run
has an empty store, and its peers empty storage. The same without root is `rootless`. Run it as
tests/bench/run cold_run.
"""

from __future__ import annotations

import sys

from tests.bench.harness import (
    Benchmark,
    Command,
    Goal,
    Options,
    measure,
)
from tests.bench.peers import CGROUP_PARENT, Place, anew, run
from tests.bench.trees import FILE_SIZE, FILES, make_tree


def main() -> int:
    """Set up, measure, print."""
    return run(__doc__, ("podman", "skopeo", "umoci", "runc"), _measured, groups=True)


def _measured(options: Options, here: Place) -> list[Benchmark]:
    archive = image(options, here)
    return [
        _measure(options, here, archive, "verified", ("--verify=auto",), 1 / 12),
        _measure(options, here, archive, "not verified", ("--verify=never",), 1 / 30),
        _cached(options, here, archive),
    ]


def image(options: Options, here: Place, files: int = FILES, size: int = FILE_SIZE) -> str:
    """An archive of busybox and of so many files, each of `size` bytes; starts `true`."""
    make_tree(here, "tree", files, size)
    text = 'FROM scratch\nCOPY rootfs/ /\nCOPY tree/ /srv/\nCMD ["true"]\n'
    containerfile = here.write("cold.Containerfile", text)
    archive = f"{here.path}/cold.tar"
    here.call(options.pybuild, "-q", "-f", containerfile, "-o", archive, here.path)
    return archive


def _measure(
    options: Options, here: Place, archive: str, title: str, words: tuple[str, ...], goal: float
) -> Benchmark:
    peers = peer_starts(here, archive)
    return measure(
        f"cold-run, {title}: an archive that was never seen, until its command has ended",
        [first_start(options, here, archive, words), *peers],
        options,
        goals=tuple(Goal(peer=peer.name, at_most=goal) for peer in peers),
    )


def _cached(options: Options, here: Place, archive: str) -> Benchmark:
    """With the index that a start before has made; each peer begins anew as above."""
    peers = peer_starts(here, archive)[:1]
    return measure(
        "cold-run, with a cached index",
        [second_start(options, here, archive), *peers],
        options,
        goals=tuple(Goal(peer=peer.name, at_most=1 / 150) for peer in peers),
    )


def first_start(options: Options, here: Place, archive: str, words: tuple[str, ...]) -> Command:
    """Ours, with a store of its own."""
    return anew(
        here,
        f"pyrun {' '.join(words)} image.tar",
        f"PYBUILD_ROOT=$new exec {options.pyrun} {' '.join(words)} {archive}",
        "unpacks nothing",
    )


def second_start(options: Options, here: Place, archive: str) -> Command:
    """Ours, with the store that all its runs have."""
    return Command(
        name="pyrun image.tar, second start",
        argv=(options.pyrun, archive),
        omits="has the index of a start before",
        env=here.env,
    )


def peer_starts(here: Place, archive: str) -> list[Command]:
    """Theirs, with storage of their own."""
    podman = (
        "podman --root=$new/root --runroot=$new/run --tmpdir=$new/tmp --cgroup-manager=cgroupfs"
    )
    run = f"{podman} run --rm --network=none --runtime=runc --cgroup-parent=/{CGROUP_PARENT}"
    return [
        anew(
            here,
            "podman load, run",
            f"image=$({podman} load -q -i {archive}) && {run} ${{image##* }}",
            "compares digests; overlay storage",
        ),
        anew(
            here,
            "podman run docker-archive:",
            f"{run} docker-archive:{archive}",
            "the same in one command",
        ),
        anew(
            here,
            "skopeo, umoci, runc",
            f"skopeo copy -q docker-archive:{archive} oci:$new/layout:x && "
            "umoci unpack --image $new/layout:x $new/bundle && "
            'sed -i \'s/"terminal": true/"terminal": false/\' $new/bundle/config.json && '
            "runc run --bundle $new/bundle bench-$$",
            "compresses the layers on the way",
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
