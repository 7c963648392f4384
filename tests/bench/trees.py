"""Trees of files for benchmarks: the same every time, and nothing that compresses."""

from __future__ import annotations

import os
import random

from tests.bench.peers import Place

FILES, FILE_SIZE = 8700, 19_800  # about a base system's: 172 MB


def make_tree(here: Place, name: str) -> str:
    """Such files, thirty to a directory; returns where they are."""
    source = random.Random(FILES)
    for number in range(FILES):
        folder = f"{here.path}/{name}/{number // 30:03}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/{number % 30:02}", "wb") as file:
            file.write(source.randbytes(FILE_SIZE))
    return f"{here.path}/{name}"
