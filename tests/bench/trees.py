"""Trees of files for benchmarks: the same every time, and nothing that compresses."""

from __future__ import annotations

import os
import random

from tests.bench.peers import Place

FILES, FILE_SIZE = 8700, 19_800  # about a base system's: 172 MB


def make_tree(here: Place, name: str, files: int = FILES, size: int = FILE_SIZE) -> str:
    """Such files, thirty to a directory; returns where they are."""
    source = random.Random(files)
    for number in range(files):
        folder = f"{here.path}/{name}/{number // 30:03}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/{number % 30:02}", "wb") as file:
            file.write(source.randbytes(size))
    return f"{here.path}/{name}"


def make_file(here: Place, name: str, size: int) -> str:
    """One file of `size` bytes, all of them written: a mebibyte over and over."""
    block = random.Random(size).randbytes(1 << 20)
    path = here.write(name, "")
    with open(path, "wb") as file:
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
    return path
