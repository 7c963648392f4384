"""Planning COPY and ADD (Dockerfile reference, "COPY" and "ADD")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildkit import history
from buildkit.steps import Base, CopyStep, InlineFile, Source
from grammar import Add, Copy, Word
from grammar.ignore import exclusions
from grammar.ignore_patterns import IgnorePatternError

if TYPE_CHECKING:
    from collections.abc import Callable

    from buildkit.stage_plan import StagePlanner

_REMOTE = ("http://", "https://", "git@", "ssh://", "git://")


def plan_copy(stage: StagePlanner, copy: Copy | Add, origin: Base | None) -> CopyStep:
    """Expand one COPY or ADD; raises ContainerfileError."""
    _refuse_unsupported(stage, copy)
    sources = tuple(_source(stage, word, copy) for word in copy.sources)
    parents = isinstance(copy, Copy) and copy.parents
    written = stage.expand(copy.destination)
    destination = stage.absolute(written)
    # Several sources, a final slash, "." and --parents all say that it is a directory.
    if (
        written.endswith(("/", "/."))
        or written in ("", ".")
        or len(sources) + len(copy.heredocs) > 1
        or parents
    ):
        destination = destination.rstrip("/") + "/"
    return CopyStep(
        about=stage.about(copy, _history(copy, sources, written, stage.expand_optional)),
        sources=sources,
        inline=tuple(
            InlineFile(name=heredoc.name, content=stage.expand_heredoc(heredoc))
            for heredoc in copy.heredocs
        ),
        origin=origin,
        destination=destination,
        chown=stage.expand_optional(copy.chown),
        chmod=None if copy.chmod is None else stage.mode(copy.chmod),
        unpacks=isinstance(copy, Add),
        exclude=tuple(_exclusion(stage, word) for word in copy.exclude),
        parents=parents,
        link=copy.link,
    )


def _refuse_unsupported(stage: StagePlanner, copy: Copy | Add) -> None:
    if isinstance(copy, Add):
        if copy.checksum is not None:
            raise stage.unsupported("ADD --checksum", copy.checksum.span)
        if copy.unpack is not None or copy.keep_git_dir is not None:
            raise stage.unsupported("this flag of ADD", copy.span)


def _history(
    copy: Copy | Add,
    sources: tuple[Source, ...],
    destination: str,
    expand: Callable[[Word | None], str],
) -> str:
    """The instruction as BuildKit writes it down: expanded, and not all of its flags."""
    words = ["COPY" if isinstance(copy, Copy) else "ADD"]
    if isinstance(copy, Copy) and copy.parents:
        words.append("--parents")
    for name, flag in (("chown", copy.chown), ("chmod", copy.chmod)):
        if value := expand(flag):
            words.append(f"--{name}={value}")
    words += [source.path for source in sources]
    words += [f"<<{heredoc.name}" for heredoc in copy.heredocs]
    return history.made_files(" ".join((*words, destination)))


def _exclusion(stage: StagePlanner, word: Word) -> str:
    pattern = stage.unquote(word)
    try:
        exclusions([pattern])
    except IgnorePatternError as error:
        raise stage.error(f"--exclude {pattern!r}: {error}", word.span, error.hint) from None
    return pattern


def _source(stage: StagePlanner, word: Word, copy: Copy | Add) -> Source:
    path = stage.expand(word)
    if path.startswith(_REMOTE):
        if isinstance(copy, Copy):
            raise stage.error("COPY takes no URL", word.span, "ADD does")
        raise stage.unsupported("ADD of a URL or a git repository", word.span)
    return Source(path=path, span=word.span)
