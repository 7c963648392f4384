"""Which variables an instruction sees: ARG and ENV scopes (Dockerfile reference, "ARG", "Scope").

ENV beats ARG of the same name. A build argument beats an ARG's default, which is then not even
evaluated. The predefined proxy arguments need no ARG; they reach RUN, never keys or history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from grammar import Arg, Word

PROXIES = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)

Expand = Callable[[Word, Mapping[str, str]], str]


class Scope:
    """Variables of one stage, growing as its instructions are read."""

    def __init__(
        self,
        *,
        env: Mapping[str, str],
        arguments: Mapping[str, str],
        build_args: Mapping[str, str],
        global_args: Mapping[str, str],
        declared: Iterable[str] = (),
    ) -> None:
        self.env = dict(env)
        self.arguments = dict(arguments)  # ARG, declared and with a value
        self.declared = dict.fromkeys(declared)  # all of them, in order
        self._build_args = build_args
        self._global_args = global_args

    @property
    def visible(self) -> dict[str, str]:
        """What `$NAME` may mean in the next instruction."""
        return self.arguments | self.env

    @property
    def proxies(self) -> dict[str, str]:
        """Proxies that a RUN uses although nobody declared them."""
        given = {k: v for k, v in self._build_args.items() if k in PROXIES}
        return {k: v for k, v in given.items() if k not in self.visible}

    def declare(self, instruction: Arg, expand: Expand) -> None:
        """Take one ARG instruction in; later names on one line see the earlier ones."""
        for pair in instruction.pairs:
            self.declared[pair.name] = None
            if pair.name in self._build_args:
                self.arguments[pair.name] = self._build_args[pair.name]
            elif pair.default is not None:
                self.arguments[pair.name] = expand(pair.default, self.visible)
            elif pair.name in self._global_args:
                self.arguments[pair.name] = self._global_args[pair.name]


def global_arguments(
    preamble: tuple[Arg, ...],
    *,
    automatic: Mapping[str, str],
    build_args: Mapping[str, str],
    expand: Expand,
) -> dict[str, str]:
    """Values of the ARGs before the first FROM, over the automatic platform arguments."""
    scope = Scope(env={}, arguments=automatic, build_args=build_args, global_args={})
    for name in automatic:
        if name in build_args:
            scope.arguments[name] = build_args[name]
    for instruction in preamble:
        scope.declare(instruction, expand)
    return scope.arguments
