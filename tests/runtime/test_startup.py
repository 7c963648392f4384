"""The modules of a start come from one file, unless anything about them changed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from runtime.startup import kind_of
from tests.support import CHECKOUT, Result, environment, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Start = Callable[..., Result]

# What the installed command does, with a word about where each module came from.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from runtime import startup
startup.take(sys.argv[1:])
from runtime.cli import main
status = main()
names = [n for n in sys.modules if n.startswith("runtime.") and n != "runtime.startup"]
taken = [n for n in names if startup._loader_of(n) is startup._loaded_from]
print(len(taken), len(names), sys.modules["runtime.errors"].__file__, file=sys.stderr)
startup.leave(sys.argv[1:])
raise SystemExit(status)
"""


@pytest.fixture
def package(public: Path) -> Path:
    """A copy of the package, whose byte code is beside it."""
    place = public / "site"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "runtime", place / "runtime", ignore=ignored)
    return place


@pytest.fixture
def start(package: Path) -> Start:
    """`pyrun --version`, or other arguments, by the copy."""

    def call(*arguments: str, variables: Mapping[str, str] | None = None) -> Result:
        env = environment() | dict(variables or {})
        del env["PYTHONPYCACHEPREFIX"]
        argv = [sys.executable, "-c", SCRIPT, str(package), *(arguments or ("--version",))]
        return run(argv, env=env)

    return call


def _counted(result: Result) -> tuple[int, int]:
    assert result.status == 0, result.stderr
    taken, loaded = result.stderr.split()[:2]
    return int(taken), int(loaded)


def _files(package: Path) -> list[str]:
    folder = package / "runtime/__pycache__"
    return sorted(p.name for p in folder.glob("startup.*") if p.suffix != ".pyc")


def test_the_second_start_takes_every_module_from_the_file(start: Start, package: Path) -> None:
    first = start()
    second = start()
    assert _counted(first)[0] == 0
    assert _counted(second)[0] == _counted(second)[1] == _counted(first)[1]
    assert second.stdout == first.stdout
    assert second.stderr.split()[2] == str(package / "runtime/errors.py")
    assert [name.rpartition(".")[2] for name in _files(package)] == ["image"]


def test_a_module_that_changed_is_read_anew_and_then_taken(start: Start, package: Path) -> None:
    start()
    source = package / "runtime/command_line.py"
    source.write_text(source.read_text().replace("usage: pyrun [", "usage: changed ["))
    taken, loaded = _counted(start())
    assert taken == loaded - 1
    assert start("--help").stdout.startswith("usage: changed [")
    assert _counted(start()) == (loaded, loaded)


@pytest.mark.parametrize("damage", [b"", b"\0", b"no", None])
def test_a_damaged_file_is_as_none(damage: bytes | None, start: Start, package: Path) -> None:
    start()
    (name,) = _files(package)
    path = package / "runtime/__pycache__" / name
    path.write_bytes(path.read_bytes()[:-9] if damage is None else damage)
    assert _counted(start())[0] == 0
    taken, loaded = _counted(start())
    assert taken == loaded


def test_a_copy_at_another_place_does_not_take_it(start: Start, package: Path) -> None:
    start()
    (name,) = _files(package)
    content = (package / "runtime/__pycache__" / name).read_bytes()
    moved = package.with_name("moved")
    shutil.copytree(package, moved)
    assert (moved / "runtime/__pycache__" / name).read_bytes() == content
    env = environment()
    del env["PYTHONPYCACHEPREFIX"]
    result = run([sys.executable, "-c", SCRIPT, str(moved), "--version"], env=env)
    assert _counted(result)[0] == 0


def test_nothing_is_written_where_byte_code_is_not_wanted(start: Start, package: Path) -> None:
    assert _counted(start(variables={"PYTHONDONTWRITEBYTECODE": "1"}))[0] == 0
    assert not (package / "runtime/__pycache__").exists()


@pytest.mark.needs_root
def test_who_may_not_write_there_starts_all_the_same(package: Path, public: Path) -> None:
    env = environment()
    del env["PYTHONPYCACHEPREFIX"]
    argv = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    argv += [sys.executable, "-c", SCRIPT, str(package), "--version"]
    for _ in range(2):
        assert _counted(run(argv, env=env))[0] == 0
    assert not os.path.exists(package / "runtime/__pycache__")


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["image.tar", "exec"], "image"),
        (["oci", "--root", "x", "exec", "id", "run"], "exec"),
        (["oci", "run", "id"], "run"),
        (["oci", "features"], None),
        (["oci"], None),
    ],
)
def test_a_start_is_of_this_kind(arguments: list[str], kind: str | None) -> None:
    assert kind_of(arguments) == kind
