"""ADD of URLs, from servers on loopback: what is fetched, when, and what it becomes."""

from __future__ import annotations

import gzip
import hashlib
import random
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.buildkit.support import Image, Pybuild, modes, text_files
from tests.buildkit.web import Request, Site, running_site
from tests.support import PASSWD, file, tar_of

CONTENT = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server."""
    with running_site() as made:
        yield made


def _steps(pybuild: Pybuild, text: str) -> list[str]:
    """What became of the steps; none if the build as a whole was found to be done."""
    ended = pybuild.try_build(text)
    assert ended.status == 0, ended.stderr
    if "up to date" in ended.stderr:
        return []
    words = [line.split()[1] for line in ended.stderr.splitlines() if line.startswith("#")]
    return [word for word in words if word in ("CACHED", "DONE")]


# --- What it becomes


@pytest.mark.parametrize(
    ("path", "destination", "expected"),
    [
        ("/a.txt", "/", "a.txt"),
        ("/a.txt", "/d/", "d/a.txt"),
        ("/a.txt", "/d/b", "d/b"),
        ("/a.txt?x=/y#z", "/d/", "d/a.txt"),
        ("/dir/", "/d/", "d/dir"),
        ("/with%20blank%2Fb", "/d/", "d/b"),
        ("/", "/d", "d"),
    ],
)
def test_the_name_is_the_urls_or_the_destination(
    pybuild: Pybuild, site: Site, path: str, destination: str, expected: str
) -> None:
    site.files[path.partition("?")[0]] = b"1"
    image = pybuild.build(f"FROM scratch\nADD {site.url}{path} {destination}\n")
    assert text_files(image) == {expected: "1"}


@pytest.mark.parametrize("destination", ["/d/", "/", "."])
def test_without_a_name_the_destination_must_have_one(
    pybuild: Pybuild, site: Site, destination: str
) -> None:
    ended = pybuild.try_build(f"FROM scratch\nADD {site.url} {destination}\n")
    assert ended.status == 2
    assert f"Containerfile:2:5: {site.url} does not say what its file is called" in ended.stderr
    assert not site.requests


def test_nor_may_the_destination_be_a_directory_of_the_image(pybuild: Pybuild, site: Site) -> None:
    site.files["/"] = b"1"
    ended = pybuild.try_build(f"FROM scratch\nWORKDIR /d\nADD {site.url}/ /d\n")
    assert ended.status == 1
    assert "does not say what its file is called, and /d is a directory" in ended.stderr


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", "0:0 600"),
        ("--chmod=4755", "0:0 4755"),
        ("--chmod=go+r", "0:0 644"),
        ("--chown=1000:5", "1000:5 600"),
    ],
)
def test_owner_and_mode(anybody: Pybuild, site: Site, flags: str, expected: str) -> None:
    site.files["/a"] = b"1"
    anybody.add({"passwd": PASSWD})
    image = anybody.build(f"FROM scratch\nCOPY passwd /etc/\nADD {flags} {site.url}/a /x/\n")
    assert modes(image)["x/a"] == expected


def test_the_time_is_the_servers_but_never_later_than_the_epoch(
    pybuild: Pybuild, site: Site
) -> None:
    site.files.update({"/old": b"", "/new": b"", "/none": b"", "/odd": b""})
    site.modified("/old", 300_000_000)
    site.modified("/new", 500_000_000)
    site.headers["/odd"] = {"Last_Modified": "yesterday"}
    lines = "".join(f"ADD {site.url}/{name} /\n" for name in ("old", "new", "none", "odd"))
    env = {"SOURCE_DATE_EPOCH": "400000000"}
    image = pybuild.build(f"FROM scratch\n{lines}", env=env)
    assert {name: info.mtime for name, info in image.files.items()} == {
        "old": 300_000_000,
        "new": 400_000_000,
        "none": 400_000_000,
        "odd": 400_000_000,
    }


def test_an_archive_is_unpacked_only_if_that_is_asked_for(pybuild: Pybuild, site: Site) -> None:
    tar = gzip.compress(tar_of([file("a", "1", uid=5, mode=0o640)]), mtime=0)
    site.files.update({"/t.tar": tar, "/": tar, "/no": b"no"})
    image = pybuild.build(
        f"FROM scratch\nADD {site.url}/t.tar /1/\nADD --unpack {site.url}/t.tar /2\n"
        f"ADD --unpack {site.url} /3/\nADD --unpack {site.url}/no /4/\n"
        f"ADD --unpack=false {site.url}/t.tar /5/\n"
    )
    assert set(text_files(image)) == {"1/t.tar", "2/a", "3/a", "4/no", "5/t.tar"}
    assert modes(image)["2/a"] == "5:0 640"


def test_files_urls_and_heredocs_go_in_order(pybuild: Pybuild, site: Site) -> None:
    site.files.update({"/a": b"url", "/b": b"url", "/c": b"url"})
    pybuild.add({"a": "file", "b": "file"})
    image = pybuild.build(
        f"FROM scratch\nADD a {site.url}/a {site.url}/b b <<c {site.url}/c /x/\nhere\nc\n"
    )
    assert text_files(image) == {"x/a": "url", "x/b": "file", "x/c": "here\n"}


def test_the_ignore_file_says_nothing_of_urls(pybuild: Pybuild, site: Site) -> None:
    site.files["/a"] = b"1"
    pybuild.add({".dockerignore": "*"})
    assert text_files(pybuild.build(f"FROM scratch\nADD {site.url}/a /\n")) == {"a": "1"}


def test_redirects_are_followed_and_the_name_is_that_of_the_first(
    pybuild: Pybuild, site: Site
) -> None:
    def answer(request: Request) -> None:
        if request.path == "/a":
            request.send(status=302, Location="/elsewhere/b")
        elif request.path == "/circle":
            request.send(status=302, Location="/circle")
        elif request.path == "/file":
            request.send(status=302, Location="file:///etc/passwd")
        else:
            request.send(b"1")

    site.answer = answer
    assert text_files(pybuild.build(f"FROM scratch\nADD {site.url}/a /\n")) == {"a": "1"}
    for path in ("circle", "file"):
        ended = pybuild.try_build(f"FROM scratch\nADD {site.url}/{path} /\n")
        assert ended.status == 4, ended.stderr


# --- Checksums


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_what_has_the_checksum_is_fetched_once(
    pybuild: Pybuild, site: Site, algorithm: str
) -> None:
    site.files["/a"] = CONTENT
    checksum = f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}"
    text = f"FROM scratch\nADD --checksum={checksum} {site.url}/a /\n"
    assert _steps(pybuild, text) == ["DONE"]
    assert _steps(pybuild, text) == []
    assert _steps(pybuild, text + "ENV a=b\n") == ["CACHED"]
    assert len(site.requests) == 1


def test_a_wrong_checksum_shows_both_digests_and_leaves_nothing(
    pybuild: Pybuild, site: Site
) -> None:
    site.files["/a"] = CONTENT
    text = "FROM scratch\nADD --checksum=sha256:{} {}/a /\n"
    ended = pybuild.try_build(text.format("0" * 64, site.url))
    assert ended.status == 4
    assert "Containerfile:2:" in ended.stderr
    assert f"is sha256:{SHA256}, --checksum says sha256:{'0' * 64}" in ended.stderr
    assert not pybuild.output.exists()
    assert not list((pybuild.store / "downloads").iterdir())
    assert not list((pybuild.store / "tmp").iterdir())
    assert _steps(pybuild, text.format(SHA256, site.url)) == ["DONE"]


def test_the_servers_other_content_is_no_match_for_a_checksum(
    pybuild: Pybuild, site: Site
) -> None:
    site.files["/a"] = b"old"
    old = hashlib.sha256(b"old").hexdigest()
    assert _steps(pybuild, f"FROM scratch\nADD {site.url}/a /\n") == ["DONE"]
    site.files["/a"] = CONTENT
    assert _steps(pybuild, f"FROM scratch\nADD --checksum=sha256:{SHA256} {site.url}/a /\n")
    assert Image(pybuild.output).read("a") == CONTENT
    ended = pybuild.try_build(f"FROM scratch\nADD --checksum=sha256:{old} {site.url}/a /\n")
    assert ended.status == 4


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("ADD --checksum=sha256:$d a /", 16, "--checksum is for a URL or a git repository"),
        ("ADD --checksum=0123abc http://h/a /", 16, "--checksum of a URL is written sha256:HEX"),
        ("ADD --checksum=sha256:$d http://h/a http://h/b /", 16, "found several"),
        ("ADD --checksum=sha256:0$d http://h/a /", 16, "sha256 has 64 digits"),
        ("ADD http:///a /", 5, "'http:///a' is no URL"),
        ("ADD http://h:port/a /", 5, "'http://h:port/a' is no URL"),
        ("ADD ftp://h/a /", 5, "ADD takes no ftp URL"),
        ("ADD file:///etc/passwd /", 5, "ADD takes no file URL"),
        ("ADD file:///repo.git /", 5, "ADD takes no file URL"),
        ("COPY http://h/a /", 6, "COPY takes no URL"),
    ],
)
def test_what_cannot_be_is_said_at_its_place(
    pybuild: Pybuild, line: str, column: int, message: str
) -> None:
    pybuild.add({"a": ""})
    ended = pybuild.try_build(f"FROM scratch\nARG d={'0' * 64}\n{line}\n")
    assert ended.status == 2
    assert f"Containerfile:3:{column}: " in ended.stderr
    assert message in ended.stderr


# --- When it is fetched again


def _with_etag(site: Site, content: bytes) -> None:
    site.files["/a"] = content
    site.headers["/a"] = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}


def _with_time(site: Site, content: bytes) -> None:
    site.files["/a"] = content
    site.modified("/a", 300_000_000 + sum(content[:10]))


def _without(site: Site, content: bytes) -> None:
    site.files["/a"] = content


@pytest.mark.parametrize("put", [_with_etag, _with_time, _without])
def test_each_build_asks_and_only_a_change_leads_to_another_layer(
    anybody: Pybuild, site: Site, put: Callable[[Site, bytes], None]
) -> None:
    text = f"FROM scratch\nADD {site.url}/a /\n"
    put(site, b"1")
    assert _steps(anybody, text) == ["DONE"]
    assert len(site.requests) == 1
    assert _steps(anybody, text) == []
    assert len(site.requests) == 2
    assert _steps(anybody, text + "ENV a=b\n") == ["CACHED"]
    put(site, b"2")
    assert _steps(anybody, text) == ["DONE"]
    assert Image(anybody.output).read("a") == b"2"


def test_what_is_known_is_not_sent_again(pybuild: Pybuild, site: Site) -> None:
    _with_etag(site, CONTENT)
    statuses: list[bool] = []

    def answer(request: Request) -> None:
        statuses.append(request.headers["If-None-Match"] == site.headers["/a"]["ETag"])
        site.serve(request)

    site.answer = answer
    text = f"FROM scratch\nADD {site.url}/a /\n"
    _steps(pybuild, text)
    _steps(pybuild, text)
    _steps(pybuild, text + "ENV a=b\n")
    assert statuses == [False, True, True]


def test_a_lost_file_is_fetched_again(pybuild: Pybuild, site: Site) -> None:
    _with_etag(site, b"1")
    text = f"FROM scratch\nADD {site.url}/a /\n"
    _steps(pybuild, text)
    for path in (pybuild.store / "downloads").iterdir():
        path.unlink()
    assert _steps(pybuild, text + "ADD <<b /\nb\n") == ["CACHED", "DONE"]
    assert len(list((pybuild.store / "downloads").iterdir())) == 1


def test_a_new_time_alone_is_another_file_if_the_layer_would_show_it(
    pybuild: Pybuild, site: Site
) -> None:
    site.files["/a"] = b"1"
    text = f"FROM scratch\nADD {site.url}/a /\n"
    site.modified("/a", 500_000_000)
    assert _steps(pybuild, text) == ["DONE"]
    site.modified("/a", 600_000_000)  # both are later than the epoch
    assert _steps(pybuild, text) == []
    site.modified("/a", 300_000_000)
    assert _steps(pybuild, text) == ["DONE"]


# --- Servers that misbehave


def test_a_passing_failure_is_passed_over(pybuild: Pybuild, site: Site) -> None:
    site.files["/a"] = b"1"

    def answer(request: Request) -> None:
        if len(site.requests) == 1:
            request.send(status=503)
        elif len(site.requests) == 2:
            request.connection.close()
        else:
            site.serve(request)

    site.answer = answer
    assert text_files(pybuild.build(f"FROM scratch\nADD {site.url}/a /\n")) == {"a": "1"}
    assert len(site.requests) == 3


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (401, 1), (206, 1), (500, 4)])
def test_a_lasting_failure_is_one_error(
    pybuild: Pybuild, site: Site, status: int, tries: int
) -> None:
    site.answer = lambda request: request.send(b"no", status)
    url = site.url.replace("//", "//user:secret@")
    ended = pybuild.try_build(f"FROM scratch\nADD {url}/a /\n")
    assert ended.status == 4
    [line] = [line for line in ended.stderr.splitlines() if "Containerfile:2:" in line]
    assert f"Containerfile:2:5: {site.url}/a: {status} " in line
    assert "secret" not in line
    assert len(site.requests) == tries


@pytest.mark.slow
def test_nobody_at_home_is_one_error(pybuild: Pybuild) -> None:
    with running_site() as site:
        url = site.url
    ended = pybuild.try_build(f"FROM scratch\nADD {url}/a /\n")
    assert ended.status == 4
    assert f"Containerfile:2:5: {url}/a: [Errno 111] Connection refused" in ended.stderr


def _in_parts(site: Site, *, ranges: bool, cut: int, changed: bytes = b"") -> None:
    """Let each answer end early, and the next one go on where it is asked to."""

    def answer(request: Request) -> None:
        asked = request.headers["Range"]
        content = changed if changed and asked else CONTENT
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        start = 0
        if asked and ranges and request.headers["If-Range"] == etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        status, headers = 200, {"ETag": etag}
        if start:
            status = 206
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        end = len(content) if changed and asked else start + cut
        left = len(content) - start
        request.send(content[start:end], status, length=left, **headers)

    site.answer = answer


def test_what_broke_off_is_resumed(anybody: Pybuild, site: Site) -> None:
    _in_parts(site, ranges=True, cut=800_000)
    image = anybody.build(f"FROM scratch\nADD {site.url}/a /\n")
    assert image.read("a") == CONTENT
    asked = [request.headers["Range"] for request in site.requests]
    assert asked == [None, "bytes=800000-", "bytes=1600000-", "bytes=2400000-"]


def test_a_file_that_changes_meanwhile_is_begun_anew(pybuild: Pybuild, site: Site) -> None:
    changed = CONTENT[::-1]
    _in_parts(site, ranges=True, cut=800_000, changed=changed)
    assert pybuild.build(f"FROM scratch\nADD {site.url}/a /\n").read("a") == changed


def test_a_size_that_is_not_the_announced_one_is_an_error(pybuild: Pybuild, site: Site) -> None:
    _in_parts(site, ranges=False, cut=800_000)
    ended = pybuild.try_build(f"FROM scratch\nADD {site.url}/a /\n")
    assert ended.status == 4
    message = f"{site.url}/a: the connection ended after 800000 of 3000000 bytes"
    assert f"Containerfile:2:5: {message}" in ended.stderr
    assert not pybuild.output.exists()


def test_a_part_that_was_not_asked_for_is_not_put_in(pybuild: Pybuild, site: Site) -> None:
    def answer(request: Request) -> None:
        if len(site.requests) == 1:
            request.send(CONTENT[:800_000], length=len(CONTENT), ETag='"1"')
        elif len(site.requests) == 2:
            said = f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"
            request.send(CONTENT[5:], 206, ETag='"1"', Content_Range=said)
        else:
            request.send(CONTENT, ETag='"1"')

    site.answer = answer
    assert pybuild.build(f"FROM scratch\nADD {site.url}/a /\n").read("a") == CONTENT
    assert len(site.requests) == 3


def test_content_is_taken_as_the_server_has_it(pybuild: Pybuild, site: Site) -> None:
    packed = gzip.compress(b"1", mtime=0)
    site.answer = lambda request: request.send(packed, Content_Encoding="gzip")
    assert pybuild.build(f"FROM scratch\nADD {site.url}/a /\n").read("a") == packed
    assert site.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.slow
def test_a_chunked_answer_that_breaks_off_is_an_error(pybuild: Pybuild, site: Site) -> None:
    def answer(request: Request) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"5\r\n12345\r\n")
        if request.path == "/whole":
            request.wfile.write(b"0\r\n\r\n")

    site.answer = answer
    assert pybuild.build(f"FROM scratch\nADD {site.url}/whole /\n").read("whole") == b"12345"
    ended = pybuild.try_build(f"FROM scratch\nADD {site.url}/half /\n")
    assert ended.status == 4
    assert "/half: the connection ended after 5 bytes" in ended.stderr


def test_an_interruption_leaves_nothing(pybuild: Pybuild, site: Site) -> None:
    def answer(request: Request) -> None:
        request.send(CONTENT[:800_000], length=len(CONTENT))
        process.send_signal(signal.SIGTERM)
        request.rfile.read()  # until the client is gone

    site.answer = answer
    process = pybuild.start(f"FROM scratch\nADD {site.url}/a /\n")
    assert process.wait(30) == 128 + signal.SIGTERM
    assert not list((pybuild.store / "tmp").iterdir())
    assert not list((pybuild.store / "downloads").iterdir())


def test_whoever_builds_the_image_is_the_same(
    as_root: Pybuild, as_user: Pybuild, plain: Pybuild, site: Site
) -> None:
    site.files.update({"/a": b"1", "/t.tar": tar_of([file("b", "2", uid=3)])})
    site.modified("/a", 300_000_000)
    text = f"FROM scratch\nADD {site.url}/a /x/\nADD --unpack {site.url}/t.tar /x\n"
    images = [each.build(text) for each in (as_root, as_user, plain)]
    assert len({image.descriptor["digest"] for image in images}) == 1
