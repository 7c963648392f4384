"""Control groups (cgroups(7)): limits, device rules, freezing, killing and statistics."""
