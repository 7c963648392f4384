"""Which programs do it: apt-get and mmdebstrap, of this machine or of an image with tools."""

from __future__ import annotations

from buildkit.bootstrap.managers import find_in
from buildkit.errors import HostError

RESOLVER = "apt-get"
# mmdebstrap goes on without mount(8), and scripts then miss /proc and devices.
INSTALLERS = ("mmdebstrap", "mount")
PROGRAMS = (RESOLVER, *INSTALLERS)


def check_programs(tools: tuple[str, ...], names: tuple[str, ...] = PROGRAMS) -> None:
    """Raise HostError if one of them is missing; `tools` are layers of an image, highest first."""
    for name in names:
        if find_in(name, tools) is None:
            where = "the image of --tools" if tools else "this machine"
            package = {RESOLVER: "apt"}.get(name, name)
            hint = f"Debian's package {package} has it"
            if not tools:
                hint = f"install it (Debian: apt-get install {package}), or give --tools=IMAGE"
            raise HostError(
                f"BOOTSTRAP --manager=apt needs {name}, and {where} has none", hint=hint
            )
