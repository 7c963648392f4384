"""BOOTSTRAP before anything is read: its words and flags."""

from __future__ import annotations

import pytest

from tests.buildkit.planning import bootstrap_step, faults


def test_packages_groups_and_patterns_are_words() -> None:
    step = bootstrap_step("FROM scratch\nARG p=vim\nBOOTSTRAP --repo=r @core a-1.0* $p")
    assert [package.text for package in step.packages] == ["@core", "a-1.0*", "vim"]
    assert [package.span.column for package in step.packages] == [20, 26, 33]


def test_a_repository_by_its_url() -> None:
    text = "BOOTSTRAP --repo=id=a,url=http://h/$releasever/${basearch},key=k,priority=9 p"
    [found] = bootstrap_step(f"FROM scratch\n{text}").repositories
    assert (found.id, found.key, found.priority) == ("a", "k", 9)
    assert found.url == "http://h/$releasever/${basearch}"


def test_a_repository_file() -> None:
    [found] = bootstrap_step("FROM scratch\nBOOTSTRAP --repo=a/b.repo p").repositories
    assert (found.id, found.file, found.url) == ("", "a/b.repo", "")


def test_flags_are_taken_and_expanded() -> None:
    step = bootstrap_step(
        "FROM scratch\nARG v=9\nBOOTSTRAP --releasever=$v --key=a --key=b --exclude=x* --weak"
        " --docs --langs=de,en --setopt=a=b --dbpath=/db --nogpgcheck --allow-scriptlet-failure p"
    )
    assert (step.releasever, step.excludes) == ("9", ("x*",))
    assert [key.text for key in step.keys] == ["a", "b"]
    assert (step.weak, step.docs, step.langs, step.setopts) == (True, True, "de,en", ("a=b",))
    assert (step.dbpath, step.gpgcheck, step.allow_scriptlet_failure) == ("/db", False, True)


def test_the_architecture_is_the_platforms_unless_one_is_given() -> None:
    assert bootstrap_step("FROM scratch\nBOOTSTRAP p").arch == "x86_64"
    assert bootstrap_step("FROM scratch\nBOOTSTRAP --arch=i686 p").arch == "i686"


def test_weak_dependencies_and_documentation_are_left_out_and_keys_checked_by_default() -> None:
    step = bootstrap_step("FROM scratch\nBOOTSTRAP p")
    assert (step.weak, step.docs, step.gpgcheck, step.arch) == (False, False, True, "x86_64")


@pytest.mark.parametrize(
    ("words", "column", "message"),
    [
        ("$none", 11, "'' is not a package"),
        ("a -b", 13, "'-b' is not a package"),
        ("--repo= a", 18, "--repo is empty"),
        ("--repo=id=a a", 18, "--repo: id=NAME,url=URL or a .repo file expected"),
        ("--repo=id=a,url=b,colour=c a", 18, "--repo: 'colour=c' is not one of"),
        ("--repo=id=a/b,url=c a", 18, "--repo: 'a/b' is not a repository id"),
        ("--repo=id=a,url=b,priority=x a", 18, "--repo: priority 'x' is not a number"),
        ("--dbpath=x a", 20, "--dbpath=x: an absolute path expected"),
        ("--manager=zypper a", 21, "--manager=zypper: auto, dnf, dnf5 or apt"),
        ("--clean=some a", 19, "--clean=some: auto, all or none"),
        ("--module=a a", 20, "--module=a: NAME:STREAM expected"),
        ("--setopt=a a", 20, "--setopt=a: NAME=VALUE expected"),
        ("--setopt=installroot=/ a", 20, "--setopt=installroot: BOOTSTRAP sets that itself"),
        ("--setopt=a.tsflags=nodocs a", 20, "--setopt=a.tsflags: BOOTSTRAP sets that itself"),
        ("--setopt=excludepkgs=b a", 20, "--setopt=excludepkgs: BOOTSTRAP sets that itself"),
        ("--key= a", 17, "--key is empty"),
        ("--mount=type=tmpfs,target=/a a", 19, "BOOTSTRAP takes secrets alone"),
    ],
)
def test_what_cannot_be_is_an_error_at_its_word(words: str, column: int, message: str) -> None:
    [(line, at, found)] = faults(f"FROM scratch\nBOOTSTRAP {words}")
    assert (line, at) == (2, column)
    assert found.startswith(message)


def test_a_bootstrap_without_packages_is_an_error() -> None:
    [(line, _, _)] = faults("FROM scratch\nBOOTSTRAP --repo=r")
    assert line == 2
