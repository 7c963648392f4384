"""BOOTSTRAP --manager=apt with a real apt, mmdebstrap and dpkg, and a small Debian."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.buildkit.bootstraps import fails_and_leaves_nothing
from tests.buildkit.conftest import new_room, pybuild_of
from tests.buildkit.debian_mirror import add_mirror
from tests.buildkit.support import Image, Pybuild, modes, mounts, processes
from tests.conftest import remove
from tests.support import Caller, Result, run_pyrun

pytestmark = pytest.mark.needs_program("apt-get", "mmdebstrap", "dpkg-deb", "gpg", "gpgv")

MIRROR = "--repo=id=debian,url=debian,suite=bookworm"
APT = f"BOOTSTRAP --manager=apt {MIRROR} --key=archive.asc"
Files = dict[str, tarfile.TarInfo]
SYSTEM = f'FROM scratch\n{APT} greeting\nCMD ["greeting"]\n'


@pytest.fixture(scope="module", params=["root", "user", "lone_user", "plain_container"])
def built(
    public_root: Path, debian_mirror: Path, user: Caller, request: pytest.FixtureRequest
) -> Iterator[Pybuild]:
    """A small system, built by root, by users with many ids and with one, in a plain container."""
    who = request.param
    if who == "lone_user":
        who, user = "user", request.getfixturevalue("lone_user")
    with new_room(public_root) as room:
        made = pybuild_of(room, who, user)
        add_mirror(made, debian_mirror)
        ended = made.try_build(SYSTEM, timeout_s=180, env={"SECRET": "s3cret"})
        assert ended.status == 0, ended.stderr
        yield made


@pytest.fixture(scope="module")
def image(built: Pybuild) -> Image:
    """The image of `built`."""
    return Image(built.output)


@pytest.fixture(scope="module")
def files(image: Image) -> Files:
    """What is in it."""
    return image.files


@pytest.fixture
def with_mirror(pybuild: Pybuild, debian_mirror: Path) -> Pybuild:
    """`pybuild` with the mirror in its context."""
    add_mirror(pybuild, debian_mirror)
    return pybuild


# --- The content


def test_the_system_runs(built: Pybuild) -> None:
    ran = run_pyrun(built.output, store=built.store, caller=built.caller)
    assert (ran.status, ran.stdout, ran.stderr) == (0, "Hello, Debian!\n", "")


def test_packages_are_named_as_they_are_set_up(with_mirror: Pybuild) -> None:
    said = with_mirror.try_build(SYSTEM, timeout_s=180).stderr
    assert "Setting up greeting (1.0) ...\n" in said
    for noise in ("Unpacking ", "copy:/", "pre-depend", "already the newest"):
        assert noise not in said


def test_dpkg_knows_the_packages_and_finds_no_fault(built: Pybuild) -> None:
    show = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"]
    ran = run_pyrun(built.output, *show, store=built.store, caller=built.caller)
    states = dict(line.split() for line in ran.stdout.splitlines())
    assert set(states.values()) == {"installed"}
    assert {"greeting", "dpkg", "base-files"} < states.keys()
    assert not {"apt", "weakling"} & states.keys()
    audit = run_pyrun(built.output, "dpkg", "--audit", store=built.store, caller=built.caller)
    assert (audit.status, audit.stdout) == (0, "")


def test_the_image_is_one_layer(image: Image) -> None:
    assert len(image.layers) == 1


LEFTOVERS = (
    "dev/",
    "proc/",
    "sys/",
    "run/",
    "tmp/",
    "etc/apt/sources.list",
    "etc/apt/apt.conf.d/99",
    "etc/apt/apt.conf.d/00",
    "etc/dpkg/dpkg.cfg.d/",
    "etc/fstab",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/passwd-",
    "etc/.pwd.lock",
    "var/cache/apt",
    "var/cache/ldconfig/aux-cache",
    "var/lib/apt",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/lock",
    "var/log/apt",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "usr/sbin/policy-rc.d",
)


def test_nothing_of_the_installation_is_left(files: Files) -> None:
    assert [name for name in files if name.startswith(LEFTOVERS)] == []


def test_copyright_files_stay_and_other_documents_do_not(files: Files) -> None:
    names = {name for name, info in files.items() if not info.isdir()}
    assert "usr/share/doc/greeting/copyright" in names
    assert "usr/share/doc/dpkg/copyright" in names
    documents = {name for name in names if name.startswith("usr/share/doc/")}
    links = {name for name in documents if files[name].issym()}
    assert {name.rpartition("/")[2] for name in documents - links} == {"copyright"}
    assert not [name for name in names if name.startswith("usr/share/man/")]


def test_scripts_had_devices_and_saw_nothing_of_this_machine(image: Image) -> None:
    assert image.read("seen") == b""


def test_owners_and_set_id_bits_are_those_that_scripts_and_packages_gave(image: Image) -> None:
    found = modes(image)
    assert found["usr/bin/greeting"] == "0:8 2755"
    assert found["seen"].startswith("1234:4321 ")
    assert found["var/mail"] == "0:8 2775"
    assert found["var/local"] == "0:50 2775"
    assert found["tmp"] == "0:0 1777"


def test_the_time_is_that_of_the_newest_package(files: Files, debian_mirror: Path) -> None:
    newest = 0
    for deb in (debian_mirror / "debian/pool").glob("*.deb"):
        with open(deb, "rb") as file:
            newest = max(newest, int(file.read(36)[24:36]))  # of debian-binary (deb(5))
    assert max(info.mtime for info in files.values()) == newest


@pytest.mark.parametrize("form", ["spdx", "cyclonedx"])
def test_the_bill_of_materials_has_the_packages(built: Pybuild, form: str) -> None:
    ended = built.run("sbom", f"--format={form}", built.output)
    assert ended.status == 0, ended.stderr
    assert "pkg:deb/debian/greeting@1.0?arch=all" in ended.stdout
    assert "pkg:deb/debian/dpkg@" in ended.stdout
    json.loads(ended.stdout)


# --- Reproducible, and found again


class Reference(NamedTuple):
    """What a lock file says of the system, and the image that was built from it."""

    entry: dict[str, Any]
    refused: Result  # a build with another package in the place of one
    ended: Result
    image: Image


@pytest.fixture(scope="module")
def reference(public_root: Path, debian_mirror: Path, user: Caller) -> Iterator[Reference]:
    """The system from a lock file, with a new store, no metadata, other umask, zone and locale."""
    with new_room(public_root) as room:
        made = pybuild_of(room, "root", user)
        add_mirror(made, debian_mirror)
        made.write(SYSTEM)
        locking = made.run("lock", made.context, timeout_s=180)
        assert locking.status == 0, locking.stderr
        shutil.rmtree(made.context / "debian/dists")
        remove(made.store)
        made.store.mkdir()
        [deb] = (made.context / "debian/pool").glob("greeting_*.deb")
        deb.rename(made.context / "kept")
        deb.write_bytes(b"another")
        refused = made.run("--locked", made.context)
        (made.context / "kept").rename(deb)
        before = os.umask(0o077)
        try:
            env = {"TZ": "Asia/Tokyo", "LC_ALL": "de_DE.UTF-8"}
            ended = made.run("--locked", made.context, timeout_s=180, env=env)
        finally:
            os.umask(before)
        assert ended.status == 0, ended.stderr
        lock = json.loads((made.context / "pybuild.lock").read_text())
        [entry] = lock["bootstraps"].values()
        yield Reference(entry, refused, ended, Image(made.output))


def test_everybody_makes_the_same_layer_from_a_lock_or_not(
    image: Image, reference: Reference
) -> None:
    def seen(of: Image) -> dict[str, tuple[object, ...]]:
        return {n: (i.mode, i.uid, i.gid, i.mtime, i.size) for n, i in of.files.items()}

    assert seen(image) == seen(reference.image)
    assert image.layers == reference.image.layers


def test_a_lock_says_of_each_package_which_it_is(reference: Reference) -> None:
    packages = {package["deb"]: package for package in reference.entry["packages"]}
    greeting = packages["greeting_1.0_all"]
    assert greeting["source"] == "greeting 1.0"
    assert greeting["reason"] == "user"
    assert greeting["path"] == "pool/greeting_1.0_all.deb"
    assert greeting["buildtime"] == 1735689600
    assert reference.entry["repos"]["debian"]["baseurl"] == ["debian"]
    assert reference.entry["result"] == reference.image.config["rootfs"]["diff_ids"][0]


def test_a_locked_build_asks_no_repository(reference: Reference) -> None:
    assert "Get:" not in reference.ended.stderr


def test_a_locked_build_refuses_another_package_of_the_same_name(reference: Reference) -> None:
    assert reference.refused.status == 1
    assert "greeting_1.0_all is not the one that" in reference.refused.stderr
    assert "pybuild.lock promises" in reference.refused.stderr


def test_a_second_build_is_found_without_apt(built: Pybuild) -> None:
    found = built.steps(SYSTEM, env={"PATH": "/nowhere"} if not built.launcher else {})
    assert found == ["CACHED"]


def test_metadata_that_changes_and_leads_to_the_same_packages_installs_nothing(
    built: Pybuild, debian_mirror: Path
) -> None:
    text = SYSTEM.replace("suite=bookworm", "suite=again")
    ended = built.try_build(text)
    assert ended.status == 0, ended.stderr
    assert "the same packages as before" in ended.stderr


# --- What is asked for


def test_flags_lists_and_files_do_what_they_say(with_mirror: Pybuild) -> None:
    with_mirror.add({"list": "weakling # a comment\n"})
    text = """\
FROM scratch
BOOTSTRAP --manager=apt --repo=deb.list --key=archive.gpg --docs --langs=de --from-file=list \\
  --setopt=Debug::Nothing=true ./local_*.deb <<EOF
greeting
-needy
EOF
"""
    with_mirror.add({"deb.list": f"deb file://{with_mirror.context}/debian bookworm main\n"})
    files = with_mirror.build(text, timeout_s=180).files
    assert "usr/share/weakling" in files
    assert "usr/share/local" in files
    assert "usr/share/doc/greeting/README" in files
    assert "usr/share/man/man1/greeting.1" in files
    assert "usr/share/locale/de/LC_MESSAGES/greeting.mo" in files
    assert "usr/share/locale/fr/LC_MESSAGES/greeting.mo" not in files
    assert not [n for n in files if n.startswith("usr/share/locale/fr/")]


@pytest.mark.slow
def test_without_cleaning_what_apt_left_stays(with_mirror: Pybuild) -> None:
    text = SYSTEM.replace("--manager=apt", "--manager=apt --clean=none")
    files = with_mirror.build(text, timeout_s=180).files
    assert {"var/lib/dpkg/status", "var/lib/dpkg/status-old", "var/lib/dpkg/lock"} <= set(files)


@pytest.mark.slow
def test_to_clean_all_takes_the_database_away(with_mirror: Pybuild) -> None:
    text = SYSTEM.replace("--manager=apt", "--manager=apt --clean=all")
    with_mirror.build(text, timeout_s=180)
    assert not [
        name for name in Image(with_mirror.output).files if name.startswith("var/lib/dpkg/")
    ]
    ran = run_pyrun(with_mirror.output, store=with_mirror.store)
    assert (ran.status, ran.stdout) == (0, "Hello, Debian!\n")


def test_an_architecture_has_rpms_name_or_debians(with_mirror: Pybuild) -> None:
    for name in ("x86_64", "amd64"):
        text = f"FROM scratch\n{APT} --arch={name} greeting no-such-thing\n"
        ended = with_mirror.try_build(text)
        assert "no package no-such-thing in the" in ended.stderr


@pytest.mark.parametrize("inside", [True, False])
def test_a_sources_file_brings_its_key(with_mirror: Pybuild, inside: bool) -> None:
    key = (with_mirror.context / "archive.asc").read_text().rstrip("\n").split("\n")
    lines = "".join(f"\n {line or '.'}" for line in key) if inside else " archive.gpg\n"
    text = f"""\
# What apt's own files look like.
Types: deb deb-src
URIs: file://{with_mirror.context}/debian
Suites: bookworm again
Components: main
Signed-By:{lines}

Types: deb
URIs: http://127.0.0.1:1/
Suites: gone
Components: main
Enabled: no
"""
    with_mirror.add({"debian.sources": text.replace(" archive.gpg", " ./archive.gpg")})
    text = "FROM scratch\nBOOTSTRAP --manager=apt --repo=debian.sources \\\n  no-such-thing\n"
    fails_and_leaves_nothing(
        with_mirror, text, 1, "Containerfile:3:3:", "no package no-such-thing in the"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.repo", "[a]\nbaseurl=b\n", "is a .repo file, which is for dnf"),
        ("a.list", "deb http://a\n", "has no suite"),
        ("a.list", "deb-src http://a b c\n", "no repository of"),
        ("a.list", "nonsense\n", "deb [OPTION=VALUE…] URL SUITE COMPONENT… expected"),
        ("a.sources", "nonsense\n", "not sources of apt"),
        ("a.sources", "", "no repository of"),
        ("a.sources", "Types: deb\nSuites: a\n", "has no URL"),
        ("a.sources", "Types: deb\nURIs: b\nSuites: ./\nComponents: c\n", "no components"),
    ],
)
def test_sources_that_are_none_are_an_error_at_their_word(
    pybuild: Pybuild, name: str, content: str, message: str
) -> None:
    pybuild.add({name: content})
    text = f"FROM scratch\nBOOTSTRAP --manager=apt --nogpgcheck \\\n  --repo={name} a\n"
    fails_and_leaves_nothing(pybuild, text, 1, "Containerfile:3:10:", message)


def test_recommended_packages_come_with_weak(with_mirror: Pybuild) -> None:
    said = _resolves(with_mirror, f"FROM scratch\n{APT} --weak greeting sleepy\n")
    without = _resolves(with_mirror, f"FROM scratch\n{APT} greeting sleepy\n")
    assert said == without + 1


def _resolves(pybuild: Pybuild, text: str) -> int:
    """How many packages it leads to, without installing them: one of them is not there."""
    for deb in (pybuild.context / "debian/pool").glob("greeting_*"):
        deb.unlink()
    ended = pybuild.try_build(text)
    assert ended.status == 4, ended.stderr
    assert "greeting_1.0_all" in ended.stderr
    line = next(line for line in ended.stderr.splitlines() if line.endswith(" MB"))
    return int(line.partition(" packages")[0].split()[-1])


# --- Refused by the plan


@pytest.mark.parametrize(
    ("flags", "message", "place"),
    [
        ("--module=a:1 a", "--module means nothing to apt", "2:34"),
        ("--dbpath=/a a", "--dbpath means nothing to apt", "2:34"),
        ("--allow-scriptlet-failure a", "--allow-scriptlet-failure means nothing", "2:1"),
        ("@core", "apt has no groups: @core", "2:25"),
        ("--repo=id=a,url=b a", "--repo without a suite", "2:32"),
        ("--repo=id=a,url=b,priority=1 a", "'priority=1' is not one of", "2:32"),
        ("--langs=a;b a", "--langs=", "2:33"),
    ],
)
def test_what_means_nothing_to_apt_is_status_2_at_its_word(
    pybuild: Pybuild, flags: str, message: str, place: str
) -> None:
    ended = pybuild.try_build(f"FROM scratch\nBOOTSTRAP --manager=apt {flags}\n")
    assert ended.status == 2, ended.stderr
    assert message in ended.stderr
    assert f"Containerfile:{place}: " in ended.stderr


def test_a_suite_is_nothing_to_dnf(pybuild: Pybuild) -> None:
    ended = pybuild.try_build("FROM scratch\nBOOTSTRAP --repo=id=a,url=b,suite=c a\n")
    assert ended.status == 2
    assert "'suite=c' is not one of" in ended.stderr
    assert "hint: suite= is for --manager=apt" in ended.stderr


# --- Failures


def test_a_missing_package_is_an_error_at_its_word(with_mirror: Pybuild) -> None:
    text = f"FROM scratch\n{APT} \\\n  greeting no-such-thing\n"
    fails_and_leaves_nothing(
        with_mirror, text, 1, "Containerfile:3:12:", "no package no-such-thing in the"
    )


def test_a_version_that_is_not_there_is_an_error_at_its_word(with_mirror: Pybuild) -> None:
    text = f"FROM scratch\n{APT} \\\n  greeting=9\n"
    fails_and_leaves_nothing(
        with_mirror, text, 1, "Containerfile:3:3:", "no package greeting of 9"
    )


def test_a_need_that_nobody_meets_is_an_error_at_the_word(with_mirror: Pybuild) -> None:
    text = f"FROM scratch\n{APT} \\\n  greeting needy\n"
    fails_and_leaves_nothing(
        with_mirror, text, 1, "Containerfile:3:12:", "needy", "Depends: nowhere"
    )


def test_what_needs_an_excluded_package_is_refused(with_mirror: Pybuild) -> None:
    text = f"FROM scratch\n{APT} --exclude=weakling \\\n  wishful\n"
    fails_and_leaves_nothing(
        with_mirror, text, 1, "Containerfile:3:3:", "Depends: weakling", "an exclusion"
    )


def test_a_repository_of_another_key_is_refused_at_its_word(with_mirror: Pybuild) -> None:
    text = f"FROM scratch\nBOOTSTRAP --manager=apt \\\n  {MIRROR},key=other.gpg greeting\n"
    fails_and_leaves_nothing(
        with_mirror, text, 1, "Containerfile:3:10:", "signed with another key"
    )


def test_a_repository_without_a_key_is_refused_with_a_hint(with_mirror: Pybuild) -> None:
    text = f"FROM scratch\nBOOTSTRAP --manager=apt \\\n  {MIRROR} greeting\n"
    words = ("Containerfile:3:10:", "has no key", "--nogpgcheck goes without")
    fails_and_leaves_nothing(with_mirror, text, 1, *words)


def test_an_unsigned_repository_is_refused(with_mirror: Pybuild) -> None:
    text = f"FROM scratch\n{APT} greeting\n".replace("suite=bookworm", "suite=unsigned")
    fails_and_leaves_nothing(
        with_mirror, text, 1, "Containerfile:2:32:", "repository 'debian' is not signed"
    )


def test_an_unsigned_repository_is_taken_without_a_check(with_mirror: Pybuild) -> None:
    text = f"FROM scratch\n{APT} --nogpgcheck \\\n  no-such-thing\n"
    text = text.replace("suite=bookworm", "suite=unsigned")
    fails_and_leaves_nothing(
        with_mirror, text, 1, "Containerfile:3:3:", "no package no-such-thing in the"
    )


def test_metadata_that_is_too_old_is_refused_with_a_hint(with_mirror: Pybuild) -> None:
    text = f"FROM scratch\n{APT} greeting\n".replace("suite=bookworm", "suite=expired")
    fails_and_leaves_nothing(
        with_mirror, text, 1, "too old", "hint: --setopt=Acquire::Check-Valid-Until=false"
    )


def test_a_missing_suite_is_an_error_at_its_repository(with_mirror: Pybuild) -> None:
    text = f"FROM scratch\n{APT} greeting\n".replace("suite=bookworm", "suite=nonsense")
    fails_and_leaves_nothing(
        with_mirror, text, 1, "Containerfile:2:32:", "has no suite 'nonsense'"
    )


def test_damaged_metadata_is_refused(with_mirror: Pybuild) -> None:
    release = with_mirror.context / "debian/dists/bookworm/InRelease"
    content = release.read_text().replace("Origin: Tests", "Origin: Others")
    release.unlink()
    release.write_text(content)
    fails_and_leaves_nothing(with_mirror, SYSTEM, 1, "Containerfile:2:32:", "'debian' is damaged")


def test_a_damaged_package_is_refused_at_its_word(with_mirror: Pybuild) -> None:
    [deb] = (with_mirror.context / "debian/pool").glob("greeting_*.deb")
    content = bytearray(deb.read_bytes())
    content[-20] ^= 0xFF
    deb.unlink()
    deb.write_bytes(content)
    fails_and_leaves_nothing(
        with_mirror, SYSTEM, 1, "Containerfile:2:", "greeting_1.0_all is not the one that"
    )


def test_a_file_that_is_no_package_is_an_error_at_its_word(with_mirror: Pybuild) -> None:
    with_mirror.add({"none.deb": "text"})
    text = f"FROM scratch\n{APT} \\\n  ./none.deb\n"
    fails_and_leaves_nothing(with_mirror, text, 1, "Containerfile:3:3:", "not a Debian package")


def test_a_mirror_that_cannot_be_reached_is_status_4_at_its_word(with_mirror: Pybuild) -> None:
    text = f"FROM scratch\n{APT} a\n".replace("url=debian", "url=http://127.0.0.1:1/debian")
    fails_and_leaves_nothing(with_mirror, text, 4, "Containerfile:2:32:", "repository 'debian'")


@pytest.mark.parametrize("missing", ["apt-get", "mmdebstrap"])
def test_a_machine_without_a_program_is_status_6_with_a_hint(
    with_mirror: Pybuild, tmp_path: Path, missing: str
) -> None:
    for name in {"apt-get", "mmdebstrap"} - {missing}:
        (tmp_path / name).symlink_to("/bin/true")
    words = (f"BOOTSTRAP --manager=apt needs {missing}", "hint: install it", "Containerfile:2:1:")
    fails_and_leaves_nothing(with_mirror, SYSTEM, 6, *words, env={"PATH": str(tmp_path)})


def test_a_system_below_is_refused_with_a_hint(with_mirror: Pybuild) -> None:
    ended = with_mirror.try_build(f"FROM scratch\nCOPY archive.asc /\n{APT} greeting\n")
    assert ended.status == 1
    assert "there is something below it" in ended.stderr
    assert "Containerfile:3:1:" in ended.stderr


@pytest.mark.slow
def test_a_script_that_fails_is_an_error_at_its_package(with_mirror: Pybuild) -> None:
    text = f"FROM scratch\n{APT} \\\n  breaking\n"
    said = fails_and_leaves_nothing(
        with_mirror, text, 1, "Containerfile:3:3:", "package breaking: installed"
    )
    assert "post-installation script subprocess returned error exit status 3" in said


def test_a_killed_build_leaves_nothing(with_mirror: Pybuild) -> None:
    with_mirror.write(f"FROM scratch\n{APT} sleepy\n")
    started = subprocess.Popen(
        [*with_mirror.command, with_mirror.context],
        cwd=with_mirror.work,
        env=with_mirror.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while not any("mmdebstrap" in line for line in processes(with_mirror.store)):
            assert started.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        time.sleep(1)
    finally:
        started.send_signal(signal.SIGTERM)
        status = started.wait(30)
    assert status != 0
    assert processes(with_mirror.store) == []
    assert mounts(with_mirror.directory) == []
    assert os.listdir(with_mirror.store / "tmp") == []


@pytest.mark.slow
def test_killed_at_twelve_moments_a_build_still_comes_to_the_same(with_mirror: Pybuild) -> None:
    text = f"FROM scratch\n{APT} greeting\n"
    began = time.monotonic()
    expected = with_mirror.build(text, timeout_s=180).layers
    length_s, cut = time.monotonic() - began, 0
    for number in range(1, 13):
        process = with_mirror.start(text, "--no-cache")
        try:
            process.wait(length_s * number / 12)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            cut += 1
        assert mounts(with_mirror.directory) == []
    assert cut > 6
    assert with_mirror.build(text, "--no-cache", timeout_s=180).layers == expected
    assert processes(with_mirror.store) == []
    assert os.listdir(with_mirror.store / "tmp") == []


# --- The host


def test_the_configuration_of_the_host_means_nothing(with_mirror: Pybuild, tmp_path: Path) -> None:
    broken = tmp_path / "apt.conf"
    broken.write_text('Acquire::http::Proxy "http://127.0.0.1:1";\nAPT::Architecture "none";\n')
    text = f"FROM scratch\n{APT} \\\n  no-such-thing\n"
    env = {"APT_CONFIG": str(broken)}
    fails_and_leaves_nothing(
        with_mirror, text, 1, "Containerfile:3:3:", "no package no-such-thing", env=env
    )
