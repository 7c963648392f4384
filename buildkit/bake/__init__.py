"""`pybuild bake`: many images by one command, from compose files and docker-bake JSON files."""
