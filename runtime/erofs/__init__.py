"""A root filesystem that is mounted where it lies: an index of the tars of an image's layers.

The index is an EROFS image that holds names and attributes only; what is in the files stays in the
tars, which are its further devices (kernel Documentation/filesystems/erofs.rst).
"""
