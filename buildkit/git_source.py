"""Git repositories that ADD takes files from, by the machine's git program.

    find_commit   what a reference is at the moment; it identifies the source
    check_out     the files of a commit, in a directory

No configuration of the user's or the machine's has a say in what comes out, only in how a server
is reached: proxies, certificates, SSH keys and the agent. Repositories of this machine are not
reached at all, not even as submodules.
"""

from __future__ import annotations

import os
import re
import signal

from buildkit.errors import HostError, NetworkError
from buildkit.inputs import find_program
from runtime.record import Record
from runtime.sandbox import syscalls
from runtime.sandbox.rootpath import open_in_root
from runtime.store.workspace import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.inputs import Input
    from buildkit.steps import GitTree

_PROTOCOLS = "http:https:git:ssh"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_FROM_THE_CALLER = re.compile(
    r"PATH|HOME|(?:https?|ftp|all|no)_proxy|SSH_AUTH_SOCK|SSL_CERT_(?:FILE|DIR)"
    r"|GIT_(?:SSL_CAINFO|SSL_CAPATH|SSH|SSH_COMMAND|SSH_VARIANT|PROXY_COMMAND|PROXY_SSL_CAINFO)",
    re.IGNORECASE,
)
_SETTINGS = {
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.hooksPath": "/dev/null",
    "advice.detachedHead": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "init.defaultBranch": "main",
    "http.lowSpeedLimit": "1",  # bytes a second
    "http.lowSpeedTime": "60",  # seconds
}
# What `git init` would find out about the filesystem, said once and for all.
_CONFIG = """\
[core]
\trepositoryformatversion = {version}
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
"""
_SHA256_CONFIG = "[extensions]\n\tobjectformat = sha256\n"


class Commit(Record):
    """A commit, and the full name of the branch or tag that led to it, if one did."""

    id: str
    ref: str = ""
    others: tuple[str, ...] = ()  # names of tag objects: a checksum may be theirs


class _GitError(Exception):
    """Git ended with an error; the argument is what it said."""


def find_commit(tree: GitTree) -> Commit:
    """What a reference means at the moment; raises NetworkError, or HostError without git.

    A whole name of a commit is what it says: nobody is asked.
    """
    found = _named_commit(tree) or _ask(tree)
    if tree.commit and not any(name.startswith(tree.commit) for name in (found.id, *found.others)):
        ref = tree.ref or "the default branch"
        raise NetworkError(
            f"{shown(tree.url)}: {ref} is commit {found.id}, {tree.commit} was expected"
        )
    return found


def git_input(url: str, ref: str) -> Input:
    """What a reference that may move is at the moment, in the form that `inputs` has."""
    found = _ask_for(url, ref)
    return "git", url, ref, found.id, found.ref


def moves(tree: GitTree) -> bool:
    """Whether a reference may be another commit tomorrow."""
    return _named_commit(tree) is None


def _named_commit(tree: GitTree) -> Commit | None:
    name = tree.commit if tree.by_commit else tree.ref
    return Commit(id=name) if _COMMIT.fullmatch(name) else None


def _ask(tree: GitTree) -> Commit:
    return _ask_for(tree.url, tree.ref)


def _ask_for(url: str, ref: str) -> Commit:
    short = ref.removeprefix("refs/")
    heads, tags = (f"refs/{kind}/{short.removeprefix(f'{kind}/')}" for kind in ("heads", "tags"))
    wanted = ("HEAD",) if not ref else (f"refs/{short}", heads, tags, f"{tags}^{{}}")
    try:
        said = _git("ls-remote", "--symref", "--", url, *wanted)
    except _GitError as error:
        raise NetworkError(f"{shown(url)}: {_reason(error, url)}") from error
    lines = [line.partition("\t")[::2] for line in said.splitlines()]
    targets = {name: id_[5:] for id_, name in lines if id_.startswith("ref: ")}
    ids = {name: id_ for id_, name in lines if _COMMIT.fullmatch(id_)}
    # As git-checkout: a branch comes before a tag of the same name.
    for name in wanted:
        if name in ids:
            peeled = ids.get(f"{name}^{{}}")
            others = (ids[name],) if peeled else ()
            return Commit(id=peeled or ids[name], ref=targets.get(name, name), others=others)
    what = f"no branch or tag {ref!r}" if ref else "it has no default branch"
    looks_short = re.fullmatch(r"[0-9a-f]{4,39}", ref)
    hint = "a commit is named by all of its 40 digits" if looks_short else None
    raise NetworkError(f"{shown(url)}: {what}", hint=hint)


def check_out(tree: GitTree, commit: Commit, work: str) -> tuple[str, int]:
    """Fetch the files of a commit into the new directory `work`.

    Returns the directory to be copied, below which `tree.subdir` may be, and the time of the
    commit in seconds. Raises NetworkError.
    """
    os.mkdir(work, 0o700)
    files = f"{work}/files"
    try:
        _init(files, commit)
        _fetch(files, tree, commit)
        _git("checkout", "--quiet", "--detach", commit.id, cwd=files)
        if tree.submodules and os.path.lexists(f"{files}/.gitmodules"):
            _check_out_submodules(files, tree)
        time = int(_git("show", "--no-patch", "--format=%ct", commit.id, cwd=files))
        if tree.keep_git_dir:
            _make_git_directory(f"{work}/kept", files, tree, commit)
        remove_tree(f"{files}/.git")
        if tree.keep_git_dir:
            os.rename(f"{work}/kept/.git", f"{files}/.git")
    except _GitError as error:
        raise NetworkError(f"{shown(tree.url)}: {_reason(error, tree.url)}") from error
    files_fd = os.open(files, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(open_in_root(files_fd, tree.subdir or ".", os.O_PATH | os.O_DIRECTORY))
    except OSError:
        what = f"{shown(tree.url)}: no directory {tree.subdir!r} in commit {commit.id}"
        raise NetworkError(what) from None
    finally:
        os.close(files_fd)
    return files, max(0, min(time, 1 << 33))


def _init(path: str, commit: Commit) -> None:
    form = "sha256" if len(commit.id) == 64 else "sha1"
    _git("init", "--quiet", "--template=", f"--object-format={form}", "--", path)


def _fetch(files: str, tree: GitTree, commit: Commit) -> None:
    """Get the commit, and as little else as the server allows."""
    _git("config", "remote.origin.url", tree.url, cwd=files)  # submodules may be relative to it
    least = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--depth=1")
    attempts: list[tuple[str, ...]] = [(*least, "--", "origin", commit.id)]
    if commit.ref:  # servers need not hand out a commit by its name
        attempts.append((*least, "--", "origin", commit.ref))
    every = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
    attempts.append(("fetch", "--quiet", "--no-recurse-submodules", "--", "origin", *every))
    first = None
    for arguments in attempts:
        try:
            _git(*arguments, cwd=files)
            _git("cat-file", "-e", f"{commit.id}^{{commit}}", cwd=files)
            return
        except _GitError as error:
            first = first or error
    assert first is not None
    raise first


def _check_out_submodules(files: str, tree: GitTree) -> None:
    update = ("submodule", "--quiet", "update", "--init", "--recursive")
    try:
        _git(*update, "--depth=1", cwd=files)
    except _GitError:  # a server that hands out no commit by its name
        _git("submodule", "--quiet", "deinit", "--force", "--all", cwd=files)
        remove_tree(f"{files}/.git/modules")
        _git(*update, cwd=files)
    # They are files of the tree from here on: their repositories are in the one that goes.
    for folder, folders, names in os.walk(files):
        if folder != files and ".git" in names:
            os.unlink(f"{folder}/.git")
        if folder == files:
            folders.remove(".git")


def _make_git_directory(path: str, files: str, tree: GitTree, commit: Commit) -> None:
    """Make a repository of the one commit whose files are always the same.

    What was fetched is packed as the server liked: here each object is a file of its own. The
    index knows no times, and there is no log.
    """
    _init(path, commit)
    _git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=files)
    _git(
        "-c", "fetch.unpackLimit=2000000000", "fetch", "--quiet", "--no-tags", "--depth=1",
        "--no-recurse-submodules", "--", f"file://{files}", commit.id,
        cwd=path, protocols="file",
    )  # fmt: skip
    git = f"{path}/.git"
    sha256 = len(commit.id) == 64
    with open(f"{git}/config", "w", encoding="ascii") as config:
        config.write(_CONFIG.format(version=int(sha256)) + _SHA256_CONFIG * sha256)
    _git("config", "remote.origin.url", shown(tree.url), cwd=path)
    _git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*", cwd=path)
    if commit.ref.startswith("refs/"):
        _git("update-ref", commit.ref, commit.id, cwd=path)
    _git("update-ref", "--no-deref", "HEAD", commit.id, cwd=path)
    _git("read-tree", commit.id, cwd=path)
    for name in ("FETCH_HEAD", "ORIG_HEAD", "COMMIT_EDITMSG"):
        if os.path.exists(f"{git}/{name}"):
            os.unlink(f"{git}/{name}")
    remove_tree(f"{git}/logs")


def _git(*arguments: str, cwd: str = "/", protocols: str = _PROTOCOLS) -> str:
    """What a git command says; raises _GitError, and HostError if there is no git."""
    import subprocess

    program = find_program("git")
    if program is None:
        raise HostError(
            "ADD of a git repository needs the git program, and there is none on PATH",
            hint="install git",
        )
    settings = [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]
    process = subprocess.Popen(
        ["git", *settings, *arguments],
        executable=program,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=_environment(protocols),
        umask=0o022,
        start_new_session=True,  # no terminal to ask for passwords at; and to be killed as one
        preexec_fn=_die_with_parent,
    )
    try:
        output, errors = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    if process.returncode:
        raise _GitError(errors.decode("utf-8", "replace"))
    return output.decode("utf-8", "surrogateescape")


def _die_with_parent() -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)


def _environment(protocols: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if _FROM_THE_CALLER.fullmatch(k)}
    fixed = {
        "LC_ALL": "C",
        "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": protocols,
    }
    return {"GIT_SSH_COMMAND": _ssh_command(kept.get("HOME", ""))} | kept | fixed


def _ssh_command(home: str) -> str:
    """How ssh is called: never asking, and with the caller's own files.

    It takes its home from the account, and in a user namespace that is root's.
    """
    import shlex

    command = ["ssh", "-o", "BatchMode=yes"]
    folder = f"{home}/.ssh"
    if home and os.path.isfile(f"{folder}/config"):
        command += ["-F", f"{folder}/config"]
    if home and os.path.isfile(f"{folder}/known_hosts"):
        command += ["-o", f"UserKnownHostsFile={folder}/known_hosts"]
    for name in ("id_ed25519", "id_ecdsa", "id_rsa"):
        if home and os.path.isfile(f"{folder}/{name}"):
            command += ["-o", f"IdentityFile={folder}/{name}"]
    return shlex.join(command)


def shown(url: str) -> str:
    """A repository's URL as errors may show it: without a password."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    host, slash, path = rest.partition("/")
    user, _, host = host.rpartition("@")
    # The user of ssh is part of the address; that of http may be a token.
    user = f"{user.partition(':')[0]}@" if user and scheme == "ssh" else ""
    return f"{scheme}://{user}{host}{slash}{path}"


def _reason(error: _GitError, url: str) -> str:
    """The line of git's that says what is wrong."""
    lines = [line.strip() for line in str(error).replace(url, shown(url)).splitlines()]
    telling = [line for line in lines if line.startswith(("fatal: ", "error: ", "remote: "))]
    # "fatal: Could not read from remote repository." comes after what ssh said.
    if len(lines) > 1 and telling and "Could not read from remote" in telling[0]:
        return lines[0]
    return (telling or lines or ["git failed"])[0].removeprefix("fatal: ")
