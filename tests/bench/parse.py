"""parse: reading a Containerfile of 1,000 instructions, beside one of two.

The difference of the first two rows is what the instructions cost; the goal is below 150 ms.
Run it as tests/bench/run parse.
"""

from __future__ import annotations

import sys

from tests.bench.harness import (
    BenchmarkError,
    Command,
    machine,
    measure,
    parse_options,
    publish,
)
from tests.bench.peers import place, versions

_PROGRAM = """
import sys
from grammar import parse
with open(sys.argv[1], "rb") as file:
    containerfile = parse(file.read(), name=sys.argv[1])
print(sum(len(stage.instructions) for stage in containerfile.stages))
"""
_KINDS = (
    "RUN make --jobs {0} && make install DESTDIR=/out/{0}",
    "COPY --chown=app:app src/{0} lib/{0} /srv/{0}/",
    'ENV NAME_{0}="value {0}" PATH_{0}=/opt/{0}:$PATH',
    "LABEL org.example.number.{0}={0}",
    'RUN --mount=type=cache,target=/cache/{0} ["tool", "{0}"]',
)


def main() -> int:
    """Set up, measure, print."""
    options = parse_options(__doc__)
    before = machine()
    python = f"{options.venv}/bin/python"
    try:
        with place() as here:
            lines = [_KINDS[number % len(_KINDS)].format(number) for number in range(999)]
            long = here.write("long", "\n".join(["FROM scratch", *lines, ""]))
            short = here.write("short", "FROM scratch\nRUN true\n")
            commands = [
                Command(name="1,000 instructions", argv=(python, "-c", _PROGRAM, long)),
                Command(name="2 instructions", argv=(python, "-c", _PROGRAM, short)),
                Command(name="import grammar", argv=(python, "-c", "import grammar")),
                *options.interpreters(),
            ]
            benchmark = measure("parse: a Containerfile of 1,000 instructions", commands, options)
    except BenchmarkError as error:
        sys.stderr.write(f"parse: {error}\n")
        return 1
    publish(options, before, versions(options), [benchmark])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
