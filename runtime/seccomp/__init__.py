"""Filters of system calls (seccomp(2)): our default profile, others, and what the kernel is given.

`load` is the way in: a profile and a set of capabilities, to the program that the kernel runs.
"""
