"""`python -m runtime.seccomp.make_filters`: compiles default.json into the package, and the
filters of `installing`.
"""

from __future__ import annotations

from runtime.seccomp.compile import compile_filter
from runtime.seccomp.installing import FILTERS
from runtime.seccomp.load import MACHINES, VARIANTS, shipped
from runtime.seccomp.profile import default_profile


def compiled() -> dict[str, bytes]:
    """The shipped filters: path -> program."""
    defaults = {
        shipped(machine, name): compile_filter(
            default_profile(capabilities, machine=machine), machine=machine
        )
        for machine in MACHINES
        for capabilities, name in VARIANTS.items()
    }
    installing = {
        shipped(machine, name): compile_filter(
            make_profile(machine), machine=machine, listened=True
        )
        for machine in MACHINES
        for name, make_profile in FILTERS.items()
    }
    return defaults | installing


def main() -> None:
    """Write the filters beside the profile."""
    for path, program in compiled().items():
        with open(path, "wb") as file:
            file.write(program)


if __name__ == "__main__":
    main()
