"""A plugin that `dnf` 4 loads in the bootstrap's own process; it runs under the host's Python.

Once the packages are chosen it sets SOURCE_DATE_EPOCH to the newest build time among them, where
rpm takes the install times from, so that they depend on the packages and not on the clock. After
the transaction it writes down what the builder must know of the packages.
"""

import json
import os
import tempfile

import dnf  # type: ignore[import-not-found]
import rpm  # type: ignore[import-not-found]


class PybuildPlugin(dnf.Plugin):  # type: ignore[misc]
    """Hooks between depsolving and the transaction."""

    name = "pybuild"

    def resolved(self) -> None:
        """Called by dnf when the transaction is known."""
        packages = sorted(self.base.transaction.install_set)
        times = [int(os.environ["PYBUILD_EPOCH"])]
        times += [package.buildtime for package in packages]
        os.environ.setdefault("SOURCE_DATE_EPOCH", str(max(times)))

    def pre_transaction(self) -> None:
        """Called by dnf when all is verified, just before rpm begins."""
        # By now rpm has read its macros in the home that dnf was given, and Python knows where
        # temporary files go: the scriptlets get what is usual.
        tempfile.gettempdir()
        os.environ.pop("TMPDIR", None)
        os.environ["HOME"] = "/root"

    def transaction(self) -> None:
        """Called by dnf when the packages are installed."""
        # A file may be newer than its package claims to be; to clamp it would make `rpm -V`
        # report it. Ghosts count too: what they say comes from the packages as well.
        newest_file = 0
        for header in rpm.TransactionSet(self.base.conf.installroot).dbMatch():
            newest_file = max([newest_file, *header["filemtimes"]])
        document = {"epoch": int(os.environ["SOURCE_DATE_EPOCH"]), "newest_file": newest_file}
        with open(os.environ["PYBUILD_INSTALLED"], "w") as file:
            json.dump(document, file)
