"""The exceptions of `runtime`; every one is a sentence for the user, and may carry a hint.

PyrunError
  UsageError        the command line is wrong                     pyrun exits 125
  ImageError        an image, layer or path in it is not right    125
  ConfigError       a runtime-spec document is not right          125
  RegistryError     a registry, or the way there, failed          125
  StoreError        the store is unusable, or the disk is full    125
  ContainerError    the container could not be set up             125
  CommandError      its command cannot be executed                126 or 127
"""


class PyrunError(Exception):
    """What went wrong, as `where: what`, and what to do about it if that is known."""

    status = 125

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(PyrunError):
    """The command line asks for something that does not exist or does not fit together."""


class ImageError(PyrunError):
    """An image does not say what it must, or its bytes are not the ones it promises."""


class ConfigError(PyrunError):
    """A runtime-spec document (config.json) says what it must not, or what is not supported."""


class RegistryError(PyrunError):
    """A registry cannot be reached, refuses, or sends what it must not."""

    code = 0  # the status of its answer, if it is that which was wrong


class StoreError(PyrunError):
    """The store cannot be used, or there is no room in it."""


class ContainerError(PyrunError):
    """The sandbox could not be set up on this machine."""


class CommandError(ContainerError):
    """The command cannot be executed: not found (127) or not executable (126)."""

    def __init__(self, message: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
