"""The types of the OCI image-spec and runtime-spec, under the names that the specs give them."""
