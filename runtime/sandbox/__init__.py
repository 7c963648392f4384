"""Starting a process in fresh namespaces on a root filesystem of its own."""
