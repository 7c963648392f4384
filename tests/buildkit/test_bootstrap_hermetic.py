"""BOOTSTRAP takes nothing from this machine or from the new system but what it was told to.

dnf and rpm have their ways of surprising, which `test_bootstrap` is about as well: leftovers of
caches and logs, /dev and /proc in scriptlets, debris; `test_interruption` stops them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.buildkit.bootstraps import KEY, add_tiny, fails, installed, query
from tests.buildkit.odd_packages import odd_packages as odd_packages
from tests.buildkit.support import Image, Pybuild, make_pybuild
from tests.support import tree_state

pytestmark = pytest.mark.needs_program("dnf", "rpm")


@pytest.fixture
def tiny(pybuild: Pybuild, tiny_repository: Path) -> str:
    """Flags for the tiny repository, whose key is in the context of `pybuild`."""
    return add_tiny(pybuild, tiny_repository)


def _add(pybuild: Pybuild, odd_packages: Path, *names: str) -> str:
    """Put odd packages into a context; the words for them."""
    for name in names:
        shutil.copy2(odd_packages / f"{name}-1-1.noarch.rpm", pybuild.context)
    return " ".join(f"./{name}-1-1.noarch.rpm" for name in names)


# --- The machine

# Everything in it would change what is installed, where, or whether at all.
_HOSTILE = {
    "etc/rpm/macros": "%_dbpath /evil\n%_install_langs fr\n%_excludedocs 0\n%_netsharedpath /usr\n"
    "%__pre_trans %(touch /evil)\n",
    "etc/rpm/platform": "pdp11-dec-linux\n",
    "etc/rpmrc": "arch_compat: x86_64: pdp11\nmacrofiles: /evil\n",
    "etc/popt": "rpm alias -U --install --test\nrpm alias -i --install --test\n",
    "etc/dnf/dnf.conf": "[main]\nexcludepkgs=hello*\ntsflags=test\nproxy=http://127.0.0.1:1\n"
    "installroot=/evil\nreleasever=99\nvarsdir=/evil\n",
    "etc/dnf/vars/releasever": "99",
    "etc/dnf/protected.d/evil.conf": "hello-libs\n",
    "etc/yum.repos.d/evil.repo": "[evil]\nname=evil\nbaseurl=http://127.0.0.1:1/\nenabled=1\n",
    "etc/yum/vars/basearch": "pdp11",
    "root/.rpmmacros": "%_dbpath /evil\n%_install_langs fr\n",
    "root/.rpmrc": "macrofiles: /evil\n",
    "root/.popt": "rpm alias -U --install --test\nrpm alias -i --install --test\n",
    "root/.config/dnf/dnf.conf": "[main]\nexcludepkgs=hello*\n",
}
_ENVIRONMENT = {
    "RPM_CONFIGDIR": "/evil",
    "RPM_ROOT": "/evil",
    "DNF_VAR_releasever": "99",
    "DNF0": "99",
    "LC_ALL": "de_DE.UTF-8",
    "LANGUAGE": "de",
    "TMPDIR": "/tmp",
    "PYTHONPATH": "/evil",
    "LD_LIBRARY_PATH": "/evil",
    "GNUPGHOME": "/evil",
    "XDG_CONFIG_HOME": "/evil",
}


@pytest.mark.needs_root
def test_neither_configuration_nor_environment_of_the_machine_count(
    pybuild: Pybuild, tiny: str, public: Path
) -> None:
    text = f"FROM scratch\nBOOTSTRAP {tiny} hello\n"
    expected = pybuild.build(text).layers[0]
    for name, content in _HOSTILE.items():
        path = public / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    lines = ["set -e"]
    for name in ("etc", "root"):  # an overlay, in a mount namespace that is the test's alone
        work = public / f"{name}.work"
        work.mkdir()
        how = f"lowerdir=/{name},upperdir={public}/{name},workdir={work}"
        lines.append(f"mount -t overlay -o {how} o /{name}")
    script = "\n".join([*lines, 'exec "$@"'])
    launcher = ("unshare", "--mount", "sh", "-c", script, "sh")
    hostile = make_pybuild(pybuild.directory, pybuild.caller, launcher=launcher)
    pybuild.output.unlink()
    image = hostile.build(text, "--no-cache", env=_ENVIRONMENT)
    assert image.layers[0] == expected


def test_scriptlets_have_a_small_environment_of_their_own(
    anybody: Pybuild, odd_packages: Path
) -> None:
    words = _add(anybody, odd_packages, "writes-environment")
    env = {"http_proxy": "http://me:secret@proxy.invalid", "SECRET": "1"}
    image = anybody.build(f"FROM scratch\nBOOTSTRAP {words}\n", env=env)
    found = dict(line.split("=", 1) for line in image.read("srv/environment").decode().split())
    found.pop("PWD", None)
    assert found.pop("SOURCE_DATE_EPOCH").isdigit()
    assert found.items() >= {"HOME": "/root", "LANG": "C.UTF-8"}.items()
    assert set(found) <= {"HOME", "LANG", "PATH", "TMPDIR"}
    assert "pybuild" not in str(found)


# --- The new system (surprise 3: its own configuration would take the place of ours)


def test_configuration_of_the_system_does_not_count(
    pybuild: Pybuild, tiny: str, tiny_repository: Path
) -> None:
    hostile = {f"own/{n}": text for n, text in _HOSTILE.items() if n.startswith("etc/")}
    pybuild.add(hostile)
    text = f"FROM scratch\nBOOTSTRAP {tiny} hello-extras\nCOPY own /\n"
    image = pybuild.build(f"{text}BOOTSTRAP {tiny} hello-libs\n")
    assert installed(image) == {"hello-extras", "hello-libs"}
    assert not [name for name in image.layer() if "evil" in name]


def test_repositories_of_the_system_are_not_asked(pybuild: Pybuild, tiny: str) -> None:
    # testlinux-repos names a mirror that cannot be reached.
    text = f"FROM scratch\nBOOTSTRAP {tiny} testlinux-repos\nBOOTSTRAP {tiny} hello-libs\n"
    image = pybuild.build(text)
    assert [name for name in image.files if name.startswith("etc/yum.repos.d/")]
    assert "hello-libs" in installed(image)


# --- Where things end up


def test_the_database_is_where_the_rpm_of_the_system_looks_for_it(
    anybody: Pybuild, tiny_repository: Path, odd_packages: Path
) -> None:  # surprise 1
    flags = add_tiny(anybody, tiny_repository)
    words = _add(anybody, odd_packages, "with-macros")
    text = f"FROM scratch\nBOOTSTRAP {words}\nBOOTSTRAP {flags} hello-libs\n"
    image = anybody.build(text)
    assert installed(image, "var/lib/rpm") == {"with-macros", "hello-libs"}
    assert not [name for name in image.files if name.startswith("usr/lib/sysimage/rpm")]


def test_no_directory_of_caches_is_in_the_image(pybuild: Pybuild, tiny: str) -> None:
    # Surprise 2: dnf prefixes cachedir, persistdir and logdir with the root, and then again not.
    image = pybuild.build(f"FROM scratch\nBOOTSTRAP {tiny} hello-libs\n")
    with_database = {"usr/lib/sysimage", "usr/lib/sysimage/rpm"}
    with_database.add("usr/lib/sysimage/rpm/rpmdb.sqlite")
    packaged = {"usr/lib/hello", "usr/lib/hello/greeting"}
    above = {"usr", "usr/lib", "dev", "proc", "sys"}
    assert set(image.files) - {"."} == with_database | packaged | above


def test_a_key_of_this_machine_that_is_missing_has_a_hint(pybuild: Pybuild, tiny: str) -> None:
    # Surprise 4: gpgkey=file: is a path of this machine, not of the new system.
    repo = f"[r]\nname=r\nbaseurl={tiny.split('url=')[1]}\ngpgkey=file:///etc/pki/none/KEY\n"
    pybuild.add({"r.repo": repo})
    text = "FROM scratch\nBOOTSTRAP \\\n  --repo=r.repo hello-libs\n"
    ended = pybuild.try_build(text)
    assert ended.status in (1, 4)
    for word in ("Containerfile:3:10:", "key: /etc/pki/none/KEY", "hint: --key=FILE"):
        assert word in ended.stderr
    assert installed(pybuild.build(text.replace("--repo", f"--key={KEY} --repo"))) == {
        "hello-libs"
    }


def test_an_unreachable_repository_is_an_error_even_if_nothing_is_needed_of_it(
    pybuild: Pybuild, tiny: str
) -> None:  # surprise 6; 5 is that dnf takes no empty configuration: it has one of ours
    text = f"FROM scratch\nBOOTSTRAP {tiny} hello-libs\n"
    pybuild.build(text)
    pybuild.output.unlink()
    more = f"BOOTSTRAP {tiny} --repo=id=gone,url=http://127.0.0.1:1/ hello-libs\n"
    fails(pybuild, text + more, 4, "Containerfile:3:", "repository 'gone'", "Connection refused")


@pytest.mark.needs_program("createrepo_c")
def test_what_is_new_in_a_repository_is_seen_at_once(
    pybuild: Pybuild, tiny_repository: Path
) -> None:  # surprise 7
    repository = pybuild.directory / "repository"
    repository.mkdir()
    text = f"FROM scratch\nBOOTSTRAP --nogpgcheck --repo=id=r,url=file://{repository} hello-libs\n"
    for place, version in (("repo/Packages", "1.0"), ("updates", "2.0")):
        [package] = (tiny_repository / place).glob("hello-libs-*.rpm")
        shutil.copy2(package, repository)
        subprocess.run(["createrepo_c", "-q", repository], check=True)
        assert query(pybuild.build(text), "%{VERSION}") == [version]


# --- During the transaction


def test_scriptlets_find_dev_null_and_proc(pybuild: Pybuild, tiny: str) -> None:
    # Surprise 8: hello writes down what it found. No mount and no device is in the layer.
    image = pybuild.build(f"FROM scratch\nBOOTSTRAP {tiny} hello\n")
    log = image.read("var/lib/hello/post.log").decode()
    assert "null" in log
    assert "no" not in log.replace("null", "")
    assert image.files["proc"].mode == 0o555
    assert not [name for name in image.files if name.startswith(("dev/", "proc/", "sys/"))]


@pytest.mark.parametrize("kind", ["pre", "post", "posttrans", "triggerin"])
def test_a_failing_scriptlet_is_an_error_whatever_rpm_makes_of_it(
    pybuild: Pybuild, odd_packages: Path, kind: str
) -> None:  # surprise 9
    name = f"fails-in-{kind}"
    words = _add(pybuild, odd_packages, name, *(["with-macros"] if kind == "triggerin" else []))
    text = f"FROM scratch\nBOOTSTRAP {words}\n"
    fails(pybuild, text, 1, "Containerfile:2:1:", f"scriptlet of {name}", "on purpose")


def test_a_failing_scriptlet_of_the_transaction_is_an_error(
    pybuild: Pybuild, odd_packages: Path
) -> None:
    words = _add(pybuild, odd_packages, "fails-in-pretrans")
    fails(pybuild, f"FROM scratch\nBOOTSTRAP {words}\n", 1, "fails-in-pretrans", "on purpose")


def test_files_of_unknown_owners_are_an_error(anybody: Pybuild, odd_packages: Path) -> None:
    words = _add(anybody, odd_packages, "with-owner")  # surprise 10
    said = "files belong to group none-here, user nobody-here, which the system does not have"
    fails(anybody, f"FROM scratch\nBOOTSTRAP {words}\n", 1, "Containerfile:2:1:", said, "--tools")


@pytest.mark.needs_root
@pytest.mark.needs_userns
def test_an_owner_that_is_not_mapped_is_named_as_the_reason(
    as_user: Pybuild, odd_packages: Path
) -> None:  # surprise 11: rpm says "Device or resource busy", or another word at random
    words = _add(as_user, odd_packages, "with-accounts", "with-big-id")
    text = f"FROM scratch\nBOOTSTRAP {words}\n"
    fails(as_user, text, 1, "/srv/file: its owner is a user or group that cannot be had here")


def test_what_failed_leaves_no_half_of_a_system(pybuild: Pybuild, odd_packages: Path) -> None:
    # Surprise 12: without a %pre that works, the other packages stay.
    words = _add(pybuild, odd_packages, "with-macros", "fails-in-pre")
    fails(pybuild, f"FROM scratch\nBOOTSTRAP {words}\n", 1)
    for folder in ("tmp", "layers", "blobs/sha256"):
        assert os.listdir(pybuild.store / folder) == []


def test_bootstraps_beside_each_other_do_not_meet(pybuild: Pybuild, tiny: str) -> None:
    # Surprises 13, of what is stopped (test_interruption), and 14: a lock of one for the other.
    packages = ("hello-libs", "hello-extras", "hello-langpack-de", "hello-libs hello-extras")

    def build(number: int) -> set[str]:
        text = f"FROM scratch\nBOOTSTRAP {tiny} {packages[number]}\n"
        name, output = f"Containerfile.{number}", f"{number}.tar"
        (pybuild.context / name).write_text(text)
        ended = pybuild.run("-f", pybuild.context / name, "-o", output, pybuild.context)
        assert ended.status == 0, ended.stderr
        return installed(Image(pybuild.work / output))

    with ThreadPoolExecutor(len(packages)) as pool:
        found = list(pool.map(build, range(len(packages))))
    assert found == [set(words.split()) for words in packages]


# Surprise 15, a mandatory member of a group that is excluded, is in test_bootstrap_flags.


def test_a_merged_usr_is_made_before_anything_is_unpacked(pybuild: Pybuild, tiny: str) -> None:
    image = pybuild.build(f"FROM scratch\nBOOTSTRAP {tiny} filesystem\n")  # surprise 16
    assert {n: image.files[n].linkname for n in ("bin", "lib", "sbin")} == {
        "bin": "usr/bin",
        "lib": "usr/lib",
        "sbin": "usr/sbin",
    }


@pytest.mark.needs_root
def test_this_machine_is_as_it_was(pybuild: Pybuild, tiny: str, odd_packages: Path) -> None:
    places = ("/etc/dnf", "/var/lib/dnf", "/var/cache/dnf", "/var/lib/rpm", "/root/.rpmdb")
    before = [tree_state(Path(place)) for place in places]
    words = _add(pybuild, odd_packages, "writes-environment")
    pybuild.build(f"FROM scratch\nBOOTSTRAP {tiny} --weak {words} hello-libs\n")
    assert [tree_state(Path(place)) for place in places] == before
    assert not os.path.exists("/srv/environment")
