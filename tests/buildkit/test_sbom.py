"""SBOMs: judged by the validators of SPDX and CycloneDX, and by what rpm and dpkg say."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.buildkit.support import Pybuild
from tests.support import (
    CHECKOUT,
    Result,
    command,
    compressed,
    digest_of,
    directory,
    file,
    image_files,
    make_image,
    pack,
    run,
    symlink,
    tar_of,
)

HELLO = CHECKOUT / "examples/hello/Containerfile"
RPM_DATABASE = "usr/lib/sysimage/rpm/rpmdb.sqlite"
OS_RELEASE = 'NAME="Odd Linux"\nID=strange\nVERSION_ID="7"\nPRETTY_NAME="Odd Linux \\"7\\""\n'
DEBIAN = "ID=debian\nVERSION_ID=12\n"
STATUS = """\
Package: libthing1
Status: install ok installed
Architecture: amd64
Source: thing (1:2.0+dfsg-1~deb12)
Version: 1:2.0+dfsg-1~deb12+b1
Maintainer: The (Thing) Team <thing@example.org>
Homepage: https://example.org/thing
Description: a thing
 with more to say

Package: gone
Status: deinstall ok config-files
Version: 1

Package: held
Status: hold ok installed
Architecture: all
Version: 3-1
"""
MODULE = [sys.executable, "-W", "ignore", "-m"]


def _sbom(*arguments: str | Path, **choices: Any) -> Result:
    return run([*command("pybuild"), "sbom", *arguments], timeout_s=60, **choices)


def _made(image: Path, kind: str) -> dict[str, Any]:
    """The document of an image, which the public validator takes."""
    made = image.with_suffix(f".{kind}.json")
    ended = _sbom("--format", kind, "-o", made, image)
    assert ended.status == 0, ended.stderr
    return _valid(made, kind)


def _valid(path: Path, kind: str) -> dict[str, Any]:
    if kind == "spdx":
        named = shutil.copy(path, path.with_suffix(".spdx.json"))  # it goes by the name
        tool = "spdx_tools.spdx.clitools.pyspdxtools"
        judged = run([*MODULE, tool, "--infile", named], timeout_s=120)
        assert judged.status == 0, judged.stdout + judged.stderr
    else:
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator

        found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text())
        assert found is None, found
    document = json.loads(path.read_text())
    assert isinstance(document, dict)
    return document


def _purls(document: dict[str, Any]) -> list[str]:
    """Package URLs of the packages that an image contains, of a document of either kind."""
    if "components" in document:
        return [component["purl"] for component in document["components"] if "purl" in component]
    packages = {package["SPDXID"]: package for package in document["packages"]}
    contained = [
        packages[relation["relatedSpdxElement"]]
        for relation in document["relationships"]
        if (relation["spdxElementId"], relation["relationshipType"])
        == ("SPDXRef-Image", "CONTAINS")
    ]
    refs = [ref for package in contained for ref in package.get("externalRefs", ())]
    return [ref["referenceLocator"] for ref in refs]


def _names(document: dict[str, Any]) -> list[str]:
    return [purl.partition("@")[0].rpartition("/")[2] for purl in _purls(document)]


def _package(document: dict[str, Any], name: str) -> dict[str, Any]:
    listed = document.get("components") or document["packages"]
    return next(package for package in listed if package["name"] == name)


def _of_purl(purl: str) -> Any:
    from packageurl import PackageURL

    return PackageURL.from_string(purl)


@pytest.fixture
def rpm_image(tmp_path: Path, rpm_database: Path) -> Path:
    """An image with a database that rpm made."""
    layer = [file(RPM_DATABASE, rpm_database.read_bytes()), file("etc/os-release", OS_RELEASE)]
    return make_image(
        tmp_path / "odd.tar", [layer], document={"created": "2024-02-03T04:05:06.789+01:00"}
    )


@pytest.fixture(params=["spdx", "cyclonedx"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of document."""
    return str(request.param)


# --- rpm


def test_an_rpm_image_has_the_packages_that_rpm_lists(
    rpm_image: Path, rpm_database: Path, kind: str
) -> None:
    form = "%{NAME} %{VERSION}-%{RELEASE} %{ARCH} %{SOURCERPM} %|EPOCH?{%{EPOCH}}:{}|\\n"
    said = run(["rpm", "-qa", "--dbpath", rpm_database.parent, "--qf", form])
    expected = {tuple(line.split(" ")) for line in said.stdout.splitlines()}
    assert len(expected) == 5
    found = set()
    purls = _purls(_made(rpm_image, kind))
    for text in purls:
        purl = _of_purl(text)
        assert (purl.type, purl.namespace, purl.qualifiers["distro"]) == (
            "rpm",
            "strange",
            "strange-7",
        )
        more = purl.qualifiers
        found.add((purl.name, purl.version, more["arch"], more["upstream"], more.get("epoch", "")))
    assert found == expected
    assert len(purls) == 5


def test_what_rpm_says_of_a_package_is_in_the_spdx_document(rpm_image: Path) -> None:
    document = _made(rpm_image, "spdx")
    odd = _package(document, "odd")
    assert odd["versionInfo"] == "7:2.0-3"
    assert odd["supplier"] == "Organization: The Vendor"
    assert odd["originator"] == "Organization: The Packager (p@example.org)"
    assert odd["homepage"] == "https://example.org/?a=b&c"
    assert odd["sourceInfo"] == "built from source package: odd-2.0-3.src.rpm"
    assert odd["licenseDeclared"] == "LicenseRef-GPLv2-plus AND LicenseRef-Public-Domain"
    assert "sha256 of its header: " in odd["comment"]
    extracted = {info["licenseId"]: info for info in document["hasExtractedLicensingInfos"]}
    assert extracted["LicenseRef-GPLv2-plus"]["name"] == "GPLv2+"
    assert "GPLv2+" in extracted["LicenseRef-GPLv2-plus"]["extractedText"]
    assert _package(document, "hello")["licenseDeclared"] == "Apache-2.0"


def test_what_rpm_says_of_a_package_is_in_the_cyclonedx_document(rpm_image: Path) -> None:
    document = _made(rpm_image, "cyclonedx")
    odd = _package(document, "odd")
    assert odd["version"] == "7:2.0-3"
    assert odd["supplier"] == {"name": "The Vendor"}
    assert odd["publisher"] == "The Packager <p@example.org>"
    names = [entry["license"]["name"] for entry in odd["licenses"]]
    assert names == ["GPLv2+ and Public Domain"]
    [source] = odd["pedigree"]["ancestors"]
    assert source["purl"] == "pkg:rpm/strange/odd@2.0-3?arch=src&distro=strange-7"
    assert _package(document, "hello")["licenses"][0]["license"]["id"] == "Apache-2.0"
    system = next(c for c in document["components"] if c["type"] == "operating-system")
    assert (system["name"], system["version"]) == ("strange", "7")
    assert system["description"] == 'Odd Linux "7"'


def test_a_document_describes_the_image_by_its_digest_and_its_time(rpm_image: Path) -> None:
    manifest = json.loads(_member(rpm_image, "index.json"))["manifests"][0]["digest"]
    spdx = _made(rpm_image, "spdx")
    assert spdx["relationships"][0] == {
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": "SPDXRef-Image",
    }
    image = _package(spdx, "odd.tar")
    assert (image["SPDXID"], image["versionInfo"]) == ("SPDXRef-Image", manifest)
    assert image["checksums"][0]["checksumValue"] == manifest.removeprefix("sha256:")
    assert spdx["creationInfo"]["created"] == "2024-02-03T03:05:06Z"
    metadata = _made(rpm_image, "cyclonedx")["metadata"]
    assert metadata["timestamp"] == "2024-02-03T03:05:06Z"
    assert metadata["component"]["version"] == manifest


def test_a_public_key_in_rpms_database_is_no_package(
    tmp_path: Path, rpm_database: Path, hello_repository: Path
) -> None:
    path = tmp_path / "db"
    shutil.copytree(rpm_database.parent, path)
    key = hello_repository / "RPM-GPG-KEY-hello"
    added = run(["rpm", "--dbpath", path, "--define", "_keyring rpmdb", "--import", key])
    assert added.status == 0, added.stderr
    assert "gpg-pubkey" in run(["rpm", "--dbpath", path, "-qa"]).stdout
    layer = [file(RPM_DATABASE, (path / "rpmdb.sqlite").read_bytes())]
    wal = path / "rpmdb.sqlite-wal"
    if wal.exists():
        layer.append(file(f"{RPM_DATABASE}-wal", wal.read_bytes()))
    assert len(_purls(_made(make_image(tmp_path / "i.tar", [layer]), "spdx"))) == 5


def test_a_database_that_several_paths_lead_to_counts_once(
    tmp_path: Path, rpm_database: Path, kind: str
) -> None:
    layer = [
        file(RPM_DATABASE, rpm_database.read_bytes()),
        symlink("var/lib/rpm", "../../usr/lib/sysimage/rpm"),
        symlink("root/.rpmdb", "/var/lib/rpm"),
    ]
    document = _made(make_image(tmp_path / "i.tar", [layer]), kind)
    assert len(_purls(document)) == 5
    assert "pkg:rpm/odd@2.0-3" in _purls(document)[-1], "there is no os-release"


# --- dpkg


def _control(name: str, more: str) -> str:
    fields = "Architecture: all\nMaintainer: M <m@example.org>\nDescription: d\n"
    return f"Package: {name}\n{fields}{more}"


@pytest.fixture
def dpkg_root(tmp_path: Path) -> Path:
    """A root filesystem in which dpkg installed packages and removed one."""
    root = tmp_path / "root"
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "etc").mkdir()
    (root / "etc/os-release").write_text(DEBIAN)
    dep_5 = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
    copyrights = {
        "one": f"{dep_5}Files: *\nCopyright: X\nLicense: GPL-2+\n",
        "two": "It may be used by anybody.\n",
        "removed": f"{dep_5}Files: *\nCopyright: X\nLicense: Expat\n",
    }
    controls = {
        "one": "Version: 1:1.0~rc1+b2\nSource: first (1.0)\nHomepage: https://example.org/\n",
        "two": "Version: 2.0-1\n",
        "removed": "Version: 3\n",
    }
    for name, more in controls.items():
        tree = tmp_path / name
        for path, content in (
            ("DEBIAN/control", _control(name, more)),
            ("DEBIAN/conffiles", f"/etc/{name}.conf\n"),
            (f"etc/{name}.conf", "setting\n"),
            (f"usr/share/doc/{name}/copyright", copyrights[name]),
        ):
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(content)
            (tree / path).chmod(0o644)
        (tree / "DEBIAN").chmod(0o755)
        deb = tmp_path / f"{name}.deb"
        built = run(["dpkg-deb", "--root-owner-group", "--build", tree, deb], timeout_s=60)
        assert built.status == 0, built.stderr
        done = run(["dpkg", "--root", root, "--install", deb], timeout_s=60)
        assert done.status == 0, done.stderr
    assert run(["dpkg", "--root", root, "--remove", "removed"]).status == 0
    return root


@pytest.mark.needs_root
@pytest.mark.needs_program("dpkg", "dpkg-deb", "dpkg-query")
def test_a_dpkg_image_has_the_packages_that_dpkg_lists(
    dpkg_root: Path, tmp_path: Path, kind: str
) -> None:
    form = "${db:Status-Status} ${Package} ${Version} ${Architecture} ${source:Package}\n"
    said = run(["dpkg-query", f"--admindir={dpkg_root}/var/lib/dpkg", "-W", "-f", form])
    listed = [line.split() for line in said.stdout.splitlines()]
    assert {state for state, *_ in listed} == {"installed", "config-files"}
    document = _made(make_image(tmp_path / "d.tar", [_tar_of_tree(dpkg_root)]), kind)
    found = []
    for text in _purls(document):
        purl = _of_purl(text)
        assert (purl.type, purl.namespace) == ("deb", "debian")
        assert purl.qualifiers["distro"] == "debian-12"
        source = purl.qualifiers.get("upstream", purl.name).partition("@")[0]
        found.append([purl.name, purl.version, purl.qualifiers["arch"], source])
    assert sorted(found) == sorted(rest for state, *rest in listed if state == "installed")
    one, two = (_package(document, name) for name in ("one", "two"))
    if kind == "cyclonedx":
        assert one["licenses"][0]["license"]["id"] == "GPL-2.0-or-later"
        assert "licenses" not in two
    else:
        assert one["licenseDeclared"] == "GPL-2.0-or-later"
        assert two["licenseDeclared"] == "NOASSERTION"


def _tar_of_tree(root: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(root.rglob("*")):
            archive.add(path, str(path.relative_to(root)), recursive=False)
    return buffer.getvalue()


def _dpkg_layer(status: str) -> list[bytes]:
    return [file("var/lib/dpkg/status", status), file("usr/lib/os-release", DEBIAN)]


def test_what_dpkg_says_of_a_package_is_in_the_documents(tmp_path: Path) -> None:
    image = make_image(tmp_path / "d.tar", [_dpkg_layer(STATUS)])
    document = _made(image, "spdx")
    assert _names(document) == ["held", "libthing1"]
    thing = _package(document, "libthing1")
    assert thing["supplier"] == "Organization: The [Thing] Team (thing@example.org)"
    assert thing["summary"] == "a thing"
    assert thing["sourceInfo"] == "built from source package: thing 1:2.0+dfsg-1~deb12"
    purl = (
        "pkg:deb/debian/libthing1@1:2.0%2Bdfsg-1~deb12%2Bb1"
        "?arch=amd64&distro=debian-12&upstream=thing%401:2.0%2Bdfsg-1~deb12"
    )
    assert purl in _purls(document)
    assert _of_purl(purl).version == "1:2.0+dfsg-1~deb12+b1"
    assert _of_purl(purl).qualifiers["upstream"] == "thing@1:2.0+dfsg-1~deb12"
    thing = _package(_made(image, "cyclonedx"), "libthing1")
    contact = [{"email": "thing@example.org"}]
    assert thing["supplier"] == {"name": "The (Thing) Team", "contact": contact}


def test_a_distroless_image_has_a_file_for_each_package(tmp_path: Path, kind: str) -> None:
    layers = [
        [
            file("etc/os-release", DEBIAN),
            file("var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12\n"),
            file("var/lib/dpkg/status.d/base.md5sums", "0123 usr/share/file\n"),
        ],
        [file("var/lib/dpkg/status.d/libc6", "Package: libc6\nVersion: 2.36-9\n")],
    ]
    document = _made(make_image(tmp_path / "d.tar", layers), kind)
    assert _names(document) == ["base-files", "libc6"]


def test_an_image_may_have_both_databases(tmp_path: Path, rpm_database: Path, kind: str) -> None:
    layers = [_dpkg_layer(STATUS), [file("root/.rpmdb/rpmdb.sqlite", rpm_database.read_bytes())]]
    purls = _purls(_made(make_image(tmp_path / "b.tar", layers), kind))
    assert sum(purl.startswith("pkg:deb/debian/") for purl in purls) == 2
    assert sum(purl.startswith("pkg:rpm/debian/") for purl in purls) == 5


# --- layers


def test_the_highest_layer_says_what_is_installed(tmp_path: Path, kind: str) -> None:
    less = STATUS.partition("\n\n")[0] + "\n"
    document = _made(
        make_image(tmp_path / "i.tar", [_dpkg_layer(STATUS), _dpkg_layer(less)]), kind
    )
    assert _names(document) == ["libthing1"]


@pytest.mark.parametrize(
    "whiteout", ["var/lib/dpkg/.wh.status", "var/lib/dpkg/.wh..wh..opq", "var/.wh.lib"]
)
def test_a_database_that_was_deleted_says_nothing_and_there_is_a_warning(
    tmp_path: Path, kind: str, whiteout: str
) -> None:
    image = make_image(tmp_path / "i.tar", [_dpkg_layer(STATUS), [file(whiteout)]])
    assert _purls(_made(image, kind)) == []
    ended = _sbom("--format", kind, image)
    assert ended.status == 0
    assert ended.stderr == (
        f"pybuild: warning: {image} has no package database, so its SBOM lists no packages\n"
    )


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_layers_are_read(
    tmp_path: Path, rpm_database: Path, kind: str, compression: str
) -> None:
    layers = [
        [file("a" * 50, b"x" * 100_000), file(RPM_DATABASE, rpm_database.read_bytes())],
        [file("etc/os-release", OS_RELEASE)],
    ]
    image = make_image(tmp_path / "i.tar", layers, compression=compression)
    purls = _purls(_made(image, kind))
    assert len(purls) == 5
    assert all(purl.startswith("pkg:rpm/strange/") for purl in purls)


def test_a_link_in_the_image_leads_nowhere_outside(tmp_path: Path) -> None:
    outside = tmp_path / "status"
    outside.write_text(STATUS)
    layer = [symlink("var/lib/dpkg/status", str(outside)), symlink("etc/os-release", "os-release")]
    assert _purls(_made(make_image(tmp_path / "i.tar", [layer]), "spdx")) == []


def test_a_directory_layout_and_a_docker_archive_are_images_too(tmp_path: Path, kind: str) -> None:
    files = image_files([_dpkg_layer(STATUS)], views=("oci",))
    for name, content in files.items():
        (tmp_path / "layout" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "layout" / name).write_bytes(content)
    docker = make_image(tmp_path / "docker.tar", [_dpkg_layer(STATUS)], views=("docker",))
    for image in (tmp_path / "layout", f"oci-layout://{tmp_path}/layout", docker):
        ended = _sbom("--format", kind, image)
        assert ended.status == 0, ended.stderr
        assert len(_purls(json.loads(ended.stdout))) == 2


# --- what is wrong


def test_a_broken_rpm_database_is_one_error_with_image_layer_and_path(
    tmp_path: Path, rpm_database: Path
) -> None:
    broken = rpm_database.read_bytes()[:5000]
    layers = [tar_of([directory("etc")]), tar_of([file(RPM_DATABASE, broken)])]
    image = make_image(tmp_path / "i.tar", layers)
    ended = _sbom(image)
    assert (ended.status, ended.stdout) == (1, "")
    where = f"pybuild: {image}: layer 2 ({digest_of(layers[1])}): {RPM_DATABASE}: "
    assert ended.stderr.startswith(where)
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("var/lib/rpm/Packages", b"x", "is rpm's database in its Berkeley DB form"),
        ("usr/lib/sysimage/rpm/Packages.db", b"x", "is rpm's database in its ndb form"),
        ("var/lib/rpm/rpmdb.sqlite", b"", "var/lib/rpm/rpmdb.sqlite: not an sqlite database"),
        ("var/lib/dpkg/status", b"Package: a\nwrong\n", "status:2: 'wrong' is no field"),
        ("var/lib/dpkg/status", b" x\n", "status:1: a continuation line without a field"),
        (
            "var/lib/dpkg/status",
            b"\nPackage: a\n",
            "status:2: a package without the field Version",
        ),
        ("var/lib/dpkg/status", b"Package: a\nStatus: x\n", "status:1: status 'x' of package 'a'"),
    ],
)
def test_a_database_that_cannot_be_read_is_one_error(
    tmp_path: Path, path: str, content: bytes, message: str
) -> None:
    ended = _sbom(make_image(tmp_path / "i.tar", [[file(path, content)]]))
    assert (ended.status, ended.stdout) == (1, "")
    assert message in ended.stderr
    assert ": layer 1 (sha256:" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("compression", ["", "gzip"])
def test_a_layer_that_is_not_what_its_digest_says_is_refused(
    tmp_path: Path, compression: str
) -> None:
    layer = tar_of(_dpkg_layer(STATUS))
    other = tar_of(_dpkg_layer(STATUS.replace("libthing1", "libthinks")))
    files = image_files([layer], compression=compression)
    stored = compressed(layer, compression)
    changed = compressed(other, compression)
    name = f"blobs/sha256/{hashlib.sha256(stored).hexdigest()}"
    files[name] = changed[: len(stored)].ljust(len(stored), b"\0")
    ended = _sbom(pack(tmp_path / "i.tar", files))
    assert (ended.status, ended.stdout) == (1, "")
    assert "layer 1" in ended.stderr


def test_a_time_that_is_none_is_one_error(tmp_path: Path) -> None:
    for wrong in ("yesterday", "2024-01-01", "0001-01-01T00:00:00+14:00"):
        image = make_image(tmp_path / "i.tar", [[]], document={"created": wrong})
        ended = _sbom(image)
        assert ended.status == 1
        assert f"created is {wrong!r}, a time of RFC 3339 expected" in ended.stderr


def test_an_image_that_says_no_time_is_of_the_epoch(tmp_path: Path) -> None:
    document = _made(make_image(tmp_path / "i.tar", [_dpkg_layer(STATUS)]), "spdx")
    assert document["creationInfo"]["created"] == "1970-01-01T00:00:00Z"


def test_wrong_command_lines_and_places_have_their_exit_statuses(tmp_path: Path) -> None:
    image = make_image(tmp_path / "i.tar", [_dpkg_layer(STATUS)])
    for status, arguments in (
        (2, []),
        (2, [image, image]),
        (2, ["--format", "swid", image]),
        (2, ["--no-such-option", image]),
        (1, [f"--root={tmp_path}/store", "no-such-image"]),
        (1, ["--platform=linux/s390x", image]),
        (5, ["-o", tmp_path / "none/x.json", image]),
    ):
        ended = _sbom(*arguments)
        assert ended.status == status, (arguments, ended.stderr)
        assert ended.stderr.startswith("pybuild: ")
        assert ended.stdout == ""
    assert _sbom("--help").stdout.startswith("usage: pybuild sbom")


# --- pybuild --sbom


@pytest.mark.needs_program("dnf", "rpm")
def test_root_and_user_write_the_same_documents_of_the_same_build(
    as_root: Pybuild, as_user: Pybuild, hello_repository: Path
) -> None:
    made = []
    for pybuild in (as_root, as_user):
        for name in ("repo", "RPM-GPG-KEY-hello", "motd"):
            source, target = hello_repository / name, pybuild.context / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
        options = ("--sbom=spdx", "--sbom", "cyclonedx")
        ended = pybuild.run("-f", HELLO, *options, pybuild.context, timeout_s=120)
        assert ended.status == 0, ended.stderr
        for suffix, kind in (("spdx", "spdx"), ("cdx", "cyclonedx")):
            path = Path(f"{pybuild.output}.{suffix}.json")
            copy = shutil.copy(path, pybuild.directory / path.name)
            document = _valid(Path(copy), kind)
            assert _names(document) == ["busybox", "hello", "hello-release", "hello-system"]
            later = pybuild.run("sbom", "--format", kind, "image.tar")
            assert later.stdout == path.read_text()
            made.append(path.read_bytes())
    assert made[:2] == made[2:]


def _with_status(pybuild: Pybuild, status: str = STATUS) -> str:
    pybuild.add({"status": status})
    return "FROM scratch\nCOPY status /var/lib/dpkg/status\n"


def test_a_build_that_changes_nothing_writes_an_sbom_that_is_missing_or_was_changed(
    pybuild: Pybuild,
) -> None:
    text = _with_status(pybuild)
    pybuild.build(text, "--sbom=spdx")
    path = Path(f"{pybuild.output}.spdx.json")
    first = path.read_bytes()
    assert "spdx.json: up to date" in pybuild.try_build(text, "--sbom=spdx").stderr
    path.unlink()
    pybuild.build(text, "--sbom=spdx")
    assert path.read_bytes() == first
    path.write_text("{}")
    pybuild.build(text, "--sbom=spdx")
    assert path.read_bytes() == first


def test_an_image_with_a_name_alone_needs_a_place_for_its_sbom(pybuild: Pybuild) -> None:
    text = _with_status(pybuild)
    ended = pybuild.try_build(text, "-t", "named", "--sbom=spdx")
    assert ended.status == 2
    assert "no image is written to a file" in ended.stderr
    ended = pybuild.try_build(text, "-t", "named", "--sbom=cyclonedx,dest=it.json")
    assert ended.status == 0, ended.stderr
    written = (pybuild.work / "it.json").read_text()
    assert json.loads(written)["metadata"]["component"]["name"] == "named"
    assert pybuild.run("sbom", "--format=cyclonedx", "named").stdout == written


def test_each_output_and_each_platform_has_its_sbom(pybuild: Pybuild) -> None:
    text = _with_status(pybuild)
    outputs = ["-o", "type=oci,dest=a.tar,compression=gzip", "-o", "type=docker,dest=b.tar"]
    pybuild.try_build(text, *outputs, "-o", "type=local,dest=tree", "--sbom=spdx")
    for name in ("a.tar", "b.tar"):
        written = (pybuild.work / f"{name}.spdx.json").read_text()
        assert pybuild.run("sbom", name).stdout == written
    assert (pybuild.work / "tree.spdx.json").exists()
    both = ["linux/amd64", "linux/arm64"]
    ended = pybuild.try_build(text, f"--platform={','.join(both)}", "--sbom=spdx")
    assert ended.status == 0, ended.stderr
    for platform in both:
        path = Path(f"{pybuild.output}.{platform.replace('/', '_')}.spdx.json")
        found = pybuild.run("sbom", "--platform", platform, "image.tar").stdout
        assert found == path.read_text()
        assert f"for {platform}" in found


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--sbom=swid", "--sbom 'swid': spdx or cyclonedx"),
        ("--sbom=spdx,to=x", "'to=x' is not known"),
        ("--sbom=spdx,dest=", "'dest=' is not known"),
        ("--sbom=spdx,dest=image.tar", "image.tar is written twice"),
    ],
)
def test_a_wrong_sbom_option_is_refused_before_anything_is_built(
    pybuild: Pybuild, option: str, message: str
) -> None:
    ended = pybuild.try_build(_with_status(pybuild), option)
    assert ended.status == 2
    assert message in ended.stderr
    assert not pybuild.output.exists()


def test_nothing_is_written_of_an_image_whose_database_cannot_be_read(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(
        _with_status(pybuild, "wrong\n"), "--sbom=spdx", "-t", "named", "-o", "x.tar"
    )
    assert ended.status == 1
    assert "var/lib/dpkg/status:1: 'wrong' is no field" in ended.stderr
    assert os.listdir(pybuild.work) == []
    assert pybuild.run("sbom", "named").status == 1


def test_a_place_that_cannot_be_written_is_found_before_the_build(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(_with_status(pybuild), "--sbom=spdx,dest=none/x.json")
    assert ended.status == 5
    assert "none/x.json: no such directory" in ended.stderr
    assert not pybuild.output.exists()


def _member(path: Path, name: str) -> bytes:
    with tarfile.open(path) as archive:
        found = archive.extractfile(name)
        assert found is not None
        return found.read()
