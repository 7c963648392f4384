"""Package managers: what installs, what leaves a cache behind, and what takes it away."""

from __future__ import annotations

from dataclasses import dataclass

from grammar.lint.shell import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """One package manager. Programs that share a cache are one."""

    programs: tuple[str, ...]
    installs: tuple[str, ...]  # subcommands that fill the cache
    caches: tuple[str, ...]  # directories: removed or mounted, they leave nothing
    cleans: tuple[tuple[str, ...], ...] = ()  # words of commands that empty the cache
    options: tuple[str, ...] = ()  # with one of these, nothing is kept
    variables: tuple[str, ...] = ()  # with one of these set, nothing is kept
    advice: str

    def fills(self, command: Command) -> bool:
        """Whether a command leaves something in the cache."""
        if command.program not in self.programs or command.has(*self.options):
            return False
        return subcommand(command) in self.installs

    def empties(self, command: Command) -> bool:
        """Whether a command takes away what is in the cache."""
        if command.program == "rm":
            return any(_covers(word, cache) for word in command.arguments for cache in self.caches)
        if command.program not in self.programs:
            return False
        return any(set(words) <= set(command.arguments) for words in self.cleans)


MANAGERS = (
    Manager(
        programs=("dnf", "dnf5", "yum", "microdnf", "tdnf"),
        installs=tuple(
            "install reinstall update upgrade groupinstall group builddep build-dep "
            "makecache check-update distro-sync swap".split()
        ),
        caches=("/var/cache/dnf", "/var/cache/yum", "/var/cache/libdnf5"),
        cleans=(("clean", "all"),),
        advice="add '&& dnf clean all', or --mount=type=cache,target=/var/cache/libdnf5",
    ),
    Manager(
        programs=("apt-get", "apt"),
        installs=("update",),
        caches=("/var/lib/apt/lists", "/var/lib/apt"),
        advice="add '&& rm -rf /var/lib/apt/lists/*', or mount a cache there",
    ),
    Manager(
        programs=("apk",),
        installs=("add", "update", "upgrade"),
        caches=("/var/cache/apk",),
        cleans=(("cache", "clean"),),
        options=("--no-cache",),
        advice="add --no-cache",
    ),
    Manager(
        programs=("zypper",),
        installs=("install", "in", "update", "up", "refresh", "ref", "dup"),
        caches=("/var/cache/zypp",),
        cleans=(("clean",), ("clean", "-a"), ("clean", "--all"), ("cc",)),
        advice="add '&& zypper clean -a'",
    ),
    Manager(
        programs=("pip", "pip3"),
        installs=("install", "download", "wheel"),
        caches=("/root/.cache/pip", "/root/.cache"),
        cleans=(("cache", "purge"),),
        options=("--no-cache-dir", "--no-cache"),
        variables=("PIP_NO_CACHE_DIR",),
        advice="add --no-cache-dir, or --mount=type=cache,target=/root/.cache/pip",
    ),
    Manager(
        programs=("npm",),
        installs=("install", "i", "ci", "add", "update"),
        caches=("/root/.npm", "/root/.npm/_cacache"),
        cleans=(("cache", "clean"), ("cache", "clean", "--force")),
        advice="add '&& npm cache clean --force', or --mount=type=cache,target=/root/.npm",
    ),
)

VARIABLES = frozenset(name for manager in MANAGERS for name in manager.variables)

_DEPENDENCIES = {
    "npm": ("install", "i", "ci"),
    "yarn": ("", "install"),
    "pnpm": ("install", "i", "fetch"),
    "bundle": ("", "install"),
    "composer": ("install",),
    "poetry": ("install",),
    "uv": ("sync",),
    "go": ("mod",),
    "cargo": ("fetch",),
    "mix": ("deps.get",),
}  # what installs what a list in the source asks for
# Options of package managers that take the next word.
_WITH_VALUE = frozenset(
    ("-c", "--config", "-o", "--option", "-t", "-R", "--root", "-C", "-D", "-p")
)


def subcommand(command: Command) -> str:
    """The first argument that is no option."""
    skip = False
    for argument in command.arguments:
        if skip:
            skip = False
        elif argument.startswith("-"):
            skip = argument in _WITH_VALUE
        else:
            return argument
    return ""


def installs_dependencies(command: Command) -> bool:
    """Whether a command installs what a list in the source asks for."""
    name = subcommand(command)
    if command.program in ("pip", "pip3"):
        return name == "install" and command.has("-r", "--requirement")
    if command.program == "npm":
        # With names it installs those, whatever the source says.
        named = [word for word in command.arguments if not word.startswith("-")]
        return len(named) == 1 and name in _DEPENDENCIES["npm"]
    return command.program in _DEPENDENCIES and name in _DEPENDENCIES[command.program]


def _covers(word: str, cache: str) -> bool:
    directory = word.rstrip("/*")
    return directory.startswith("/") and (cache + "/").startswith(directory + "/")
