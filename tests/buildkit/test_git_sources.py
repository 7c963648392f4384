"""ADD of git repositories, from git's own servers on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildkit.git_source import shown
from tests.buildkit.git_server import (
    COMMIT_TIME,
    Repository,
    git_environment,
    local_ssh,
    running_daemon,
    serve_git,
)
from tests.buildkit.support import Image, Pybuild, make_pybuild, modes, processes, text_files
from tests.buildkit.web import Request, Site, running_site
from tests.support import Caller

pytestmark = pytest.mark.needs_program("git", "tar")

OTHER = "0" * 40


@pytest.fixture
def root(public: Path) -> Path:
    """Where the repositories are."""
    return public / "repositories"


@pytest.fixture
def site(root: Path) -> Iterator[Site]:
    """A server of them."""
    with running_site() as made:
        made.answer = lambda request: serve_git(request, root)
        yield made


@pytest.fixture
def repository(root: Path) -> Repository:
    """One of them, with two commits."""
    made = Repository(root / "r.git")
    made.commit({"a": "1", "d/x": "2", "d/run": (b"#!", 0o700), "d/l": Path("x")})
    made.git("tag", "v1")
    made.git("tag", "--annotate", "--message=m", "a1")
    made.commit({"a": "3"})
    return made


@pytest.fixture
def url(site: Site, repository: Repository) -> str:
    """Its URL."""
    return f"{site.url}/{repository.path.name}"


def _files(pybuild: Pybuild, text: str) -> dict[str, str]:
    return text_files(pybuild.build(text))


def _steps(pybuild: Pybuild, text: str) -> list[str]:
    ended = pybuild.try_build(text)
    assert ended.status == 0, ended.stderr
    if "up to date" in ended.stderr:
        return []
    words = [line.split()[1] for line in ended.stderr.splitlines() if line.startswith("#")]
    return [word for word in words if word in ("CACHED", "DONE")]


def _error(pybuild: Pybuild, text: str, status: int) -> str:
    ended = pybuild.try_build(text)
    assert ended.status == status, ended.stderr
    assert not pybuild.output.exists()
    [line] = [line for line in ended.stderr.splitlines() if "Containerfile:" in line]
    return line + "\n" + ended.stderr.partition(line)[2]


# --- What it becomes


def test_files_have_plain_modes_the_epochs_time_and_no_git_directory(
    anybody: Pybuild, url: str
) -> None:
    image = anybody.build(f"FROM scratch\nADD {url} /r\n")
    assert text_files(image) == {"r/a": "3", "r/d/x": "2", "r/d/run": "#!", "r/d/l": "-> x"}
    assert modes(image) == {
        "r": "0:0 755",
        "r/a": "0:0 644",
        "r/d": "0:0 755",
        "r/d/x": "0:0 644",
        "r/d/run": "0:0 755",
        "r/d/l": "0:0 777",
    }
    assert {info.mtime for info in image.files.values()} == {315_532_800}


def test_chown_chmod_and_a_subdirectory(pybuild: Pybuild, url: str) -> None:
    image = pybuild.build(f"FROM scratch\nADD --chown=5:6 --chmod=600 {url}#v1:d /r/\n")
    assert modes(image)["r/x"] == "5:6 600"
    assert set(text_files(image)) == {"r/x", "r/run", "r/l"}


def test_the_time_of_the_commit_if_that_is_asked_for(pybuild: Pybuild, url: str) -> None:
    image = pybuild.build(f"FROM scratch\nADD {url}?mtime=commit /r\n")
    assert {info.mtime for info in image.files.values()} == {COMMIT_TIME + 1}
    assert image.config["created"] == "2001-09-09T01:46:41Z"


def test_the_ignore_file_says_nothing_of_repositories(pybuild: Pybuild, url: str) -> None:
    pybuild.add({".dockerignore": "*"})
    assert "r/a" in _files(pybuild, f"FROM scratch\nADD {url} /r\n")


def test_files_repositories_and_heredocs_go_in_order(pybuild: Pybuild, url: str) -> None:
    pybuild.add({"f/a": "file", "f/d/x": "file", "g/d/x": "again"})
    text = f"FROM scratch\nADD f {url} g <<a /r/\nhere\na\n"
    found = _files(pybuild, text)
    assert (found["r/a"], found["r/d/x"]) == ("here\n", "again")


# --- Which commit


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("", "3"),
        ("#main", "3"),
        ("#refs/heads/main", "3"),
        ("#heads/main", "3"),
        ("#v1", "1"),
        ("#a1", "1"),
        ("#tags/a1", "1"),
        ("?tag=a1", "1"),
        ("?branch=main", "3"),
        ("?ref=v1", "1"),
        ("#both", "branch"),
        ("?tag=both", "1"),
        ("?branch=both", "branch"),
        ("#refs/other/x", "branch"),
    ],
)
def test_what_a_reference_means(
    pybuild: Pybuild, repository: Repository, url: str, reference: str, expected: str
) -> None:
    repository.git("tag", "both", "v1")
    repository.git("checkout", "--quiet", "-b", "refs/heads/both", "v1")
    repository.git("branch", "--move", "refs/heads/both", "both")
    repository.commit({"a": "branch"})
    repository.git("update-ref", "refs/other/x", "HEAD")
    repository.git("checkout", "--quiet", "main")
    found = _files(pybuild, f"FROM scratch\nADD {url}{reference} /r\n")
    assert found["r/a"] == expected


def test_a_commit_by_its_name(pybuild: Pybuild, repository: Repository, url: str) -> None:
    first = repository.git("rev-parse", "v1")
    repository.git("tag", "--delete", "v1", "a1")
    assert _files(pybuild, f"FROM scratch\nADD {url}#{first} /r\n")["r/a"] == "1"
    text = f"FROM scratch\nADD {url}?commit={first}&fetch-by-commit=true /r\n"
    assert _files(pybuild, text)["r/a"] == "1"


def test_a_server_that_hands_out_branches_alone(
    pybuild: Pybuild, repository: Repository, root: Path, site: Site, url: str
) -> None:
    site.answer = lambda request: serve_git(request, root, protocol=False)
    middle = repository.git("rev-parse", "v1")
    repository.git("tag", "--delete", "v1", "a1")
    for reference, expected in (("#main", "3"), (f"#{middle}", "1")):
        found = _files(pybuild, f"FROM scratch\nADD {url}{reference} /r\n")
        assert found["r/a"] == expected


def test_a_checksum_is_the_beginning_of_the_commits_name(
    pybuild: Pybuild, repository: Repository, url: str
) -> None:
    commit, tag = repository.git("rev-parse", "main", "a1").split()
    for checksum, reference in (
        (commit, ""),
        (commit[:8], "#main"),
        (tag, "#a1"),
        (repository.git("rev-parse", "v1")[:10], "#a1"),
    ):
        pybuild.build(f"FROM scratch\nADD --checksum={checksum} {url}{reference} /r\n")
    said = _error(pybuild_without_output(pybuild), _add(f"--checksum={OTHER} {url}#main"), 4)
    assert f"{url}: main is commit {commit}, {OTHER} was expected" in said


def pybuild_without_output(pybuild: Pybuild) -> Pybuild:
    """The same, as if nothing had been built."""
    pybuild.output.unlink()
    return pybuild


def _add(what: str) -> str:
    return f"FROM scratch\nADD {what} /r\n"


def test_two_hash_algorithms(pybuild: Pybuild, root: Path, site: Site) -> None:
    path = root / "s.git"
    made = Repository(path)
    subprocess.run(["rm", "-r", path / ".git"], check=True)
    made.git("init", "--quiet", "--initial-branch=main", "--object-format=sha256")
    commit = made.commit({"a": "1"})
    assert len(commit) == 64
    for reference in ("", f"#{commit}"):
        text = _add(f"--keep-git-dir {site.url}/s.git{reference}")
        assert "r/a" in _files(pybuild, text)


# --- Submodules


@pytest.fixture
def with_submodules(root: Path, repository: Repository) -> Repository:
    """A repository in a repository in a repository, by relative URLs."""
    inner = Repository(root / "inner.git")
    inner.git("submodule", "--quiet", "add", repository.path, "r")
    inner.git("config", "--file=.gitmodules", "submodule.r.url", "../r.git")
    inner.commit({"i": "inner"})
    outer = Repository(root / "outer.git")
    outer.git("submodule", "--quiet", "add", inner.path, "deep/in")
    outer.git("config", "--file=.gitmodules", "submodule.deep/in.url", "../inner.git")
    outer.commit({"o": "outer"})
    repository.commit({"a": "later"})
    return outer


@pytest.mark.parametrize("protocol", [True, False])
def test_submodules_are_fetched_at_their_commits(
    anybody: Pybuild, with_submodules: Repository, root: Path, site: Site, *, protocol: bool
) -> None:
    site.answer = lambda request: serve_git(request, root, protocol=protocol)
    found = _files(anybody, _add(f"{site.url}/outer.git"))
    found.pop("r/.gitmodules"), found.pop("r/deep/in/.gitmodules")
    below = "r/deep/in/r"
    assert found == {
        "r/o": "outer",
        "r/deep/in/i": "inner",
        f"{below}/a": "3",
        f"{below}/d/x": "2",
        f"{below}/d/run": "#!",
        f"{below}/d/l": "-> x",
    }


def test_submodules_can_be_left_out(
    pybuild: Pybuild, with_submodules: Repository, site: Site
) -> None:
    image = pybuild.build(_add(f"{site.url}/outer.git?submodules=false"))
    assert set(text_files(image)) == {"r/o", "r/.gitmodules"}
    assert image.files["r/deep/in"].isdir()


def test_no_submodule_comes_from_this_machine(
    pybuild: Pybuild, root: Path, repository: Repository, site: Site
) -> None:
    outer = Repository(root / "outer.git")
    outer.git("submodule", "--quiet", "add", f"file://{repository.path}", "r")
    outer.commit({})
    said = _error(pybuild, _add(f"{site.url}/outer.git"), 4)
    assert "Containerfile:2:5: " in said
    assert "transport 'file' not allowed" in said


# --- The .git directory


def _extracted(image: Image, path: Path) -> Path:
    for layer in image.layers:
        subprocess.run(["tar", "-x"], input=layer, cwd=path, check=True)
    return path / "r"


def _git(path: Path, *arguments: str) -> str:
    argv = ["git", "-c", f"safe.directory={path}", *arguments]
    done = subprocess.run(argv, cwd=path, env=git_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("reference", ["", "#a1", "?keep-git-dir=true"])
def test_a_git_directory_that_is_kept_is_a_repository(
    pybuild: Pybuild, repository: Repository, url: str, tmp_path: Path, reference: str
) -> None:
    flag = "" if "keep" in reference else "--keep-git-dir=true "
    secret = url.replace("//", "//user:secret@")
    path = _extracted(pybuild.build(_add(f"{flag}{secret}{reference}")), tmp_path)
    assert _git(path, "status", "--porcelain") == ""
    ref = "a1" if reference == "#a1" else "main"
    assert (
        _git(path, "rev-parse", "HEAD", ref).split()
        == [repository.git("rev-parse", f"{ref}^{{commit}}")] * 2
    )
    assert _git(path, "log", "--format=%s") == "change"
    assert _git(path, "remote", "get-url", "origin") == url
    assert _git(path, "fsck", "--strict") == ""


def test_keep_git_dir_false_is_stronger_than_the_query(pybuild: Pybuild, url: str) -> None:
    text = _add(f"--keep-git-dir=false {url}?keep-git-dir=true")
    assert not any(name.startswith("r/.git") for name in pybuild.build(text).files)


def test_a_git_directory_is_the_same_however_the_server_packs(
    as_root: Pybuild, as_user: Pybuild, plain: Pybuild, repository: Repository, root: Path,
    site: Site, url: str,
) -> None:  # fmt: skip
    text = _add(f"--keep-git-dir {url}")
    digests = {as_root.build(text).descriptor["digest"]}
    repository.git("gc", "--quiet", "--aggressive")
    digests.add(as_user.build(text).descriptor["digest"])
    site.answer = lambda request: serve_git(request, root, protocol=False)
    digests.add(plain.build(text).descriptor["digest"])
    assert len(digests) == 1


# --- How it is reached


def test_the_git_protocol(pybuild: Pybuild, root: Path, repository: Repository) -> None:
    with running_daemon(root) as url:
        assert _files(pybuild, _add(f"{url}/{repository.path.name}#v1"))["r/a"] == "1"


@pytest.mark.parametrize("form", ["git@host:{}", "ssh://git@host{}", "ssh://host:2222{}"])
def test_ssh(pybuild: Pybuild, repository: Repository, public: Path, form: str) -> None:
    env = {"GIT_SSH_COMMAND": str(local_ssh(public / "ssh")), "GIT_SSH_VARIANT": "ssh"}
    image = pybuild.build(_add(form.format(repository.path)), env=env)
    assert text_files(image)["r/a"] == "3"


def test_ssh_asks_nobody_and_uses_the_callers_files(anybody: Pybuild, public: Path) -> None:
    ssh = public / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text('#!/bin/sh\necho "$*" >&2\nexit 255\n')
    ssh.chmod(0o755)
    home = public / "home"
    (home / ".ssh").mkdir(parents=True)
    for name in ("config", "known_hosts", "id_ed25519"):
        (home / ".ssh" / name).touch()
    env = {"HOME": str(home), "PATH": f"{ssh.parent}:{os.environ['PATH']}"}
    ended = anybody.try_build(_add("git@host:r.git"), env=env)
    assert ended.status == 4
    files = f"-F {home}/.ssh/config -o UserKnownHostsFile={home}/.ssh/known_hosts"
    assert f"-o BatchMode=yes {files} -o IdentityFile={home}/.ssh/id_ed25519" in ended.stderr


def test_nobodys_configuration_matters(pybuild: Pybuild, url: str, public: Path) -> None:
    (public / ".gitconfig").write_text("[core]\nautocrlf = true\n[protocol]\nallow = never\n")
    (public / ".config/git").mkdir(parents=True)
    (public / ".config/git/attributes").write_text("* text eol=crlf\n")
    image = pybuild.build(_add(f"{url}#v1"), env={"HOME": str(public), "GIT_DIR": "/nonexistent"})
    assert image.read("r/d/x") == b"2"


def test_attributes_of_the_repository_itself_do(
    pybuild: Pybuild, repository: Repository, url: str
) -> None:
    repository.commit({".gitattributes": "*.txt text eol=crlf\n", "a.txt": "1\n2\n"})
    assert pybuild.build(_add(url)).read("r/a.txt") == b"1\r\n2\r\n"


# --- The cache


def test_each_build_asks_and_a_branch_that_moved_is_noticed(
    anybody: Pybuild, repository: Repository, site: Site, url: str
) -> None:
    text = _add(f"{url}#main")
    assert _steps(anybody, text) == ["DONE"]
    before = len(site.requests)
    assert _steps(anybody, text) == []
    assert len(site.requests) > before
    assert _steps(anybody, text + "ENV a=b\n") == ["CACHED"]
    repository.commit({"a": "4"})
    assert _steps(anybody, text) == ["DONE"]
    assert Image(anybody.output).read("r/a") == b"4"


def test_another_name_of_the_same_commit_is_the_same_layer(
    pybuild: Pybuild, repository: Repository, url: str
) -> None:
    assert _steps(pybuild, _add(f"{url}#v1")) == ["DONE"]
    assert _steps(pybuild, _add(f"{url}?tag=a1")) == ["CACHED"]
    assert _steps(pybuild, _add(f"{url}#v1:d")) == ["DONE"]


def test_who_names_the_commit_asks_nobody_twice(
    pybuild: Pybuild, repository: Repository, site: Site, url: str
) -> None:
    text = _add(f"{url}#{repository.git('rev-parse', 'v1')}")
    assert _steps(pybuild, text) == ["DONE"]
    before = len(site.requests)
    assert _steps(pybuild, text) == []
    assert _steps(pybuild, text + "ENV a=b\n") == ["CACHED"]
    assert len(site.requests) == before


# --- What goes wrong


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("#none", "no branch or tag 'none'"),
        ("#abcdef0", "no branch or tag 'abcdef0'"),
        ("#main:none", "no directory 'none' in commit "),
        ("#main:a", "no directory 'a' in commit "),
        (f"#{OTHER}", "remote error: upload-pack: not our ref"),
    ],
)
def test_what_is_not_there(pybuild: Pybuild, url: str, reference: str, message: str) -> None:
    said = _error(pybuild, _add(url + reference), 4)
    assert f"Containerfile:2:5: {url}: {message}" in said
    assert ("named by all of its 40 digits" in said) == ("abc" in reference)


def test_a_directory_that_is_a_link_stays_inside(
    pybuild: Pybuild, repository: Repository, url: str
) -> None:
    repository.commit({"out": Path("/etc"), "up": Path("../../../../etc"), "in": Path("d")})
    assert "r/x" in _files(pybuild, _add(f"{url}#:in"))
    pybuild.output.unlink()
    for name in ("out", "up"):
        assert f"no directory '{name}'" in _error(pybuild, _add(f"{url}#:{name}"), 4)


def test_no_repository_and_no_server(pybuild: Pybuild, url: str, site: Site) -> None:
    said = _error(pybuild, _add(f"{site.url.replace('//', '//u:secret@')}/none.git"), 4)
    assert f"Containerfile:2:5: {site.url}/none.git: repository '{site.url}/none.git" in said
    assert "secret" not in said.partition("\n")[0]
    with running_site() as gone:
        pass
    said = _error(pybuild, _add(f"{gone.url}/r.git"), 4)
    assert "Connection refused" in said or "Failed to connect" in said


def test_without_git_it_is_said_what_is_missing(pybuild: Pybuild, public: Path) -> None:
    ended = pybuild.try_build(_add("https://example.com/r.git"), env={"PATH": str(public)})
    assert ended.status == 6
    assert "Containerfile:2:5: ADD of a git repository needs the git program" in ended.stderr
    assert "install git" in ended.stderr


@pytest.mark.parametrize(
    ("what", "status", "message"),
    [
        ("--checksum=sha256:$d https://h/r.git", 2, "--checksum of a git repository is the name"),
        ("https://h/r.git?commit=xyz", 2, "'xyz' is no name of a commit"),
        ("--checksum=abcdef1 https://h/r.git?commit=abcdef2", 2, "two commits are asked for"),
        ("https://h/r.git?commit=abcdef&fetch-by-commit=1", 2, "needs the whole name"),
        ("https://h/r.git?mtime=now", 2, "mtime is checkout or commit, not 'now'"),
        ("--keep-git-dir https://h/r.git#:d", 2, "a subdirectory has no .git to keep"),
        ("https://h/r.git#--upload-pack=x", 2, "begins with a dash"),
        ("ssh://-oProxyCommand=x/r", 4, "strange hostname '-oProxyCommand=x' blocked"),
        ("https://h/r.git#a:../..", 2, "leaves the repository"),
        ("file:///r.git", 2, "ADD takes no file URL"),
        ("ext::sh%20-c:r.git", 1, "not found in the context"),
    ],
)
def test_what_cannot_be_is_an_error_at_its_place(
    pybuild: Pybuild, what: str, status: int, message: str
) -> None:
    ended = pybuild.try_build(f"FROM scratch\nARG d={'0' * 64}\nADD {what} /r\n")
    assert ended.status == status, ended.stderr
    assert "Containerfile:3:" in ended.stderr
    assert message in ended.stderr


def test_an_interruption_ends_git_and_leaves_nothing(
    pybuild: Pybuild, site: Site, repository: Repository
) -> None:
    def answer(request: Request) -> None:
        process.send_signal(signal.SIGTERM)
        request.rfile.read()  # until the client is gone

    site.answer = answer
    process = pybuild.start(_add(f"{site.url}/r.git"))
    assert process.wait(30) == 128 + signal.SIGTERM
    assert processes(pybuild.directory) == []
    assert not list((pybuild.store / "tmp").iterdir())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/r.git", "https://h/r.git"),
        ("https://token@h:80/r.git", "https://h:80/r.git"),
        ("https://u:p@x@h/a@b", "https://h/a@b"),
        ("ssh://git@h/r", "ssh://git@h/r"),
        ("ssh://git:p@h/r", "ssh://git@h/r"),
        ("git@h:r@x", "git@h:r@x"),
    ],
)
def test_a_password_is_not_shown(url: str, expected: str) -> None:
    assert shown(url) == expected


def test_whoever_builds_the_image_is_the_same(
    as_root: Pybuild, as_user: Pybuild, plain: Pybuild, public: Path, lone_user: Caller, url: str
) -> None:
    lone = make_pybuild(public / "lone", lone_user)
    text = _add(f"{url}#v1")
    images = [each.build(text) for each in (as_root, as_user, plain, lone)]
    assert len({image.descriptor["digest"] for image in images}) == 1
