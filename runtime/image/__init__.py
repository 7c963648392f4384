"""Images as files: the archive, its tar format, and layers applied to a directory."""
