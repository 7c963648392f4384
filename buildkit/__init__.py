"""Plan and build images from Containerfiles. `pybuild`."""
