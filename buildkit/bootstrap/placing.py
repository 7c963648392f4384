"""Packages from where they are to where a program can read them: servers, vendored directories,
files of the context.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from buildkit.bootstrap.package_files import PlacedPackage, UnfetchedPackage, place_packages
from buildkit.bootstrap.private_urls import with_secrets
from buildkit.bootstrap.secrets import write_secrets

if TYPE_CHECKING:
    from buildkit.bootstrap.asked import Asked
    from buildkit.bootstrap.locked import LockedBootstrap
    from buildkit.bootstrap.resolved import Resolved
    from buildkit.counting import Count
    from runtime.store.store import Store


def place(
    resolved: Resolved,
    asked: Asked,
    secrets_at: str,
    store: Store,
    *,
    locked: LockedBootstrap | None = None,
    count: Count | None = None,
    urls: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> tuple[PlacedPackage, ...]:
    """As `place_packages`; `secrets_at` is a directory for what servers want to be shown.

    `urls` are those of repositories, with what is secret in them, where they were found out.
    """
    repositories = asked.repositories
    if repositories.secrets.files:
        write_secrets(repositories.secrets, f"{secrets_at}/files")
    try:
        return place_packages(
            _here(with_secrets(resolved, repositories, urls), asked),
            lambda repo: repositories.access(repo, f"{secrets_at}/files"),
            store,
            count,
            vendored="" if locked is None else locked.vendored,
            promised="the metadata of repository {repo!r}" if locked is None else locked.name,
        )
    except UnfetchedPackage as error:
        hidden = repositories.secrets.hidden(error.message)
        raise UnfetchedPackage.of(error.package, hidden, error.hint) from None


def _here(resolved: Resolved, asked: Asked) -> Resolved:
    """With the places that things of the context have on this machine."""
    files = {file.sha256: file.path for file in asked.files}
    urls = {
        section.id: (dict(section.options)["baseurl"],)
        for section in asked.repositories.sections
        if section.written
    }
    return resolved.replace(
        packages=tuple(
            package if package.repo else package.replace(path=files[package.sha256])
            for package in resolved.packages
        ),
        repositories=tuple(
            repository.replace(baseurls=urls.get(repository.id, repository.baseurls))
            for repository in resolved.repositories
        ),
    )
