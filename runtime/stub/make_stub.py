"""`python -m runtime.stub.make_stub`: compiles stub.c for every architecture.

Writes `ARCHITECTURE.bin`, the machine code alone, and `built-with.txt`, which says what made it.
The same compiler gives the same bytes. Needs gcc and, for the architecture that the machine is
not, Debian's `gcc-aarch64-linux-gnu` or `gcc-x86-64-linux-gnu`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from runtime.stub.enter import BASE, HEADERS_SIZE

HERE = Path(__file__).parent
FLAGS = {
    "x86_64": ("-march=x86-64", "-mgeneral-regs-only", "-fcf-protection=none"),
    # Code may lie at any address, not only at the start of a page.
    "aarch64": (
        "-march=armv8-a",
        "-mgeneral-regs-only",
        "-mbranch-protection=none",
        "-mcmodel=tiny",
    ),
}
COMMON = (
    "-std=gnu17 -Os -Wall -Wextra -Werror -ffreestanding -nostdlib -static -no-pie -fno-pic "
    "-fno-stack-protector -fno-asynchronous-unwind-tables -fno-unwind-tables -fno-ident "
    "-fno-tree-loop-distribute-patterns -fomit-frame-pointer -fmerge-all-constants "
    "-Wl,--build-id=none"
).split()
# One piece, at the address that enter.py gives it; `block` begins where the code ends.
LINKER_SCRIPT = f"""\
ENTRY(_start)
SECTIONS {{
    . = {BASE + HEADERS_SIZE:#x};
    .code : {{
        *(.text.start) *(.text .text.*) *(.rodata .rodata.*)
        . = ALIGN(8);
        block = .;
    }}
    .writable : {{ *(.data .data.* .bss .bss.* COMMON .got .got.*) }}
    /DISCARD/ : {{ *(*) }}
}}
ASSERT(ADDR(.code) == {BASE + HEADERS_SIZE:#x}, "moved by an alignment: enter.py does not know")
ASSERT(SIZEOF(.writable) == 0, "nothing can be written: the one segment is read-only")
"""


def compiler(machine: str) -> str:
    """Name of the compiler for an architecture; "" if there is none."""
    prefixed = f"{machine.replace('_', '-')}-linux-gnu-gcc"
    return (
        shutil.which(prefixed)
        or (shutil.which("gcc") if machine == os.uname().machine else "")
        or ""
    )


def versions(machine: str) -> str:
    """The versions of compiler and linker, on which the machine code depends; "" for none."""
    gcc = compiler(machine)
    if not gcc:
        return ""
    linker = _output(gcc, "-print-prog-name=ld").strip()
    return ", ".join(
        _output(program, "--version").splitlines()[0].partition(" ")[2]
        for program in (gcc, linker)
    )


def recipe() -> str:
    """Digest of all that the machine code depends on beside the compilers."""
    parts = ((HERE / "stub.c").read_text(encoding="utf-8"), LINKER_SCRIPT, str(COMMON), str(FLAGS))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def compile_stub(machine: str) -> bytes:
    """The machine code for an architecture, with its compiler as it is on this machine."""
    with tempfile.TemporaryDirectory() as scratch:
        script, linked, code = (Path(scratch, name) for name in ("stub.lds", "stub", "stub.bin"))
        script.write_text(LINKER_SCRIPT, encoding="utf-8")
        gcc = compiler(machine)
        argv = [gcc, *COMMON, *FLAGS[machine], "-T", str(script), "stub.c", "-o", str(linked)]
        subprocess.run(argv, cwd=HERE, check=True)
        # Not ld --oformat=binary, which the one for aarch64 does not have.
        objcopy = _output(gcc, "-print-prog-name=objcopy").strip()
        subprocess.run([objcopy, "-O", "binary", "-j", ".code", linked, code], check=True)
        return code.read_bytes()


def _output(*argv: str) -> str:
    return subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout


def main() -> int:
    """Compile all architectures; nothing is written unless every compiler is there."""
    missing = [machine for machine in FLAGS if not compiler(machine)]
    if missing:
        print(f"make_stub: no compiler for {', '.join(missing)}", file=sys.stderr)
        return 1
    code = {machine: compile_stub(machine) for machine in FLAGS}
    lines = [f"recipe {recipe()}"]
    for machine, content in code.items():
        (HERE / f"{machine}.bin").write_bytes(content)
        lines.append(f"{machine} {versions(machine)}")
        print(f"{machine}: {len(content)} bytes")
    (HERE / "built-with.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
