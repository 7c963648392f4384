"""`python -m runtime` is `pyrun`."""

from runtime.cli import main

raise SystemExit(main())
