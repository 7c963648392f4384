"""BOOTSTRAP with a real dnf and real packages: what is in the image, and what is not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.buildkit.bootstraps import fails_and_leaves_nothing
from tests.buildkit.conftest import new_room, pybuild_of
from tests.buildkit.support import Image, Pybuild, modes, mounts, processes
from tests.support import CHECKOUT, Caller, run_pyrun, tree_state, which

pytestmark = pytest.mark.needs_program("dnf", "rpm")

HELLO = CHECKOUT / "examples/hello/Containerfile"
REPOSITORY = "--releasever=1 --repo=id=hello,url=repo --key=RPM-GPG-KEY-hello"
SYSTEM = f"FROM scratch\nBOOTSTRAP {REPOSITORY} hello-system hello-release busybox"


@pytest.fixture(scope="module", params=["root", "user", "plain_container"])
def built(
    public_root: Path,
    hello_repository: Path,
    user: Caller,
    request: pytest.FixtureRequest,
) -> Iterator[Pybuild]:
    """The example `hello`, built by root, by a user without rights, and in a plain container."""
    with new_room(public_root) as room:
        made = pybuild_of(room, request.param, user)
        _add_repository(made, hello_repository)
        ended = made.run("-f", HELLO, made.context, timeout_s=120)
        assert ended.status == 0, ended.stderr
        yield made


@pytest.fixture
def image(built: Pybuild) -> Image:
    """The image of `built`."""
    return Image(built.output)


def _add_repository(pybuild: Pybuild, repository: Path) -> None:
    for name in ("repo", "RPM-GPG-KEY-hello", "motd"):
        source, target = repository / name, pybuild.context / name
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, target)


@pytest.fixture
def with_repository(pybuild: Pybuild, hello_repository: Path) -> Pybuild:
    """`pybuild` with the repository of the example in its context."""
    _add_repository(pybuild, hello_repository)
    return pybuild


# --- The content


def test_the_example_runs(built: Pybuild) -> None:
    ran = run_pyrun(built.output, store=built.store, caller=built.caller)
    assert (ran.status, ran.stderr) == (0, "")
    assert "Hello, container!" in ran.stdout
    assert "This is Hello Linux 1." in ran.stdout


def test_a_bootstrap_is_one_layer(image: Image) -> None:
    made = [e["created_by"].split()[0] for e in image.config["history"] if "empty_layer" not in e]
    assert made == ["BOOTSTRAP", "WORKDIR", "COPY", "RUN"] or made == ["BOOTSTRAP", "COPY", "RUN"]


@pytest.mark.parametrize(
    "leftover",
    [
        "var/lib/dnf",
        "var/log/dnf",
        "var/log/hawkey",
        "var/cache/",
        "root/.rpmdb",
        ".rpmdb",
        "dev/",
        "proc/",
        "sys/",
        "tmp/",
        "var/tmp/",
        "etc/dnf",
        "etc/yum.repos.d",
        "etc/resolv.conf",
        "usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
        "usr/lib/sysimage/rpm/rpmdb.sqlite-shm",
        "usr/lib/sysimage/rpm/.rpm.lock",
    ],
)
def test_nothing_of_the_installation_is_left(image: Image, leftover: str) -> None:
    assert [name for name in image.layer(0) if name.startswith(leftover)] == []


def test_what_is_no_packages_is_the_database_and_what_scriptlets_made(
    image: Image, hello_repository: Path
) -> None:
    listed = subprocess.run(
        ["rpm", "-qlp", "--nosignature", *(hello_repository / "repo").glob("*.rpm")],
        check=True,
        capture_output=True,
        text=True,
    )
    packaged = {path.lstrip("/") for path in listed.stdout.splitlines()}
    assert sorted(set(image.layer(0)) - packaged - {"."}) == [
        "usr/lib/sysimage",
        "usr/lib/sysimage/rpm",
        "usr/lib/sysimage/rpm/rpmdb.sqlite",
    ]


def test_kernel_directories_are_there_and_empty(image: Image) -> None:
    found = {name: modes(image)[name] for name in ("dev", "proc", "sys", "tmp")}
    assert found == {
        "dev": "0:0 755",
        "proc": "0:0 555",
        "sys": "0:0 555",
        "tmp": "0:0 1777",
    }


def test_the_root_directory_is_as_its_package_says(image: Image) -> None:
    assert modes(image)["."] == "0:0 555"


def test_scriptlets_had_a_whole_system(image: Image) -> None:
    # They count on /dev/null, and on the packages that they require.
    assert image.read("var/lib/hello/languages") == b"C\nde\nfr\n"


# --- The database


@pytest.fixture
def unpacked(image: Image, tmp_path: Path) -> Path:
    """The image's files, owned by whom they belong to."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away, which rpm -V would miss")
    root = tmp_path / "root"
    root.mkdir()
    for number, layer in enumerate(image.layers):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(layer)
        argv = ["tar", "--xattrs", "--xattrs-include=*", "-xpf", str(path), "-C", str(root)]
        subprocess.run(argv, check=True)
    return root


def _rpm(root: Path, *arguments: str) -> list[str]:
    argv = ["rpm", "--root", str(root), "--dbpath", "/usr/lib/sysimage/rpm", *arguments]
    ended = subprocess.run(argv, check=False, capture_output=True, text=True)
    return ended.stdout.splitlines()


def test_rpm_knows_the_packages(unpacked: Path) -> None:
    found = {name for name in _rpm(unpacked, "-qa", "--qf", "%{NAME}\n") if "pubkey" not in name}
    assert found == {"hello", "hello-system", "hello-release", "busybox"}


def test_rpm_finds_every_file_as_it_was_packaged(unpacked: Path) -> None:
    # /etc/motd and the greeting are ours; nothing else may differ.
    assert _rpm(unpacked, "-Va", "--nodeps") == []


def test_install_times_are_those_of_the_packages(unpacked: Path) -> None:
    times = _rpm(unpacked, "-qa", "--qf", "%{NAME} %{INSTALLTIME}\n")
    found = sorted(int(line.split()[1]) for line in times if not line.startswith("gpg-pubkey"))
    assert found == [1735689600 + number for number in range(4)]  # rpm counts them on


# --- Reproducible


@pytest.mark.needs_root
@pytest.mark.needs_userns
def test_root_and_a_user_in_other_places_make_the_same_image(
    as_root: Pybuild, as_user: Pybuild, hello_repository: Path
) -> None:
    digests = []
    for pybuild in (as_root, as_user):
        _add_repository(pybuild, hello_repository)
        ended = pybuild.run("-q", "-f", HELLO, pybuild.context)
        assert ended.status == 0, ended.stderr
        digests.append(pybuild.output.read_bytes())
    assert digests[0] == digests[1]


def test_without_an_epoch_the_packages_say_the_time(image: Image) -> None:
    assert image.config["created"] == "2025-01-01T00:00:00Z"
    assert max(info.mtime for info in image.files.values()) == 1735689600


def test_source_date_epoch_beats_the_packages(with_repository: Pybuild) -> None:
    image = with_repository.build(SYSTEM, env={"SOURCE_DATE_EPOCH": "1000000000"})
    assert image.config["created"] == "2001-09-09T01:46:40Z"
    assert {info.mtime for info in image.files.values()} == {1_000_000_000}


def test_the_callers_umask_and_locale_mean_nothing(with_repository: Pybuild, image: Image) -> None:
    before = os.umask(0o077)
    try:
        ended = with_repository.run(
            "-f", HELLO, with_repository.context, env={"LC_ALL": "de_DE.UTF-8", "TZ": "Asia/Tokyo"}
        )
    finally:
        os.umask(before)
    assert ended.status == 0, ended.stderr
    assert Image(with_repository.output).layers[0] == image.layers[0]


# --- A second layer of packages


def test_a_system_without_a_package_manager_gets_more_packages(
    with_repository: Pybuild,
) -> None:
    image = with_repository.build(f"{SYSTEM}\nBOOTSTRAP {REPOSITORY} hello\nRUN hello > /a\n")
    assert image.read("a") == b"Hello, world!\n"
    layer = image.layer(1)
    assert "usr/bin/hello" in layer
    assert "usr/bin/busybox" not in layer
    assert not [name for name in layer if name.startswith(("dev/", "proc/", "sys/", "var/log"))]


def test_installing_what_is_there_is_no_error(with_repository: Pybuild) -> None:
    ended = with_repository.try_build(f"{SYSTEM}\nBOOTSTRAP {REPOSITORY} busybox\n")
    assert ended.status == 0, ended.stderr


def test_an_excluded_package_is_not_installed(with_repository: Pybuild) -> None:
    ended = with_repository.try_build(
        f"FROM scratch\nBOOTSTRAP {REPOSITORY} --exclude=busybox hello\n"
    )
    assert ended.status == 1
    assert "hello" in ended.stderr
    assert "Containerfile:2:" in ended.stderr


# --- The cache


def test_an_unchanged_repository_needs_no_dnf(with_repository: Pybuild, tmp_path: Path) -> None:
    with_repository.build(SYSTEM)
    fake = tmp_path / Path(which("dnf")).resolve().name
    fake.write_text("#!/bin/sh\nexit 99\n")
    fake.chmod(0o755)
    if fake.name != "dnf":
        (tmp_path / "dnf").symlink_to(fake)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert with_repository.steps(SYSTEM, env={"PATH": path}) == ["CACHED"]


def test_a_changed_repository_is_installed_from_again(with_repository: Pybuild) -> None:
    with_repository.build(SYSTEM)
    metadata = with_repository.context / "repo/repodata/repomd.xml"
    metadata.write_bytes(metadata.read_bytes() + b"<!-- changed -->\n")
    assert with_repository.steps(SYSTEM) == ["DONE"]


@pytest.mark.parametrize(
    "second", [f"{SYSTEM} hello", SYSTEM.replace("--rel", "--docs --rel"), SYSTEM + "\nUSER 5"]
)
def test_other_packages_or_flags_are_installed_anew(with_repository: Pybuild, second: str) -> None:
    with_repository.build(SYSTEM)
    expected = "CACHED" if "USER" in second else "DONE"
    assert with_repository.steps(second) == [expected]


# --- The host


@pytest.mark.needs_root
def test_the_host_is_as_it_was(with_repository: Pybuild) -> None:
    before = _host()
    with_repository.build(SYSTEM)
    assert _host() == before
    assert mounts(with_repository.directory) == []
    assert processes(with_repository.store) == []
    assert os.listdir(with_repository.store / "tmp") == []


def _host() -> list[object]:
    null = os.stat("/dev/null")
    found: list[object] = [(null.st_mode, null.st_uid, null.st_rdev), sorted(os.listdir("/root"))]
    places = ("/etc/dnf", "/etc/yum.repos.d", "/etc/rpm", "/var/lib/dnf", "/var/lib/rpm")
    for place in (*places, "/var/cache/dnf", "/root/.rpmdb"):
        found.append(tree_state(Path(place)))
    found += [sorted(os.listdir(place)) for place in ("/", "/etc", "/var/log", "/tmp")]
    return found


# --- Failures that any repository can have


def test_a_missing_package_is_an_error_at_its_word(with_repository: Pybuild) -> None:
    text = f"FROM scratch\nBOOTSTRAP {REPOSITORY} \\\n  busybox no-such-thing\n"
    fails_and_leaves_nothing(
        with_repository, text, 1, "Containerfile:3:11:", "no package no-such-thing"
    )


def test_a_missing_group_is_an_error_at_its_word(with_repository: Pybuild) -> None:
    text = f"FROM scratch\nBOOTSTRAP {REPOSITORY} \\\n  @no-such-group\n"
    fails_and_leaves_nothing(with_repository, text, 1, "Containerfile:3:3:", "no-such-group")


def test_a_repository_without_a_key_is_an_error_with_a_hint(with_repository: Pybuild) -> None:
    text = "FROM scratch\nBOOTSTRAP --releasever=1 --repo=id=hello,url=repo hello\n"
    fails_and_leaves_nothing(
        with_repository, text, 1, "repository 'hello' has no key", "hint: --key=FILE",
        "Containerfile:2:33:",
    )  # fmt: skip


def test_a_key_that_is_missing_or_none_is_an_error(with_repository: Pybuild) -> None:
    text = "FROM scratch\nBOOTSTRAP --repo=id=hello,url=repo --key={} hello\n"
    fails_and_leaves_nothing(
        with_repository, text.format("none"), 1, "key 'none'", "Containerfile:2:"
    )
    fails_and_leaves_nothing(with_repository, text.format("motd"), 1, "not a public key")


@pytest.mark.needs_program("gpg")
def test_packages_of_another_key_are_refused(with_repository: Pybuild, tmp_path: Path) -> None:
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "other", "ed25519"], check=True)
    exported = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)
    (with_repository.context / "RPM-GPG-KEY-hello").write_bytes(exported.stdout)
    fails_and_leaves_nothing(with_repository, f"{SYSTEM}\n", 1, "key", "Containerfile:2:")


def test_a_damaged_package_is_refused(with_repository: Pybuild) -> None:
    [package] = (with_repository.context / "repo").glob("busybox-*.rpm")
    content = bytearray(package.read_bytes())
    content[-40] ^= 0xFF
    package.write_bytes(content)
    fails_and_leaves_nothing(
        with_repository, f"{SYSTEM}\n", 1, "busybox", "'hello'", "Containerfile:2:"
    )


def test_damaged_metadata_is_refused(with_repository: Pybuild) -> None:
    [primary] = (with_repository.context / "repo/repodata").glob("*primary.xml*")
    primary.write_bytes(b"\x1f\x8b" + bytes(100))
    fails_and_leaves_nothing(with_repository, f"{SYSTEM}\n", 1, "'hello'", "Containerfile:2:")


@pytest.mark.parametrize(
    "repository",
    ["id=r,url=http://127.0.0.1:1/", "id=r,url=file:///nowhere", "http://127.0.0.1:1/x.repo"],
)
def test_a_repository_that_cannot_be_reached_is_status_4_at_its_word(
    pybuild: Pybuild, repository: str
) -> None:
    text = f"FROM scratch\nBOOTSTRAP --nogpgcheck \\\n  --repo={repository} a\n"
    fails_and_leaves_nothing(pybuild, text, 4, "Containerfile:3:10:")


@pytest.mark.parametrize("repository", ["none.repo", "id=r,url=none", "../../x.repo"])
def test_a_repository_that_the_context_lacks_is_an_error_at_its_word(
    pybuild: Pybuild, repository: str
) -> None:
    text = f"FROM scratch\nBOOTSTRAP --nogpgcheck \\\n  --repo={repository} a\n"
    fails_and_leaves_nothing(pybuild, text, 1, "Containerfile:3:10:", "No such file or directory")


@pytest.mark.parametrize("content", ["", "no section", "[a]\n[a]\n", "[a]\nname=x\n"])
def test_a_repository_file_that_is_none_is_an_error_at_its_word(
    pybuild: Pybuild, content: str
) -> None:
    pybuild.add({"r.repo": content})
    text = "FROM scratch\nBOOTSTRAP --nogpgcheck \\\n  --repo=r.repo a\n"
    fails_and_leaves_nothing(pybuild, text, 1, "Containerfile:3:10:")


def test_two_repositories_of_one_name_are_an_error_at_the_second(pybuild: Pybuild) -> None:
    text = "FROM scratch\nBOOTSTRAP --repo=id=a,url=/ \\\n --repo=id=a,url=/ a\n"
    fails_and_leaves_nothing(
        pybuild, text, 1, "Containerfile:3:9:", "repository 'a' is given twice"
    )


def test_a_machine_without_dnf_is_status_6_with_a_hint(with_repository: Pybuild) -> None:
    words = ("BOOTSTRAP needs dnf", "hint: ", "apt-get install dnf", "Containerfile:2:1:")
    fails_and_leaves_nothing(with_repository, f"{SYSTEM}\n", 6, *words, env={"PATH": "/nowhere"})


# --- Repositories that are broken on purpose


BROKEN = {
    "unsigned": ("bad-unsigned", "package", "bad-unsigned-1-1.noarch is not signed"),
    "wrongkey": ("bad-wrongkey", "package", "is signed with another key"),
    "badpayload": ("bad-payload", "package", "package bad-payload-1-1.noarch is damaged"),
    "missingdep": ("bad-missingdep", "package", "needs no-such-package >= 3"),
    "corrupt": ("bad-corrupt", "package", "bad-corrupt-1-1.noarch"),
    "badmd": ("bad-metadata", "repository", "the metadata of repository 'bad' is damaged"),
    "badmdsig": ("bad-mdsig", "repository", "repository 'bad': repomd.xml GPG signature"),
    "conflict": ("bad-conflict-a bad-conflict-b", "instruction", "/usr/share/clash conflicts"),
    "prefail": ("bad-prefail", "instruction", "the %pre scriptlet of bad-prefail-1-1.noarch"),
    "postfail": ("bad-postfail", "instruction", "the %post scriptlet of bad-postfail-1-1.noarch"),
}
_PLACES = {"instruction": "2:1", "repository": "3:10", "package": "4:3"}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_repository_fails_at_its_place_and_leaves_nothing(
    anybody: Pybuild, tiny_repository: Path, case: str
) -> None:
    packages, place, message = BROKEN[case]
    shutil.copy2(tiny_repository / "RPM-GPG-KEY-test", anybody.context)
    text = f"""\
FROM scratch
BOOTSTRAP --key=RPM-GPG-KEY-test --repo=id=good,url=file://{tiny_repository}/repo \\
  --repo=id=bad,url=file://{tiny_repository}/broken/{case} --setopt=bad.repo_gpgcheck=1 \\
  {packages}
"""
    if case in ("unsigned", "corrupt"):  # their metadata is not signed either
        text = text.replace("repo_gpgcheck=1", "repo_gpgcheck=0")
    said = fails_and_leaves_nothing(anybody, text, 1, message)
    assert f"Containerfile:{_PLACES[place]}:" in said
    assert mounts(anybody.directory) == []


def test_a_failing_post_scriptlet_can_be_accepted(pybuild: Pybuild, tiny_repository: Path) -> None:
    repositories = f"--repo=id=good,url=file://{tiny_repository}/repo"
    repositories += f" --repo=id=bad,url=file://{tiny_repository}/broken/postfail"
    flags = f"--nogpgcheck --allow-scriptlet-failure {repositories}"
    image = pybuild.build(f"FROM scratch\nBOOTSTRAP {flags} bad-postfail\n")
    assert "usr/share/bad-postfail" in image.files


def test_a_group_is_installed(anybody: Pybuild, tiny_repository: Path) -> None:
    for name in ("test.repo", "RPM-GPG-KEY-test"):
        shutil.copy2(tiny_repository / name, anybody.context)
    image = anybody.build(
        "FROM scratch\nBOOTSTRAP --releasever=24 --repo=test.repo --key=RPM-GPG-KEY-test @tiny\n"
    )
    assert "usr/bin/busybox" in image.files
    assert not re.search(r"^usr/share/(doc|man)/.*hello", "\n".join(image.files), re.MULTILINE)


def test_capabilities_set_user_ids_and_owners_of_packages_reach_the_layer(
    anybody: Pybuild, tiny_repository: Path
) -> None:
    repository = f"--repo=id=t,url=file://{tiny_repository}/repo --nogpgcheck --releasever=24"
    image = anybody.build(f"FROM scratch\nBOOTSTRAP {repository} hello hello-daemon\n")
    files = image.files
    capable = [n for n, i in files.items() if "SCHILY.xattr.security.capability" in i.pax_headers]
    assert len(capable) == 1
    assert [name for name, info in files.items() if info.mode & 0o4000]
    assert {info.uid for info in files.values()} > {0}
