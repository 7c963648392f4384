"""The exceptions of `buildkit`, each with the exit status of `pybuild` that it leads to.

    BuildError            the Containerfile's own steps failed     1
      UsageError          command line or Containerfile is wrong   2
      FindingsError       `# check=error=true` and findings        3
      NetworkError        a repository or registry failed          4
      DiskError           store or output cannot be written        5
      HostError           this machine lacks something             6

A Containerfile that cannot be parsed is `grammar.ContainerfileErrors` (status 2).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from grammar import Span


class BuildError(Exception):
    """What went wrong, and what to do about it if that is known.

    Once `located`, the message begins with its place in the Containerfile, and `documents` holds
    the same for machines.
    """

    status = 1
    located = False
    documents: tuple[object, ...] = ()

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RunFailed(BuildError):
    """A RUN ended with another status than 0.

    `program` is what its own messages begin with, `script_lines` is where the script that it ran
    stands in the Containerfile.
    """

    program = ""
    script_lines = range(0)


class UsageError(BuildError):
    """The command line or the Containerfile asks for what cannot be."""

    status = 2


class FindingsError(BuildError):
    """The linter found what the Containerfile itself calls an error."""

    status = 3


class NetworkError(BuildError):
    """Something that is fetched could not be."""

    status = 4


class DiskError(BuildError):
    """The store or the output cannot be written."""

    status = 5


class HostError(BuildError):
    """This machine lacks a program, a right or a kernel feature that the build needs."""

    status = 6


class LocatedError(Exception):
    """A BuildError, and the instruction (or the word of it) that it is about.

    Where several plans are carried out at the same time, `plan` is the name of the one at fault.
    """

    plan = ""

    def __init__(self, error: BuildError, span: Span) -> None:
        super().__init__(error.message)
        self.error = error
        self.span = span

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.error, self.span)


class Cancelled(BaseException):
    """The user or the CI system asked us to stop (SIGINT, SIGTERM, SIGHUP)."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
