"""What steps have led to, kept where other machines find it: `--cache-to` and `--cache-from`."""
