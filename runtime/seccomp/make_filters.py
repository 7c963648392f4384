"""`python -m runtime.seccomp.make_filters`: compiles default.json into the package."""

from __future__ import annotations

from runtime.seccomp.compile import compile_filter
from runtime.seccomp.load import MACHINES, VARIANTS, shipped
from runtime.seccomp.profile import default_profile


def compiled() -> dict[str, bytes]:
    """The shipped filters: path -> program."""
    return {
        shipped(machine, name): compile_filter(
            default_profile(capabilities, machine=machine), machine=machine
        )
        for machine in MACHINES
        for capabilities, name in VARIANTS.items()
    }


def main() -> None:
    """Write the filters beside the profile."""
    for path, program in compiled().items():
        with open(path, "wb") as file:
            file.write(program)


if __name__ == "__main__":
    main()
