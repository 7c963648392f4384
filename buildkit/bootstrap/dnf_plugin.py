"""A plugin that `dnf` 4 loads in the bootstrap's own process; it runs under the host's Python.

Once the packages are chosen it sets SOURCE_DATE_EPOCH to the newest build time among them, where
rpm takes the install times from, so that they depend on the packages and not on the clock; and it
writes the choice down for the builder.
"""

import json
import os

import dnf  # type: ignore[import-not-found]


class PybuildPlugin(dnf.Plugin):  # type: ignore[misc]
    """Hooks between depsolving and the transaction."""

    name = "pybuild"

    def resolved(self) -> None:
        """Called by dnf when the transaction is known."""
        packages = sorted(self.base.transaction.install_set)
        times = [int(os.environ["PYBUILD_EPOCH"])]
        times += [package.buildtime for package in packages]
        os.environ.setdefault("SOURCE_DATE_EPOCH", str(max(times)))
        chosen = [
            {
                "nevra": str(package),
                "repo": package.repoid,
                "size": package.downloadsize,
                "buildtime": package.buildtime,
            }
            for package in packages
        ]
        document = {"epoch": int(os.environ["SOURCE_DATE_EPOCH"]), "packages": chosen}
        with open(os.environ["PYBUILD_RESOLVED"], "w") as file:
            json.dump(document, file)
