"""What a build knows of a filesystem between two steps, and what was asked of the build."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from buildkit.cache import Layer
from buildkit.contents import StatCache
from buildkit.named_contexts import NamedContext
from buildkit.run_options import RunOptions
from buildkit.steps import PlannedStage
from buildkit.supplies import Supplies
from runtime.oci.digest import DiffID, chain_ids
from runtime.oci.image import History
from runtime.record import Record
from runtime.store.store import Store

NAMESPACES, CHROOT = "namespaces", "chroot"  # how steps are kept apart from this machine
# What a lock file is for: used if it is there, wanted to be there, ignored, or made.
LOCK_USED, LOCK_REQUIRED, LOCK_OFF, LOCK_MADE = "used", "required", "off", "made"
LEAST_EPOCH = 315532800  # 1 January 1980: zip files and others can hold no earlier time


class State(Record):
    """A root filesystem and its past: what a step starts from and what it leads to."""

    layers: tuple[Layer, ...] = ()  # lowest first
    based: int = 0  # how many of them, the lowest, are those of an image
    history: tuple[History, ...] = ()
    epoch: int = LEAST_EPOCH  # seconds; nothing in a new layer is later

    @property
    def diff_ids(self) -> tuple[DiffID, ...]:
        """The layers' uncompressed digests, lowest first."""
        return tuple(layer.diff_id for layer in self.layers)

    @property
    def parent(self) -> str:
        """Identity of the filesystem, as cache keys name it."""
        return str(chain_ids(self.diff_ids)[-1]) if self.layers else "scratch"

    def lowers(self, store: Store) -> tuple[str, ...]:
        """Directories of the layers, highest first."""
        return tuple(store.layer(chain_id) for chain_id in reversed(chain_ids(self.diff_ids)))


class Locks(Record):
    """What the lock file of a build is for."""

    mode: str = LOCK_USED
    path: str = ""  # of the file; empty: there is none
    updated: tuple[str, ...] | None = None  # packages that change in a new one; None: all may


class Settings(Record):
    """What is asked of a build beside its plan."""

    context: str  # path of the build context
    contexts: Mapping[str, NamedContext] = MappingProxyType({})
    epoch: int | None = None  # SOURCE_DATE_EPOCH, if it was given
    use_cache: bool = True
    uncached: frozenset[str] = frozenset()  # stages that are done anew, by name or number
    explain: bool = False  # say of each step why it is done
    shell_on_failure: bool = False  # a RUN that fails is followed by a shell in its root
    ignore_file: str = ""  # of the context; empty for none
    isolation: str = NAMESPACES
    run: RunOptions = RunOptions()
    supplies: Supplies = Supplies()
    locks: Locks = Locks()
    known: StatCache | None = None  # saves reading unchanged files of the context

    def reuses(self, stage: PlannedStage) -> bool:
        """Whether the steps of a stage may be taken from the cache."""
        return self.use_cache and not self.uncached & {stage.name.lower(), str(stage.id.index)}

    def within(self, name: str) -> Settings:
        """The settings of what takes files from a context; "" is the build's."""
        if not name:
            return self
        named = self.contexts[name]
        return self.replace(context=named.directory, ignore_file=named.ignore_file)

    def clamped(self, epoch: int) -> int:
        """The epoch to use where the inputs say `epoch`."""
        return epoch if self.epoch is None else self.epoch
