"""`pybuild bake`: many images by one command, from docker-bake and compose files."""
