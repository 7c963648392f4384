"""Manual pages and what completes command lines, made of the programs' own tables and help."""
