"""A zip archive that is written once from front to back, with the digest of every file in it."""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any, Self
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from registry.core.canonical import canonical_json
from registry.core.csv import BYTE_ORDER_MARK, line
from registry.reviews.pack_format import LINES, MANIFEST, NOTE, line_hash

Row = Mapping[str, Any]
BUFFER = 1 << 16


class PackWriter:
    """Names, digests and sizes of what was written are in `files`, in the order in which it was written.

    Rows pass through: of a file of any length the memory holds a buffer and eight bytes per line.
    """

    def __init__(self, file: IO[bytes], at: datetime) -> None:
        self._zip = ZipFile(file, "w", ZIP_DEFLATED, compresslevel=6)
        self._time = time.gmtime(at.astimezone(UTC).timestamp())[:6]
        self.files: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # After an error nobody reads it, and what was open is closed all the same.
        with suppress(OSError) if kind is not None else nullcontext():
            self._zip.close()

    def put(self, name: str, content: bytes) -> None:
        self._write(name, [content])

    def jsonl(self, name: str, rows: Iterable[Row]) -> int:
        return self.lines(name, (canonical_json(row) for row in rows))

    def csv(self, name: str, columns: Sequence[str], rows: Iterable[Row]) -> int:
        """With a byte order mark, and safe to open in a spreadsheet."""
        count = 0

        def lines() -> Iterator[bytes]:
            nonlocal count
            yield (BYTE_ORDER_MARK + line(columns)).encode()
            for row in rows:
                count += 1
                yield line(row[name] for name in columns).encode()

        self._rows(name, lines())
        self.files[-2]["rows"] = count
        return count

    def lines(self, name: str, lines: Iterable[bytes], *, hashed: bool = True) -> int:
        """A line per record; `hashed` says which line it was when one is changed."""
        count = 0

        def counted() -> Iterator[bytes]:
            nonlocal count
            for each in lines:
                count += 1
                yield each + b"\n"

        if hashed:
            self._rows(name, counted())
            self.files[-2]["rows"] = count
        else:
            self._write(name, counted())
            self.files[-1]["rows"] = count
        return count

    def raw(self, name: str, pieces: Iterable[bytes]) -> None:
        self._write(name, pieces)

    def sign(self, manifest: bytes, note: str) -> None:
        """The last two files; they are not in the list, for it is in the first of them."""
        for name, content in ((MANIFEST, manifest), (NOTE, note.encode())):
            self._zip.writestr(self._info(name), content)

    def _rows(self, name: str, chunks: Iterable[bytes]) -> None:
        hashes = bytearray()

        def watched() -> Iterator[bytes]:
            for chunk in chunks:
                for each in chunk.removesuffix(b"\n").split(b"\n"):
                    hashes.extend(bytes.fromhex(line_hash(each)))
                yield chunk

        self._write(name, watched())
        self._write(LINES + name, (hashes[at : at + 8].hex().encode() + b"\n" for at in range(0, len(hashes), 8)))

    def _write(self, name: str, pieces: Iterable[bytes]) -> None:
        sha256, size, waiting = hashlib.sha256(), 0, bytearray()
        with self._zip.open(self._info(name), "w", force_zip64=True) as file:
            for piece in pieces:
                waiting += piece
                if len(waiting) >= BUFFER:
                    sha256.update(waiting)
                    size += len(waiting)
                    file.write(waiting)
                    waiting.clear()
            sha256.update(waiting)
            size += len(waiting)
            file.write(waiting)
        self.files.append({"name": name, "sha256": sha256.hexdigest(), "size": size})

    def _info(self, name: str) -> ZipInfo:
        info = ZipInfo(name, self._time)
        info.compress_type = ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        return info
