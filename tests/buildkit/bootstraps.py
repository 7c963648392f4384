"""What the tests of BOOTSTRAP share: repositories in a context, packages in an image."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.buildkit.support import Image, Pybuild, mounts
from tests.buildkit.traces import traces
from tests.support import Result

DBPATH = "usr/lib/sysimage/rpm"
KEY = "RPM-GPG-KEY-test"


def add_tiny(pybuild: Pybuild, tiny: Path) -> str:
    """Put the key of the tiny repository into a context; the flags that name the repository."""
    shutil.copy2(tiny / KEY, pybuild.context)
    return f"--releasever=24 --key={KEY} --repo=id=tiny,url=file://{tiny}/repo"


@contextmanager
def database(image: Image, dbpath: str = DBPATH) -> Iterator[Path]:
    """The package database of an image, in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "rpmdb.sqlite").write_bytes(image.read(f"{dbpath}/rpmdb.sqlite"))
        yield Path(directory)


def query(image: Image, form: str, dbpath: str = DBPATH) -> list[str]:
    """What rpm says of an image's packages but keys, in lines of a query format; sorted."""
    with database(image, dbpath) as place:
        argv = ["rpm", "--dbpath", str(place), "-qa", "--qf", "%{NAME}\t" + form + "\n"]
        ended = subprocess.run(argv, check=True, capture_output=True, text=True)
    lines = (line.split("\t", 1) for line in ended.stdout.splitlines())
    return sorted(text for name, text in lines if name != "gpg-pubkey")


def installed(image: Image, dbpath: str = DBPATH) -> set[str]:
    """The names of an image's packages."""
    return set(query(image, "%{NAME}", dbpath))


def fails(
    pybuild: Pybuild,
    text: str,
    status: int,
    *words: str,
    arguments: Sequence[str] = (),
    **choices: object,
) -> Result:
    """A build that ends with a status and says these words, without a traceback or an image."""
    ended = pybuild.try_build(text, *arguments, **choices)
    assert ended.status == status, ended.stderr
    for word in words:
        assert word in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    assert "internal error" not in ended.stderr
    assert not pybuild.output.exists()
    return ended


def fails_and_leaves_nothing(
    pybuild: Pybuild, text: str, status: int, *words: str, **choices: Any
) -> str:
    """The same with a store that has nothing of it, and no mount; what it said."""
    ended = fails(pybuild, text, status, *words, **choices)
    for folder in ("tmp", "layers", "blobs/sha256"):
        assert os.listdir(pybuild.store / folder) == []
    assert mounts(pybuild.directory) == []
    return ended.stderr


def is_nowhere(pybuild: Pybuild, secret: str, *said: str) -> None:
    """Not in a file of the store, its name, the image, or what was said."""
    for text in said:
        assert secret not in text
    assert traces(secret, pybuild.store, pybuild.work) == []
