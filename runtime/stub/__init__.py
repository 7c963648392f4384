"""The last program before a container's own: a tiny static ELF in a sealed memfd."""
