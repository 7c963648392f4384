"""URLs of repositories that a secret is in: written down without it, used with it."""

from __future__ import annotations

from collections.abc import Mapping

from buildkit.bootstrap.repositories import Repositories
from buildkit.bootstrap.resolved import Resolved, ResolvedRepository
from buildkit.bootstrap.sections import Section, substituted

_URLS = ("baseurl", "metalink", "mirrorlist")


def without_secrets(resolved: Resolved, repositories: Repositories) -> Resolved:
    """With such URLs as the .repo file has them, or none where that is a secret itself."""
    sections = {section.id: section for section in repositories.sections}

    def public(repository: ResolvedRepository) -> ResolvedRepository:
        section = sections.get(repository.id)
        if section is None or not _is_private(section, repositories):
            return repository
        urls = () if section.secret else _base_urls(section, repositories)
        return repository.replace(baseurls=urls)

    return resolved.replace(repositories=tuple(map(public, resolved.repositories)))


def with_secrets(
    resolved: Resolved, repositories: Repositories, found: Mapping[str, tuple[str, ...]]
) -> Resolved:
    """As they are used; `found` has those that a manager found out just now, by repository."""
    sections = {section.id: section for section in repositories.sections}

    def full(repository: ResolvedRepository) -> ResolvedRepository:
        urls = found.get(repository.id) or repository.baseurls
        section = sections.get(repository.id)
        if not urls and section is not None:
            urls = _base_urls(section, repositories)
        variables = repositories.secrets.variables
        return repository.replace(baseurls=tuple(substituted(url, variables) for url in urls))

    return resolved.replace(repositories=tuple(map(full, resolved.repositories)))


def _is_private(section: Section, repositories: Repositories) -> bool:
    if section.secret:
        return True
    variables = repositories.secrets.variables
    urls = [value for name, value in section.options if name in _URLS]
    return any(substituted(url, variables) != url for url in urls)


def _base_urls(section: Section, repositories: Repositories) -> tuple[str, ...]:
    urls = dict(section.options).get("baseurl", "").split()
    return tuple(substituted(url, repositories.variables) for url in urls)
