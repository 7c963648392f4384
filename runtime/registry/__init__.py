"""A client of OCI registries (distribution-spec): images in, images out.

`reference`, `credentials` and `challenge` cost no more than themselves; every other module loads
requests, which takes 100 ms: whoever may do without a registry imports them where they are used.
"""
