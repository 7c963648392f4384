"""What builders lead to, and what they have in common with one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from buildkit.cache import Layer, Result
from buildkit.preparation import Prepared
from buildkit.scheduler import Task
from buildkit.state import State
from buildkit.steps import AnyStep, BootstrapStep, StageBase
from runtime.oci.image import ImageConfig
from runtime.record import Record

if TYPE_CHECKING:
    from buildkit.bootstrap.asked import Asked


class Built(Record):
    """What a target led to."""

    config: ImageConfig
    layers: tuple[Layer, ...]
    inherited: int  # how many of the layers are those of an image that it is based on


class Linked(Record):
    """An image that is the target of another plan, which is carried out at the same time."""

    name: str
    config: ImageConfig
    platform: str
    state: Callable[[bool], Task[State]]  # what leads to it; whole, or not: `Builder.state_of`


class DoneBootstrap(Record):
    """A BOOTSTRAP, what it was asked for, on what, and what it led to."""

    step: BootstrapStep
    asked: Asked
    below: str  # `State.parent`
    result: Result


class DoneStep(Record):
    """A step that was done or found, and what it was made from."""

    stage: StageBase
    step: AnyStep
    prepared: Prepared
    result: Result
