"""The life of an OCI container (runtime-spec runtime.md): create, start, kill, delete, exec."""
