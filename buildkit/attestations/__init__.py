"""Attestations: signed by nobody, but beside the image wherever its index goes."""
