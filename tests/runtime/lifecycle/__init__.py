"""Tests of the OCI runtime's verbs, by its command line."""
