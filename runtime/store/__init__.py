"""The content store that builder and runtime share."""
