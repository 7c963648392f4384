"""`RUN --mount`: what a command sees besides the image (Dockerfile reference, "RUN --mount").

One class for each type. Options of buildah that BuildKit has not are read too: a bind mount's
`z`, `U`, `nosuid` and so on, a tmpfs's `tmpfs-size`.
"""

from __future__ import annotations

from collections.abc import Callable

from grammar.record import Record
from grammar.values.mount_options import Options, read_options

SHARING = ("shared", "private", "locked")
PROPAGATION = ("shared", "rshared", "private", "rprivate", "slave", "rslave")


class BindMount(Record):
    """Files of the build context, a stage or an image. What is written to it is discarded."""

    target: str
    source: str = ""  # below the root of where it comes from
    from_: str = ""  # empty: the build context
    readonly: bool = True
    relabel: str = ""  # SELinux: "shared" (z) or "private" (Z)
    propagation: str = ""
    chown: bool = False  # U: owned by the user of the command
    nosuid: bool = False
    nodev: bool = False
    noexec: bool = False
    recursive: bool = True
    dereference: bool = True


class CacheMount(Record):
    """A directory that outlives the build. `mode`, `uid` and `gid` are for a new one."""

    target: str
    id: str  # the target, cleaned, if there is none
    sharing: str = "shared"
    source: str = ""
    from_: str = ""  # what a new one starts with; empty: nothing
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    readonly: bool = False


class TmpfsMount(Record):
    """An empty file system in memory."""

    target: str
    size: int | None = None  # bytes; None: no limit
    mode: int | None = None
    copy_up: bool = False  # starts with what the image has there
    readonly: bool = False


class SecretMount(Record):
    """A secret of the build as a file (`target`), a variable (`env`) or both."""

    id: str
    target: str | None
    env: str | None = None
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


class SshMount(Record):
    """The socket of an SSH agent; None: /run/buildkit/ssh_agent.N."""

    id: str = "default"
    target: str | None = None
    required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


Mount = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount


def parse_mount(text: str, *, expand: Callable[[str], str] | None = None) -> Mount:
    """Read a value of --mount; raises InvalidValue.

    The text is split at its commas first and `expand` is called for each value, so that a comma
    in a variable cannot add an option.
    """
    return _mount(read_options(text, expand=expand))


def check_mount(text: str) -> str:
    """The target, after a look at all that can be known before variables have values.

    Returns "" for a mount without a target, or with a variable in it. Raises InvalidValue.
    """
    options = read_options(text, skip_variables=True)
    if not options.type:
        return ""
    mount = _mount(options)
    return mount.target if mount.target and "$" not in mount.target else ""


def _mount(options: Options) -> Mount:
    mount: Mount
    match options.type:
        case "bind":
            mount = _bind(options)
        case "cache":
            mount = _cache(options)
        case "tmpfs":
            mount = TmpfsMount(
                target=options.target(),
                size=options.size("size", "tmpfs-size"),
                mode=options.optional_mode("tmpfs-mode"),
                copy_up=options.switch("tmpcopyup"),
                readonly=options.readonly(default=False),
            )
        case "secret":
            mount = _secret(options)
        case _:
            options.readonly(default=True)
            mount = SshMount(
                id=options.text("id") or "default",
                target=options.text("target") or None,
                required=options.switch("required"),
                mode=options.mode("mode", 0o600),
                uid=options.number("uid"),
                gid=options.number("gid"),
            )
    for key in ("id", "source"):
        options.text(key)  # BuildKit takes them anywhere; where they mean nothing so do we
    options.refuse_the_rest()
    return mount


def _bind(options: Options) -> BindMount:
    relabel = options.one_of("relabel", ("shared", "private"))
    propagation = options.one_of("bind-propagation", PROPAGATION)
    for key in PROPAGATION:
        if options.switch(key):
            propagation = key
    options.one_of("consistency", ("consistent", "cached", "delegated", "default"))
    return BindMount(
        target=options.target(),
        source=options.text("source"),
        from_=options.text("from"),
        readonly=options.readonly(default=True),
        relabel=relabel,
        propagation=propagation,
        chown=options.switch("u"),
        nosuid=options.switch("nosuid"),
        nodev=options.switch("nodev"),
        noexec=options.switch("noexec"),
        recursive=not options.switch("bind-nonrecursive"),
        dereference=not options.switch("no-dereference"),
    )


def _cache(options: Options) -> CacheMount:
    target = options.target()
    return CacheMount(
        target=target,
        id=options.text("id") or options.cleaned(target),
        sharing=options.one_of("sharing", SHARING) or "shared",
        source=options.text("source"),
        from_=options.text("from"),
        mode=options.mode("mode", 0o755),
        uid=options.number("uid"),
        gid=options.number("gid"),
        readonly=options.readonly(default=False),
    )


def _secret(options: Options) -> SecretMount:
    id_, source = options.text("id"), options.text("source")
    if id_ and source:
        raise options.error("id and source of a secret are the same: give one")
    id_ = id_ or source
    target, env = options.text("target"), options.text("env")
    if not id_ and not target:
        raise options.error("a secret needs an id or a target", hint="type=secret,id=NAME")
    id_ = id_ or target.rstrip("/").rpartition("/")[2]
    options.readonly(default=True)
    return SecretMount(
        id=id_,
        # With a variable there is a file only if someone asked for one.
        target=target or (None if env else f"/run/secrets/{id_}"),
        env=env or None,
        required=options.switch("required"),
        mode=options.mode("mode", 0o400),
        uid=options.number("uid"),
        gid=options.number("gid"),
    )
