"""Single files of an image, without unpacking it: its layers' headers make one tree, and of the
contents only those are read that are asked for.
"""

from __future__ import annotations

import os

from runtime.erofs.tree import REGULAR, SYMLINK, Node, Tree
from runtime.errors import ImageError
from runtime.image import tar
from runtime.sandbox.rootpath import MAX_LINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runtime.image.blob import LayerReader, StoredLayer

_CHUNK = 1 << 20


class ImageFiles:
    """The files of layers, lowest first. Whiteouts are obeyed, and links lead inside the root."""

    def __init__(self, layers: Sequence[StoredLayer], *, verify: bool) -> None:
        """Read the headers; raises ImageError.

        With `verify` all bytes are compared with their digests, else only those of compressed
        layers that are read anyway.
        """
        self._layers = layers
        self._tree = Tree()
        for number, layer in enumerate(layers):
            if verify or not layer.descriptor.is_plain_layer:
                with layer.reader(threads=True) as reader:
                    self._tree.add(_Counted(reader), number, layer.where)
                    reader.finish()
                continue
            with open(layer.blob.path, "rb") as file:
                stream = _Plain(file.fileno(), layer)
                self._tree.add(stream, number, layer.where)

    def find(self, path: str) -> Node | None:
        """What is at a path; links are followed. None if nothing is."""
        above = [self._tree.root]
        waiting = path.split("/")[::-1]
        links = 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                above = above[:-1] or [self._tree.root]
                continue
            child = (above[-1].children or {}).get(name)
            if child is None:
                return None
            if child.mode & 0o170000 == SYMLINK:
                links += 1
                if links > MAX_LINKS:
                    return None
                if child.link.startswith("/"):
                    above = [self._tree.root]
                waiting += child.link.split("/")[::-1]
                continue
            above.append(child)
        return above[-1]

    def file(self, path: str) -> Node | None:
        """The regular file at a path; links are followed."""
        found = self.find(path)
        return found if found is not None and found.mode & 0o170000 == REGULAR else None

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted; none if there is no directory."""
        found = self.find(path)
        return sorted((found and found.children) or {}, key=os.fsencode)

    def where(self, path: str) -> str:
        """How errors call a file."""
        node = self.file(path)
        return path if node is None else f"{self._layers[node.device].where}: {path}"

    def copy(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Write files of the image, which are there, to places here: pairs of path and place.

        A compressed layer is read once. Raises ImageError, OSError.
        """
        by_layer: dict[int, dict[tuple[int, int], list[str]]] = {}
        for path, place in wanted:
            node = self.file(path)
            assert node is not None, path
            contents = by_layer.setdefault(node.device, {})
            contents.setdefault((node.offset, node.size), []).append(place)
        for number, contents in sorted(by_layer.items()):
            layer = self._layers[number]
            if layer.descriptor.is_plain_layer:
                with open(layer.blob.path, "rb") as file:
                    _copy(_Plain(file.fileno(), layer), contents, layer.where)
                continue
            with layer.reader() as reader:
                _copy(_Counted(reader), contents, layer.where)
                reader.finish()


class _Plain(tar.FileStream):
    """The tar of a layer that is not compressed; positions are those in the tar."""

    def __init__(self, fd: int, layer: StoredLayer) -> None:
        self._start = layer.blob.offset
        super().__init__(fd, layer.where, size=layer.blob.size)

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes, or fewer at the end."""
        size = max(0, min(size, self._end - self.position))
        content = os.pread(self.fd, size, self._start + self.position)
        self.position += len(content)
        return content


class _Counted:
    """The tar of a layer as a stream that knows where it is."""

    def __init__(self, reader: LayerReader) -> None:
        self._reader = reader
        self.position = 0

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes, or fewer at the end."""
        content = self._reader.read(size)
        self.position += len(content)
        return content

    def skip(self, size: int) -> None:
        """Pass over `size` bytes; ImageError if there are fewer."""
        self._reader.skip(size)
        self.position += size


def _copy(stream: tar.Positioned, contents: dict[tuple[int, int], list[str]], where: str) -> None:
    for (offset, left), places in sorted(contents.items()):
        stream.skip(offset - stream.position)
        with open(places[0], "xb") as made:
            while left:
                piece = stream.read(min(left, _CHUNK))
                if not piece:
                    raise ImageError(f"{where}: truncated")
                made.write(piece)
                left -= len(piece)
        for place in places[1:]:  # links to one file
            os.link(places[0], place)
