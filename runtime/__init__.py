"""What an image is and how it runs: OCI types, the store, layers, the sandbox. `pyrun`.

Nothing is imported here: `pyrun` starts in milliseconds, so each module names what it needs.
"""

VERSION = "0.1.0"  # of the whole distribution; a test holds it to pyproject.toml
