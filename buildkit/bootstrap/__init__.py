"""BOOTSTRAP: a root filesystem from packages, made from outside with `dnf --installroot`."""
