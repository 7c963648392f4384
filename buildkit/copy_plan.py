"""Planning COPY and ADD (Dockerfile reference, "COPY" and "ADD")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildkit.add_plan import check_names, plan_remote
from buildkit.steps import Base, CopyStep, InlineFile, Source
from grammar import Add, Copy, Word

if TYPE_CHECKING:
    from buildkit.stage_plan import StagePlanner

_REMOTE = ("http://", "https://", "git@", "ssh://", "git://")


def plan_copy(stage: StagePlanner, copy: Copy | Add, origin: Base | None) -> CopyStep:
    """Expand one COPY or ADD; raises ContainerfileError."""
    _refuse_unsupported(stage, copy)
    sources = tuple(_source(stage, word, copy) for word in copy.sources)
    written = stage.expand(copy.destination)
    destination = stage.absolute(written)
    # Several sources, a final slash and "." all say that the destination is a directory.
    if (
        written.endswith(("/", "/."))
        or written in ("", ".")
        or len(sources) + len(copy.heredocs) > 1
    ):
        destination = destination.rstrip("/") + "/"
    if isinstance(copy, Add):
        check_names(stage, copy, sources, destination)
    return CopyStep(
        about=stage.about(copy),
        sources=sources,
        inline=tuple(
            InlineFile(name=heredoc.name, content=stage.expand_heredoc(heredoc))
            for heredoc in copy.heredocs
        ),
        origin=origin,
        destination=destination,
        chown=stage.expand_optional(copy.chown),
        chmod=None if copy.chmod is None else stage.mode(copy.chmod),
        unpacks=isinstance(copy, Add) and copy.unpack is not False,
        unpacks_fetched=isinstance(copy, Add) and copy.unpack is True,
    )


def _refuse_unsupported(stage: StagePlanner, copy: Copy | Add) -> None:
    if copy.link:
        raise stage.unsupported("--link", copy.span)
    if copy.exclude:
        raise stage.unsupported("--exclude", copy.exclude[0].span)
    if isinstance(copy, Copy) and copy.parents:
        raise stage.unsupported("--parents", copy.span)


def _source(stage: StagePlanner, word: Word, copy: Copy | Add) -> Source:
    path = stage.expand(word)
    if isinstance(copy, Add):
        return Source(path=path, span=word.span, remote=plan_remote(stage, copy, word, path))
    if path.startswith(_REMOTE):
        raise stage.error("COPY takes no URL", word.span, "ADD does")
    return Source(path=path, span=word.span)
