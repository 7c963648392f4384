"""registry_memory: what push and pull have in memory at most, by the size of a layer.

Of the largest process (ru_maxrss), and of all processes of the command together (their resident
pages added up every 5 ms, so that pages which they share count in each). Needs docker-registry and
6 GB in $TMPDIR. Run it as tests/bench/run registry_memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.harness import BenchmarkError, Options, environment, machine, parse_options
from tests.bench.memory import peak
from tests.bench.peers import Place, place, versions
from tests.runtime.registry.registries import PROGRAM, running_registry

_SIZES = (64 << 20, 512 << 20, 2 << 30)  # bytes
_PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    """Set up, measure, print."""
    options = parse_options(__doc__)
    try:
        if not PROGRAM:
            raise BenchmarkError("needs docker-registry")
        with place() as here, running_registry(Path(here.path, "registry")) as registry:
            facts = machine() | dict(versions(options, "skopeo"))
            print("\n".join(f"- {name}: {value}" for name, value in facts.items()), end="\n\n")
            print("| command | layer of MiB | largest process, MB | all processes, MB |")
            print("| --- | --: | --: | --: |")
            for size in _SIZES:
                _measure(options, here, registry.host, size)
    except BenchmarkError as error:
        sys.stderr.write(f"registry_memory: {error}\n")
        return 1
    return 0


def _measure(options: Options, here: Place, host: str, size: int) -> None:
    context = f"{here.path}/{size}"
    os.mkdir(context)
    with open(f"{context}/file", "wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    text = here.write(f"{size}/Containerfile", "FROM scratch\nCOPY file /\n")
    name, pushed = f"{host}/bench/m{size}:1", f"{host}/bench/m{size}-0:1"
    store = f"{context}/store"
    options_of_build = ("--root", store, "-q", "-f", text, "-t", name)
    here.call(options.pybuild, *options_of_build, context)
    os.unlink(f"{context}/file")
    skopeo = ("skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false")
    for title, argv in (
        ("pybuild push", (options.pybuild, "push", "-q", "--root", store, name)),
        ("pybuild pull", (options.pybuild, "pull", "-q", "--root", f"{context}/NEW", pushed)),
        ("skopeo copy, a pull", (*skopeo, f"docker://{pushed}", f"oci:{context}/NEW:1")),
    ):
        figures = []
        for number, measure in enumerate((peak, _tree_peak)):
            # Each time into a place that is new, and to a repository that has nothing.
            words = [word.replace("NEW", f"new-{number}") for word in argv]
            if title == "pybuild push":
                words.append(f"{host}/bench/m{size}-{number}:1")
                subprocess.run(["rm", "-rf", f"{store}/origins"], check=True)
            figures.append(f"{measure(options, here, tuple(words)):.1f}")
            subprocess.run(["rm", "-rf", f"{context}/new-{number}"], check=True)
        print(f"| {title} | {size >> 20} | {' | '.join(figures)} |", flush=True)
    subprocess.run(["rm", "-rf", context], check=True)


def _tree_peak(_: Options, here: Place, argv: tuple[str, ...]) -> float:
    """Megabytes that a command and its children had at once."""
    most = 0
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, env=environment(here.env)) as process:
        while process.poll() is None:
            most = max(most, sum(map(_resident, _tree(process.pid))))
            time.sleep(0.005)
    if process.returncode:
        raise BenchmarkError(f"{argv[0]}: ended with {process.returncode}")
    return most / 1e6


def _tree(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children", encoding="ascii") as file:
                    found += [int(word) for word in file.read().split()]
        except OSError:  # it has just ended
            continue
    return found


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):  # it has just ended
        return 0


if __name__ == "__main__":
    sys.exit(main())
