"""What package managers say of what they installed: rpm's headers and database, dpkg's status."""
