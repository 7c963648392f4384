"""What the words and flags of BOOTSTRAP do, with a real dnf and real repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.buildkit.bootstraps import KEY, add_tiny, fails, installed, query
from tests.buildkit.conftest import made_repository
from tests.buildkit.odd_packages import odd_packages as odd_packages
from tests.buildkit.support import Pybuild
from tests.buildkit.web import running_site
from tests.support import TreeValue

pytestmark = pytest.mark.needs_program("dnf", "rpm")

# What @tiny must have, and what that needs.
TINY = {
    *("filesystem", "setup", "busybox"),
    *("testlinux-release", "testlinux-repos", "testlinux-gpg-keys"),
}


@pytest.fixture
def tiny(pybuild: Pybuild, tiny_repository: Path) -> str:
    """Flags for the tiny repository, whose key is in the context of `pybuild`."""
    return add_tiny(pybuild, tiny_repository)


def _rpm(tiny_repository: Path, name: str) -> Path:
    [path] = (tiny_repository / "repo/Packages").glob(f"{name}-1.0-1.*.rpm")
    return path


# --- The list of packages


def test_a_heredoc_has_groups_packages_files_comments_and_exclusions(
    anybody: Pybuild, tiny_repository: Path
) -> None:
    flags = add_tiny(anybody, tiny_repository)
    shutil.copy2(_rpm(tiny_repository, "hello-langpack-de"), anybody.context)
    image = anybody.build(
        f"""\
FROM scratch
BOOTSTRAP {flags} --setopt=tiny.priority=5 <<EOF
# kickstart's spelling
@tiny
hello-libs   hello-plug*  # two on a line, one of them a pattern
-hello-daemon             # a default member of the group
./hello-lang*.rpm
EOF
"""
    )
    hello = {"hello", "hello-libs", "hello-plugin", "hello-langpack-de"}
    assert installed(image) == TINY | hello


def test_an_environment_brings_its_groups(pybuild: Pybuild, tiny: str) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} @^minimal-environment\n"
    assert installed(pybuild.build(text)) == {*TINY, "hello", "hello-daemon", "hello-libs"}


def test_a_missing_environment_is_an_error_at_its_word(pybuild: Pybuild, tiny: str) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} \\\n  @^no-such\n"
    fails(pybuild, text, 1, "Containerfile:3:3:", "no group @^no-such in the repositories")


def test_a_pattern_that_matches_nothing_is_an_error_at_its_word(
    pybuild: Pybuild, tiny: str
) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} <<EOF\nhello\n  hello-3*\nEOF\n"
    fails(pybuild, text, 1, "Containerfile:4:3:", "no package hello-3* in the repositories")


def test_excluded_packages_are_left_out_of_a_group(pybuild: Pybuild, tiny: str) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} --exclude=hello-d* @tiny\n"
    assert installed(pybuild.build(text)) == TINY


def test_a_group_is_excluded(pybuild: Pybuild, tiny: str) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} <<EOF\nhello-libs\n@tiny\n-@tiny\nEOF\n"
    assert installed(pybuild.build(text)) == {"hello-libs"}


@pytest.mark.parametrize("where", ["@tiny", "@^minimal-environment"])
def test_to_exclude_what_a_group_must_have_is_an_error_at_the_group(
    pybuild: Pybuild, tiny: str, where: str
) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} --exclude=busy* \\\n  hello-libs {where}\n"
    fails(
        pybuild, text, 1, "Containerfile:3:14:", "group @tiny needs package busybox",
        "which is excluded", "hint: ",
    )  # fmt: skip


def test_to_exclude_what_is_asked_for_is_an_error_at_its_word(pybuild: Pybuild, tiny: str) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} --exclude=hel* \\\n  hello-libs\n"
    fails(pybuild, text, 1, "Containerfile:3:3:", "package hello-libs is excluded", "hint: ")


def test_versions_are_patterns(pybuild: Pybuild, tiny: str, tiny_repository: Path) -> None:
    updates = f"{tiny} --repo=id=updates,url=file://{tiny_repository}/updates"
    text = f"FROM scratch\nBOOTSTRAP {updates} hello-libs%s\n"
    versions = [query(pybuild.build(text % word), "%{VERSION}") for word in ("", "-1.0*")]
    assert versions == [["2.0"], ["1.0"]]


def test_files_and_capabilities_are_names_of_packages(pybuild: Pybuild, tiny: str) -> None:
    text = f'FROM scratch\nBOOTSTRAP {tiny} ["/usr/lib/hello/greeting", "hello-extras >= 1.0"]\n'
    assert installed(pybuild.build(text)) == {"hello-libs", "hello-extras"}


def test_the_json_form_is_the_same(pybuild: Pybuild, tiny: str) -> None:
    image = pybuild.build(f'FROM scratch\nBOOTSTRAP {tiny} ["hello-libs", "hello-extras"]\n')
    assert installed(image) == {"hello-libs", "hello-extras"}


# --- Packages of the context and of servers


def test_packages_of_the_context_need_no_repository(
    pybuild: Pybuild, tiny_repository: Path
) -> None:
    (pybuild.context / "dist").mkdir()
    shutil.copy2(_rpm(tiny_repository, "hello-libs"), pybuild.context / "dist/a.rpm")
    image = pybuild.build("FROM scratch\nBOOTSTRAP ./dist/a.rpm\n")
    assert installed(image) == {"hello-libs"}


def test_patterns_of_packages_of_the_context_take_their_needs_from_repositories(
    pybuild: Pybuild, tiny: str, tiny_repository: Path
) -> None:
    (pybuild.context / "dist").mkdir()
    for name in ("hello", "hello-libs"):
        shutil.copy2(_rpm(tiny_repository, name), pybuild.context / "dist")
    image = pybuild.build(f"FROM scratch\nBOOTSTRAP {tiny} <<EOF\n./dist/*.rpm\nEOF\n")
    assert installed(image) >= {"hello", "hello-libs", "filesystem"}


def test_a_package_of_the_context_that_changed_is_installed_again(
    pybuild: Pybuild, tiny_repository: Path
) -> None:
    shutil.copy2(_rpm(tiny_repository, "hello-libs"), pybuild.context / "a.rpm")
    text = "FROM scratch\nBOOTSTRAP ./a.rpm\n"
    pybuild.build(text)
    [newer] = (tiny_repository / "updates").glob("hello-libs-2*")
    shutil.copy2(newer, pybuild.context / "a.rpm")
    assert query(pybuild.build(text), "%{VERSION}") == ["2.0"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("./none.rpm", "No such file or directory"),
        ("./none-*.rpm", "no such file in the context"),
        ("./dist", "not a file"),
        ("../a.rpm", "No such file or directory"),
        ("./dist/text.rpm", "text.rpm"),
    ],
)
def test_what_is_no_package_of_the_context_is_an_error_at_its_word(
    pybuild: Pybuild, word: str, message: str
) -> None:
    pybuild.add({"dist/text.rpm": "text"})
    fails(pybuild, f"FROM scratch\nBOOTSTRAP \\\n  {word}\n", 1, "Containerfile:3:3:", message)


def test_a_package_behind_a_url_is_installed(pybuild: Pybuild, tiny_repository: Path) -> None:
    with running_site() as site:
        site.files["/a.rpm"] = _rpm(tiny_repository, "hello-libs").read_bytes()
        image = pybuild.build(f"FROM scratch\nBOOTSTRAP {site.url}/a.rpm\n")
        assert installed(image) == {"hello-libs"}
        pybuild.output.unlink()
        text = f"FROM scratch\nBOOTSTRAP \\\n  {site.url}/none.rpm\n"
        fails(pybuild, text, 4, "Containerfile:3:3:", "404")


# --- Lists in files


def test_a_file_lists_packages_and_exclusions(pybuild: Pybuild, tiny: str) -> None:
    pybuild.add({"lists/a": "# all\n@tiny\n\n-hello-daemon # not it\n", "b": "hello-libs\r\n"})
    text = f"FROM scratch\nBOOTSTRAP {tiny} --from-file=lists/a --from-file=b\n"
    assert installed(pybuild.build(text)) == {*TINY, "hello-libs"}


def test_a_changed_list_is_another_set(pybuild: Pybuild, tiny: str) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} --from-file=list\n"
    pybuild.add({"list": "hello-extras"})
    assert installed(pybuild.build(text)) == {"hello-extras"}
    pybuild.add({"list": "hello-libs"})
    assert installed(pybuild.build(text)) == {"hello-libs"}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "list of packages 'list': No such file or directory"),
        ({"list": ""}, "list of packages 'list': no package in it"),
        ({"list": "# a\n-b\n"}, "list of packages 'list': no package in it"),
        ({"list": b"\xff\xfe"}, "list of packages 'list': 'utf-8' codec"),
        ({"list/": None}, "list of packages 'list': not a file"),
        ({"list": "setup\nno-such\n"}, "no package no-such in the repositories"),
    ],
)
def test_a_list_that_cannot_be_is_an_error_at_its_name(
    pybuild: Pybuild, tiny: str, tree: dict[str, TreeValue], message: str
) -> None:
    pybuild.add(tree)
    text = f"FROM scratch\nBOOTSTRAP {tiny} \\\n  --from-file=list\n"
    fails(pybuild, text, 1, "Containerfile:3:15:", message)


# --- Flags about what is in a package


def test_documentation_and_weak_dependencies_are_left_out_unless_asked_for(
    pybuild: Pybuild, tiny: str
) -> None:
    doc = {"usr/share/doc/hello/README", "usr/share/man/man1/hello.1"}
    image = pybuild.build(f"FROM scratch\nBOOTSTRAP {tiny} hello\n")
    assert not doc & image.files.keys()
    assert "usr/share/licenses/hello/COPYING" in image.files
    assert "hello-extras" not in installed(image)
    image = pybuild.build(f"FROM scratch\nBOOTSTRAP {tiny} --docs --weak hello\n")
    assert doc <= image.files.keys()
    assert "hello-extras" in installed(image)
    assert "hello-plugin" not in installed(image)  # that is but suggested


@pytest.mark.parametrize(("flag", "languages"), [("", {"de", "fr"}), ("--langs=en,de", {"de"})])
def test_languages(pybuild: Pybuild, tiny: str, flag: str, languages: set[str]) -> None:
    image = pybuild.build(f"FROM scratch\nBOOTSTRAP {tiny} {flag} hello\n")
    found = {name.split("/")[3] for name in image.files if name.endswith("hello.mo")}
    assert found == languages


# --- Flags about where it goes


def test_the_database_is_where_dbpath_says(pybuild: Pybuild, tiny: str) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} --dbpath=/var/lib/rpm hello-extras\n"
    image = pybuild.build(f"{text}BOOTSTRAP {tiny} hello-libs\n")
    assert installed(image, "var/lib/rpm") == {"hello-libs", "hello-extras"}
    assert not [name for name in image.files if name.startswith("usr/lib/sysimage/")]


def test_a_database_in_an_odd_place_is_found_again_by_the_same_flag(
    pybuild: Pybuild, tiny: str
) -> None:
    line = f"BOOTSTRAP {tiny} --dbpath=/opt/db"
    image = pybuild.build(f"FROM scratch\n{line} hello-libs\n{line} hello-libs hello-extras\n")
    assert installed(image, "opt/db") == {"hello-libs", "hello-extras"}
    assert "usr/lib/hello/greeting" not in image.layer(1)


def test_without_cleaning_what_scriptlets_left_stays(pybuild: Pybuild, odd_packages: Path) -> None:
    shutil.copy2(odd_packages / "with-leftover-1-1.noarch.rpm", pybuild.context)
    line = "FROM scratch\nBOOTSTRAP {} ./with-leftover-1-1.noarch.rpm\n"
    assert "etc/group-" not in pybuild.build(line.format("")).files
    image = pybuild.build(line.format("--clean=none"))
    assert installed(image) == {"with-leftover"}
    assert "etc/group-" in image.files
    assert "usr/lib/sysimage/rpm/rpmdb.sqlite-wal" not in image.files


def test_to_clean_all_takes_the_database_away(pybuild: Pybuild, tiny: str) -> None:
    image = pybuild.build(f"FROM scratch\nBOOTSTRAP {tiny} --clean=all hello-extras hello-libs\n")
    assert "usr/lib/hello/greeting" in image.files
    assert not [name for name in image.files if name.startswith("usr/lib/sysimage/")]


# --- The architecture


def test_another_architecture_takes_its_packages_and_those_of_none(
    pybuild: Pybuild, tiny: str
) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} --arch=aarch64 \\\n  "
    assert installed(pybuild.build(f"{text}hello-libs hello-extras\n")) == {
        "hello-libs",
        "hello-extras",
    }
    pybuild.output.unlink()
    words = ("Containerfile:3:3:", "package busybox is there for x86_64 alone")
    fails(pybuild, f"{text}busybox\n", 1, *words)


def test_an_architecture_that_is_none_is_an_error(pybuild: Pybuild, tiny: str) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} --arch=pdp11 hello-extras\n"
    fails(pybuild, text, 1, "Containerfile:2:1:", "--arch=pdp11: dnf knows no such architecture")


# --- Options of dnf


def test_options_of_dnf_are_set(pybuild: Pybuild, tiny: str) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} --setopt=group_package_types=mandatory @tiny\n"
    assert installed(pybuild.build(text)) == TINY


def test_options_of_a_repository_are_set(
    pybuild: Pybuild, tiny: str, tiny_repository: Path
) -> None:
    updates = f"{tiny} --repo=id=updates,url=file://{tiny_repository}/updates"
    text = f"FROM scratch\nBOOTSTRAP {updates} --setopt=updates.excludepkgs=hello* hello-libs\n"
    assert query(pybuild.build(text), "%{VERSION}") == ["1.0"]


@pytest.mark.parametrize(
    ("setopt", "message"),
    [
        ("colour=blue", "--setopt=colour=blue: "),
        ("best=perhaps", "--setopt=best=perhaps: "),
        ("none.priority=5", "--setopt=none.priority=5: no repository none"),
        ("tiny.colour=blue", "--setopt=tiny.colour=blue: "),
    ],
)
def test_an_option_that_dnf_does_not_have_is_an_error(
    pybuild: Pybuild, tiny: str, setopt: str, message: str
) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} --setopt={setopt} hello-extras\n"
    fails(pybuild, text, 1, "Containerfile:2:", message)


# --- The manager


def test_the_manager_can_be_named(pybuild: Pybuild, tiny: str) -> None:
    image = pybuild.build(f"FROM scratch\nBOOTSTRAP {tiny} --manager=dnf hello-extras\n")
    assert installed(image) == {"hello-extras"}


def test_a_manager_that_is_not_there_is_status_6(pybuild: Pybuild, tiny: str) -> None:
    if shutil.which("dnf5"):
        pytest.skip("dnf5 is there")
    text = f"FROM scratch\nBOOTSTRAP {tiny} --manager=dnf5 hello-extras\n"
    fails(pybuild, text, 6, "Containerfile:2:1:", "BOOTSTRAP needs dnf5", "hint: ")


# --- Several repositories


@pytest.mark.parametrize(("priorities", "version"), [((1, 50), "1.0"), ((50, 1), "2.0")])
def test_the_repository_of_the_lower_number_goes_first(
    pybuild: Pybuild, tiny_repository: Path, priorities: tuple[int, int], version: str
) -> None:
    shutil.copy2(tiny_repository / KEY, pybuild.context)
    first, second = priorities
    image = pybuild.build(
        f"FROM scratch\nBOOTSTRAP --key={KEY} "
        f"--repo=id=old,url=file://{tiny_repository}/repo,priority={first} "
        f"--repo=id=new,url=file://{tiny_repository}/updates,priority={second} hello-libs\n"
    )
    assert query(image, "%{VERSION}") == [version]


def test_a_repository_has_a_key_of_its_own(pybuild: Pybuild, tiny_repository: Path) -> None:
    for name in (KEY, "RPM-GPG-KEY-other"):
        shutil.copy2(tiny_repository / name, pybuild.context)
    repository = f"--repo=id=t,url=file://{tiny_repository}/repo"
    image = pybuild.build(f"FROM scratch\nBOOTSTRAP {repository},key={KEY} hello-extras\n")
    assert installed(image) == {"hello-extras"}
    pybuild.output.unlink()
    text = f"FROM scratch\nBOOTSTRAP {repository},key=RPM-GPG-KEY-other \\\n  hello-extras\n"
    fails(
        pybuild,
        text,
        1,
        "Containerfile:3:3:",
        "hello-extras-1.0-1.noarch is signed with another key",
    )


def test_a_key_of_one_repository_is_none_for_another(
    pybuild: Pybuild, tiny_repository: Path
) -> None:
    for name in (KEY, "RPM-GPG-KEY-other"):
        shutil.copy2(tiny_repository / name, pybuild.context)
    text = (
        f"FROM scratch\nBOOTSTRAP --repo=id=a,url=file://{tiny_repository}/repo,key={KEY} "
        f"--repo=id=b,url=file://{tiny_repository}/broken/wrongkey,key={KEY} \\\n"
        "  hello-extras bad-wrongkey\n"
    )
    message = "bad-wrongkey-1-1.noarch is signed with another key"
    fails(pybuild, text, 1, "Containerfile:3:16:", message)
    right = text.replace(f"wrongkey,key={KEY}", "wrongkey,key=RPM-GPG-KEY-other")
    assert installed(pybuild.build(right)) >= {"hello-extras", "bad-wrongkey"}


def _fingerprint(tiny_repository: Path) -> str:
    argv = ["gpg", "--show-keys", "--with-colons", str(tiny_repository / KEY)]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return next(line.split(":")[9] for line in said.splitlines() if line.startswith("fpr"))


@pytest.mark.needs_program("gpg")
def test_a_key_is_pinned_by_its_fingerprint(pybuild: Pybuild, tiny_repository: Path) -> None:
    shutil.copy2(tiny_repository / KEY, pybuild.context)
    right = _fingerprint(tiny_repository)
    text = f"FROM scratch\nBOOTSTRAP --repo=id=t,url=file://{tiny_repository}/repo \\\n"
    for wrong in ("0" * 40, right[-16:]):
        words = ("Containerfile:3:9:", f"has the fingerprint {right}, not {wrong}")
        fails(pybuild, f"{text}  --key={KEY}#{wrong} hello-extras\n", 1, *words)
    for spelled in (right, right.lower()):
        image = pybuild.build(f"{text}  --key={KEY}#{spelled} hello-extras\n")
        assert installed(image) == {"hello-extras"}


def test_a_repository_file_of_the_context_has_variables_and_keys(
    pybuild: Pybuild, tiny_repository: Path
) -> None:
    os.symlink(f"{tiny_repository}/repo", pybuild.directory / "24-x86_64")
    text = f"""\
[t]
name=Tiny $releasever
baseurl=file://{pybuild.directory}/$releasever-$basearch
gpgkey=file://{tiny_repository}/{KEY}
[off]
name=off
baseurl=http://127.0.0.1:1/
enabled=0
"""
    pybuild.add({"r.repo": text})
    image = pybuild.build("FROM scratch\nBOOTSTRAP --releasever=24 --repo=r.repo hello-extras\n")
    assert installed(image) == {"hello-extras"}


# --- Without checks


def test_to_check_no_signatures_is_warned_of(pybuild: Pybuild, tiny_repository: Path) -> None:
    repository = f"--repo=id=t,url=file://{tiny_repository}/broken/unsigned"
    good = f"--repo=id=good,url=file://{tiny_repository}/repo"
    ended = pybuild.try_build(
        f"FROM scratch\nBOOTSTRAP --nogpgcheck {good} {repository} bad-unsigned\n"
    )
    assert ended.status == 0, ended.stderr
    assert "Containerfile:2:1: warning: --nogpgcheck: it is not checked" in ended.stderr


# --- A whole system


@pytest.mark.slow
def test_a_system_of_a_hundred_packages_runs(pybuild: Pybuild) -> None:
    flags = add_tiny(pybuild, made_repository("devel"))
    image = pybuild.build(
        f"FROM scratch\nBOOTSTRAP {flags} <<EOF\n@core\npython3\niproute-6.1.0*\n-zstd\nEOF\n"
        "RUN ip -V > /a && python3 -c 'import ssl, sqlite3'\n"
    )
    found = installed(image)
    assert found >= {"bash", "coreutils", "python3", "iproute"}
    assert "zstd" not in found
    assert image.read("a").startswith(b"ip utility, iproute2-6.1.0")
