"""A software bill of materials: what the package databases of an image say is in it."""
