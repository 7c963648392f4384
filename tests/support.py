"""Plain helpers for the tests of every package; what pytest must set up is in conftest.py.

A tar is written here byte by byte, on purpose: the tests are about archives that no tool would
make, and about our reader, which must not be judged by our writer.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
BUSYBOX = Path("/bin/busybox")
# What makes a command's surroundings those of a plain container; for root.
PLAIN_CONTAINER = (sys.executable, str(CHECKOUT / "tests/plain_container.py"))
EPOCH = 1_000_000_000  # the time of everything that says nothing else

# A link in a tree that `make_tree` makes, or a file with a mode of its own.
TreeValue = str | bytes | Path | tuple[bytes, int] | None


# --- trees ----------------------------------------------------------------------------------


def make_tree(root: Path, tree: Mapping[str, TreeValue]) -> Path:
    """Make files below `root`; a name ending in "/" is a directory, a Path value a symlink."""
    root.mkdir(parents=True, exist_ok=True)
    for name, value in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif isinstance(value, Path):
            path.symlink_to(value)
        elif isinstance(value, tuple):
            path.write_bytes(value[0])
            path.chmod(value[1])
        else:
            path.write_bytes(value.encode() if isinstance(value, str) else value or b"")
    return root


def tree_state(root: Path) -> dict[str, tuple[object, ...]]:
    """All that can be changed below `root`: kind, mode, owner, links, time, content, xattrs."""
    state: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in (*folders, *files))):
            status = os.lstat(path)
            content: object = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            xattrs = tuple(
                (name, os.getxattr(path, name, follow_symlinks=False))
                for name in sorted(os.listxattr(path, follow_symlinks=False))
            )
            state[os.path.relpath(path, root)] = (
                *(status.st_mode, status.st_uid, status.st_gid, status.st_nlink),
                *(status.st_mtime_ns, status.st_rdev, content, xattrs),
            )
    return state


# --- tars -----------------------------------------------------------------------------------


def header(
    name: str | bytes,
    kind: str = "0",
    *,
    size: int | bytes = 0,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = EPOCH,
    link: str | bytes = "",
    device: tuple[int | bytes, int | bytes] = (0, 0),
    prefix: str | bytes = "",
    magic: bytes = b"ustar\x0000",
    checksum: int | None = None,
) -> bytes:
    """One 512-byte tar header; a number given as bytes stands in its field as it is."""
    fields = (
        _encode(name).ljust(100, b"\0"),
        *(_octal(value, 8) for value in (mode, uid, gid)),
        *(_octal(value, 12) for value in (size, mtime)),
        b" " * 8,
        kind.encode("latin-1"),
        _encode(link).ljust(100, b"\0"),
        magic,
        bytes(64),
        *(_octal(number, 8) for number in device),
        _encode(prefix).ljust(155, b"\0"),
    )
    block = b"".join(fields).ljust(512, b"\0")
    assert len(block) == 512, f"a field of {name!r} is too long for a plain header"
    found = sum(block) if checksum is None else checksum
    return block[:148] + b"%06o\0 " % found + block[156:]


def base256(value: int, width: int) -> bytes:
    """A number as GNU tar writes what octal can't hold."""
    first = 0xFF if value < 0 else 0x80
    return bytes([first]) + value.to_bytes(width - 1, "big", signed=value < 0)


def file(name: str | bytes, content: str | bytes = b"", **fields: Any) -> bytes:
    """A regular file."""
    return _member(name, "0", _encode(content), fields)


def directory(name: str | bytes, **fields: Any) -> bytes:
    """A directory."""
    return _member(name, "5", b"", {"mode": 0o755} | fields)


def symlink(name: str | bytes, target: str | bytes, **fields: Any) -> bytes:
    """A symbolic link."""
    return _member(name, "2", b"", {"link": target, "mode": 0o777} | fields)


def hardlink(name: str | bytes, target: str | bytes, **fields: Any) -> bytes:
    """A hard link to a name inside the same layer."""
    return _member(name, "1", b"", {"link": target} | fields)


def character(name: str, major: int, minor: int, **fields: Any) -> bytes:
    """A character device."""
    return header(name, "3", device=(major, minor), **fields)


def fifo(name: str, **fields: Any) -> bytes:
    """A named pipe."""
    return header(name, "6", **fields)


def pax(**records: str | bytes) -> bytes:
    """A PAX header for the member after it; `__` in a key stands for a dot."""
    return pax_records({key.replace("__", "."): value for key, value in records.items()})


def pax_records(records: Mapping[str, str | bytes]) -> bytes:
    """A PAX header whose keys need not be identifiers."""
    return raw_pax(b"".join(_pax_record(key, value) for key, value in records.items()))


def raw_pax(content: bytes) -> bytes:
    """A PAX header with any content, also a malformed one."""
    return _member("pax", "x", content, {})


def gnu_long(kind: str, text: str | bytes) -> bytes:
    """GNU's own extension: `L` gives the next member its name, `K` its link."""
    return _member("././@LongLink", kind, _encode(text) + b"\0", {})


def tar_of(entries: Iterable[bytes]) -> bytes:
    """A whole tar of members as the functions above make them."""
    return b"".join(entries) + bytes(1024)


def members_of(content: bytes) -> dict[str, tarfile.TarInfo]:
    """The members of a tar as Python's own reader sees them, for judging our writer."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {member.name: member for member in archive}


def read_members(path: Path) -> dict[str, bytes]:
    """The regular files of an archive: name -> content."""
    with tarfile.open(path) as archive:
        files = ((member.name, archive.extractfile(member)) for member in archive)
        return {name: content.read() for name, content in files if content is not None}


def _encode(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _octal(value: int | bytes, width: int) -> bytes:
    if isinstance(value, bytes):
        return value.ljust(width, b"\0")
    return b"%0*o\0" % (width - 1, value)


def _member(name: str | bytes, kind: str, content: bytes, fields: Mapping[str, Any]) -> bytes:
    """A header and its content; what is too long for the header goes before it."""
    fields = {"size": len(content)} | dict(fields)
    before = b""
    for letter, text in (("L", name), ("K", fields.get("link", ""))):
        if len(_encode(text)) > 100:
            before += gnu_long(letter, text)
    fields["link"] = _encode(fields.get("link", ""))[:100]
    head = header(_encode(name)[:100], kind, **fields)
    return before + head + content + bytes(-len(content) % 512)


def _pax_record(key: str, value: str | bytes) -> bytes:
    text = b" " + _encode(key) + b"=" + _encode(value) + b"\n"
    length = len(text)
    while length != len(text) + len(str(length)):
        length = len(text) + len(str(length))
    return str(length).encode() + text


# --- images ---------------------------------------------------------------------------------

_OCI = "application/vnd.oci.image"
_COMPRESSED = {"": "", "gzip": "+gzip", "zstd": "+zstd"}
Layer = bytes | list[bytes]


def digest_of(content: bytes) -> str:
    """`sha256:…` of some bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def compressed(content: bytes, compression: str) -> bytes:
    """A layer's bytes as stored: "" (as they are), "gzip" or "zstd"."""
    if compression == "gzip":
        return gzip.compress(content, mtime=0)
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().compress(content)
    assert not compression
    return content


def image_files(
    layers: Sequence[Layer],
    config: Mapping[str, Any] | None = None,
    *,
    compression: str = "",
    views: tuple[str, ...] = ("oci", "docker"),
    document: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """The members of an image archive, name -> content: to be spoiled, then given to `pack`.

    `config` is the image's `config` member (Env, Cmd, …); `document` overrides members of the
    configuration around it.
    """
    tars = [layer if isinstance(layer, bytes) else tar_of(layer) for layer in layers]
    blobs = [compressed(tar, compression) for tar in tars]
    image = to_json(
        {
            "architecture": os.uname()
            .machine.replace("x86_64", "amd64")
            .replace("aarch64", "arm64"),
            "os": "linux",
            "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
        }
        | dict(document or {})
    )
    manifest = to_json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": descriptor(image, f"{_OCI}.config.v1+json"),
            "layers": [
                descriptor(blob, f"{_OCI}.layer.v1.tar{_COMPRESSED[compression]}")
                for blob in blobs
            ],
        }
    )
    files = {blob_name(blob): blob for blob in (image, *blobs)}
    if "oci" in views:
        index = [descriptor(manifest, f"{_OCI}.manifest.v1+json")]
        files[blob_name(manifest)] = manifest
        files["oci-layout"] = to_json({"imageLayoutVersion": "1.0.0"})
        files["index.json"] = to_json({"schemaVersion": 2, "manifests": index})
    if "docker" in views:
        view = {
            "Config": blob_name(image),
            "RepoTags": None,
            "Layers": [blob_name(blob) for blob in blobs],
        }
        files["manifest.json"] = to_json([view])
    return files


def pack(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write an archive that anybody may read."""
    path.write_bytes(tar_of(file(name, content) for name, content in files.items()))
    path.chmod(0o644)
    return path


def make_image(
    path: Path,
    layers: Sequence[Layer],
    config: Mapping[str, Any] | None = None,
    **choices: Any,
) -> Path:
    """Write a valid image.tar of layers given as lists of members; see `image_files`."""
    return pack(path, image_files(layers, config, **choices))


def blob_name(content: bytes) -> str:
    """Where an OCI layout keeps a blob."""
    return "blobs/sha256/" + hashlib.sha256(content).hexdigest()


def descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    """The descriptor of a blob, as JSON."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def to_json(value: object) -> bytes:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


PASSWD = """\
root:x:0:0:root:/root:/bin/sh
bin:x:2:2:bin:/bin:/bin/false
alice:x:1000:1000:Alice:/home/alice:/bin/sh
1000:x:0:0:a name made of digits:/root:/bin/sh
"""
GROUP = """\
root:x:0:
alice:x:1000:
staff:x:50:alice
wheel:x:10:root,alice
"""


def busybox_layer() -> list[bytes]:
    """A layer with busybox under all its names, accounts, and the usual directories."""
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, check=True, text=True)
    return [
        directory("bin"),
        file("bin/busybox", BUSYBOX.read_bytes(), mode=0o755),
        *(
            symlink(f"bin/{name}", "busybox")
            for name in applets.stdout.split()
            if name != "busybox"
        ),
        directory("etc"),
        file("etc/passwd", PASSWD),
        file("etc/group", GROUP),
        *(directory(name) for name in ("home", "root", "proc", "sys", "dev")),
        directory("home/alice", uid=1000, gid=1000),
        directory("tmp", mode=0o1777),
    ]


# --- commands -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caller:
    """Who runs a command: root, a user with subordinate ids, or one with a single id."""

    name: str
    uid: int
    gid: int
    home: str

    @property
    def is_root(self) -> bool:
        """Whether it is the machine's root."""
        return self.uid == 0

    @property
    def switch(self) -> dict[str, Any]:
        """What subprocess needs to become this caller."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


def command(program: str) -> list[str]:
    """The argv of an installed script, such as `pyrun`; else of the checkout's module."""
    script = Path(sys.executable).with_name(program)
    if script.exists():
        return [str(script)]
    modules = {"pyrun": ["runtime"], "pyrun-oci": ["runtime", "oci"], "pybuild": ["buildkit"]}
    return [sys.executable, "-m", *modules[program]]


def environment(caller: Caller | None = None, **more: str) -> dict[str, str]:
    """A small environment of our own, so that nothing of the developer's matters."""
    values = {"PATH": os.environ["PATH"], "HOME": caller.home if caller else "/root"}
    values["PYTHONPYCACHEPREFIX"] = str(_bytecode())
    if len(command("pyrun")) > 1:
        values["PYTHONPATH"] = str(CHECKOUT)
    return values | more


def run(
    argv: Sequence[str | Path],
    *,
    caller: Caller | None = None,
    stdin: bytes | int = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    timeout_s: float = 60,
) -> Result:
    """Run a command to its end, as `caller` if one is given."""
    given: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    ended = subprocess.run(
        argv,
        capture_output=True,
        env=environment(caller) if env is None else dict(env),
        cwd=cwd or "/",
        pass_fds=pass_fds,
        timeout=timeout_s,
        **given,
        **(caller.switch if caller else {}),
    )
    out, err = (text.decode("utf-8", "backslashreplace") for text in (ended.stdout, ended.stderr))
    return Result(ended.returncode, out, err)


def run_pyrun(
    *arguments: str | Path,
    store: Path,
    caller: Caller | None = None,
    env: Mapping[str, str] | None = None,
    **choices: Any,
) -> Result:
    """Run `pyrun` on a store of its own; `env` is added to a small environment."""
    return run(
        [*command("pyrun"), *arguments],
        caller=caller,
        env=environment(caller, PYBUILD_ROOT=str(store), **(env or {})),
        **choices,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll until something is so."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.005)


def wait_for_script(process: subprocess.Popen[Any]) -> bool:
    """Wait for the first line of a command of ours; False if it ended unseen.

    Who interrupts the interpreter's own start sees its words. Our first line gives up the handler
    of SIGINT that the interpreter has set; what sets it again sets one of SIGTERM later.
    """
    interrupt, terminate = (1 << number - 1 for number in (signal.SIGINT, signal.SIGTERM))
    was_set = False
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        was_set = was_set or bool(caught & interrupt)
        if caught & terminate or (was_set and not caught & interrupt):
            return True
        time.sleep(0.0005)
    return False


def _bytecode() -> Path:
    """Where the commands' bytecode is cached: without it each start compiles everything anew."""
    path = Path("/tmp") / f"pybuild-tests-bytecode-{os.geteuid()}"
    path.mkdir(exist_ok=True)
    return path


def which(program: str) -> str:
    """Path of a program, or "" if there is none."""
    return shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") or ""
