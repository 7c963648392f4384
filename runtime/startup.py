"""All modules of one kind of start in one file: importing them takes half of a start otherwise.

Python finds, opens, checks and reads each module's byte code by itself, a dozen system calls each.
Here a start that ends leaves what it had loaded in one file beside that byte code, and the next
start of its kind takes it from there. It is as good as byte code is: a module counts only while
its source has the size and time that it had, the file only for the same interpreter; without the
right to write there, or with PYTHONDONTWRITEBYTECODE, everything is as usual.
"""

from __future__ import annotations

import marshal
import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER, cache_from_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    # Source, its size and time in nanoseconds, whether it is a package, its code marshalled: what
    # another start of this kind needed is not unpacked for this one.
    Entry = tuple[str, int, int, bool, bytes]

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_VERSION = (1, MAGIC_NUMBER, _PACKAGE)
# The verbs of `pyrun oci` that engines wait for; every other kind of start is once in a while.
_VERBS = frozenset({"create", "delete", "exec", "kill", "run", "start", "state"})


class _Finder:
    """A finder and loader (importlib.abc) of the modules in one file."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.entries = entries

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        entry = self.entries.get(name)
        if entry is None or _stamp(entry[0]) != entry[1:3]:
            return None
        spec = ModuleSpec(name, self, origin=entry[0], is_package=entry[3])  # type: ignore[arg-type]
        spec.has_location = True  # so the module gets a __file__
        if entry[3]:
            spec.submodule_search_locations = [os.path.dirname(entry[0])]
        return spec

    def create_module(self, _: ModuleSpec) -> None:
        """Let Python make the module."""

    def exec_module(self, module: ModuleType) -> None:
        exec(marshal.loads(self.entries[module.__name__][4]), module.__dict__)


_loaded_from = _Finder({})


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def kind_of(arguments: list[str]) -> str | None:
    """The kind of a start by `pyrun`'s arguments; None for those that are not kept."""
    if arguments[:1] != ["oci"]:
        return "image"
    return next((word for word in arguments[1:] if word in _VERBS), None)


def _place(kind: str) -> str:
    return f"{cache_from_source(__file__).removesuffix('.pyc')}.{kind}"


def take(arguments: list[str]) -> None:
    """Let the modules of this kind of start come from its file, if there is one."""
    kind = kind_of(arguments)
    if kind is None:
        return
    try:
        with open(_place(kind), "rb", buffering=0) as file:
            version, entries = marshal.loads(file.read())
    except (OSError, ValueError, EOFError, TypeError):
        return  # none yet, or not a whole one
    if version == _VERSION:
        _loaded_from.entries = entries
        sys.meta_path.insert(0, _loaded_from)


def leave(arguments: list[str]) -> None:
    """Write the file of this kind of start anew if it loaded anything else than what came from it.

    For the end of a process: it takes longer than a start.
    """
    kind = kind_of(arguments)
    if kind is None or sys.dont_write_bytecode:
        return
    if not os.access(os.path.dirname(_place(kind)), os.W_OK):
        return  # not ours to write to: as with byte code, the next start takes as long
    names = [n for n in sys.modules if n.startswith("runtime.") and n != "runtime.startup"]
    others = [n for n in names if _loader_of(n) is not _loaded_from]
    if not others:
        return
    entries = {n: e for n, e in _loaded_from.entries.items() if n not in others}
    for name in others:
        entry = _entry_of(name)
        if entry is None:
            return
        entries[name] = entry
    aside = f"{_place(kind)}.{os.getpid()}"
    try:
        with open(aside, "wb") as file:
            file.write(marshal.dumps((_VERSION, entries)))
        os.rename(aside, _place(kind))
    except OSError:
        pass  # a full disk; the next start takes as long as this one


def _loader_of(name: str) -> object:
    spec = sys.modules[name].__spec__
    return None if spec is None else spec.loader


def _entry_of(name: str) -> Entry | None:
    spec = sys.modules[name].__spec__
    get_code = getattr(_loader_of(name), "get_code", None)
    if spec is None or spec.origin is None or get_code is None:
        return None
    # Before the code: if the source changes in between, the entry is of no use and harms nobody.
    stamp = _stamp(spec.origin)
    code = get_code(name)
    if stamp is None or code is None:
        return None
    is_package = spec.submodule_search_locations is not None
    return (spec.origin, *stamp, is_package, marshal.dumps(code))
