"""Changes of a config.json, as `bundle` takes them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tests.runtime.lifecycle.runtime_calls import Config, Edit


def process(**members: Any) -> Edit:
    """Set members of `process`."""
    return lambda config: config["process"].update(members)


def linux(**members: Any) -> Edit:
    """Set members of `linux`."""
    return lambda config: config["linux"].update(members)


def mount(destination: str, kind: str, source: str, *options: str, **more: Any) -> Edit:
    """Add a mount."""
    entry = {"destination": destination, "type": kind, "source": source, "options": list(options)}
    return lambda config: config["mounts"].append(entry | more)


def bind(source: object, destination: str, *options: str, **more: Any) -> Edit:
    """Add a recursive bind, unless "bind" is among the options."""
    kind = () if "bind" in options else ("rbind",)
    return mount(destination, "bind", str(source), *kind, *options, **more)


def writable(config: Config) -> None:
    """Let the root filesystem be written."""
    config["root"]["readonly"] = False


def terminal(config: Config) -> None:
    """Give the process a terminal."""
    config["process"]["terminal"] = True


def namespace(kind: str, path: str | None = None) -> Edit:
    """Make a namespace new, or join one."""

    def edit(config: Config) -> None:
        without(kind)(config)
        entry = {"type": kind} if path is None else {"type": kind, "path": path}
        config["linux"]["namespaces"].append(entry)

    return edit


def without(kind: str) -> Edit:
    """Share a namespace with the caller."""

    def edit(config: Config) -> None:
        namespaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [n for n in namespaces if n["type"] != kind]

    return edit


def without_mounts(*destinations: str) -> Edit:
    """Leave mounts out; all, if none are named."""

    def edit(config: Config) -> None:
        kept = [m for m in config["mounts"] if m["destination"] not in destinations]
        config["mounts"] = kept if destinations else []

    return edit


def user_namespace(first: int = 300_000, count: int = 65_536) -> Edit:
    """A new user namespace for root's container, whose ids start at `first` outside."""

    def edit(config: Config) -> None:
        namespace("user")(config)
        maps = [{"containerID": 0, "hostID": first, "size": count}]
        config["linux"] |= {"uidMappings": maps, "gidMappings": maps}

    return edit


def capabilities(*names: str) -> Edit:
    """Grant exactly these."""
    granted = [f"CAP_{name}" for name in names]
    kinds = ("bounding", "permitted", "effective")
    return process(capabilities={kind: granted for kind in kinds})


def hook(point: str, *args: str, **more: Any) -> Edit:
    """Add a hook."""

    def edit(config: Config) -> None:
        entry = {"path": args[0], "args": list(args), **more}
        config.setdefault("hooks", {}).setdefault(point, []).append(entry)

    return edit
