"""`python -m buildkit` is `pybuild`."""

from buildkit.cli import main

raise SystemExit(main())
