"""Filters of system calls: judged by an interpreter of our own, by the kernel, by libseccomp."""
