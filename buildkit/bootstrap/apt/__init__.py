"""BOOTSTRAP --manager=apt: apt says what is to be installed, mmdebstrap installs it.

As with dnf and rpm the two are apart: apt resolves in a root of its own, in which it verifies who
signed the repositories; we fetch the packages by the digests that it found there; and mmdebstrap
gets them as a repository that has nothing else, without a network. So what a lock file holds is
enough, and packages that are the same lead to the same layer.
"""
