"""Containers that live: with names, logs and a life of their own beside who started them."""
