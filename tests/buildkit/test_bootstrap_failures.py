"""What is said of a BOOTSTRAP that failed; see also the broken repositories of test_bootstrap."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.buildkit.bootstraps import KEY, add_tiny, fails
from tests.buildkit.support import Pybuild

pytestmark = pytest.mark.needs_program("dnf", "rpm")

# What dnf or rpm say themselves, for a package of each broken repository.
WORDS = {
    "missingdep": ("bad-missingdep", "nothing provides no-such-package >= 3 needed by"),
    "conflict": ("bad-conflict-a bad-conflict-b", "conflicts between attempted installs of"),
    "badmd": ("bad-metadata", "Downloading successful, but checksum doesn't match"),
    "badmdsig": ("bad-mdsig", "repomd.xml GPG signature verification error"),
    "prefail": ("bad-prefail", "error: %prein(bad-prefail-1-1.noarch) scriptlet failed"),
    "postfail": ("bad-postfail", "warning: %post(bad-postfail-1-1.noarch) scriptlet failed"),
}


@pytest.mark.parametrize("case", WORDS)
def test_the_managers_own_words_stand_above_the_error(
    pybuild: Pybuild, tiny_repository: Path, case: str
) -> None:
    flags = add_tiny(pybuild, tiny_repository)
    packages, words = WORDS[case]
    broken = f"--repo=id=bad,url=file://{tiny_repository}/broken/{case}"
    text = f"FROM scratch\nBOOTSTRAP {flags} {broken} --setopt=bad.repo_gpgcheck=1 {packages}\n"
    said = fails(pybuild, text, 1, "Containerfile:2:").stderr
    quoted = [line for line in said.splitlines() if line.startswith(" > ")]
    assert words in "\n".join(quoted), said


def test_a_database_of_an_old_kind_is_refused(pybuild: Pybuild, tiny_repository: Path) -> None:
    flags = add_tiny(pybuild, tiny_repository)
    pybuild.add({"Packages": "Berkeley"})
    text = f"FROM scratch\nCOPY Packages /var/lib/rpm/\nBOOTSTRAP {flags} hello-libs\n"
    fails(pybuild, text, 1, "Containerfile:3:1:", "/var/lib/rpm/Packages, is of an old kind")


def test_a_missing_dependency_of_a_package_of_the_context_is_named(
    pybuild: Pybuild, tiny_repository: Path
) -> None:
    [package] = (tiny_repository / "repo/Packages").glob("hello-1.0*.rpm")
    shutil.copy2(package, pybuild.context / "a.rpm")
    text = "FROM scratch\nBOOTSTRAP ./a.rpm\n"
    fails(pybuild, text, 1, "Containerfile:2:", "hello-1.0-1.x86_64 needs", "no repository")


def test_a_key_file_is_looked_at_before_anything_is_fetched(
    pybuild: Pybuild, tiny_repository: Path
) -> None:
    pybuild.add({"empty": "", "text": "-----BEGIN PGP PUBLIC KEY BLOCK-----\nnonsense\n"})
    for name in ("empty", "text"):
        text = (
            f"FROM scratch\nBOOTSTRAP --repo=id=a,url=http://127.0.0.1:1/ \\\n  --key={name} a\n"
        )
        fails(pybuild, text, 1, "Containerfile:3:9:", f"key {name!r}")


def test_a_key_of_a_repository_is_an_error_at_the_repository(
    pybuild: Pybuild, tiny_repository: Path
) -> None:
    shutil.copy2(tiny_repository / KEY, pybuild.context)
    repository = f"id=a,url=file://{tiny_repository}/repo,key={KEY}#{'0' * 40}"
    text = f"FROM scratch\nBOOTSTRAP \\\n  --repo={repository} hello-libs\n"
    fails(pybuild, text, 1, "Containerfile:3:10:", f"not {'0' * 40}")
