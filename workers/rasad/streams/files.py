"""The file driver: records from files, folders or standard input, without a broker.

`.txt` is one article, `.jsonl` one record a line, `.json` one record or an array of them; each also gzip or zstd,
which is told by the content. Files are read as they are needed, so that memory holds a batch and not a corpus.
"""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final, cast

import orjson
import zstandard

from rasad.messages import DeadLetter, Outcome, Record, to_bytes
from rasad.streams.driver import DriverError, Enrich
from rasad.streams.publication import verified

STDIN: Final = "-"
BATCH_MAX: Final = 32
"""Records enriched at a time."""
FileId = tuple[int, int]
"""A file's device and its number there, whatever path leads to it."""
LARGEST: Final = 64 * 1024 * 1024
"""Bytes read of one text or line: far above any limit of the decoder, which refuses what reaches it."""
_STDIN_FD: Final = 0
_TEXT: Final = ".txt"
_JSON: Final = ".json"
_LINES: Final = (".jsonl", ".ndjson")
_PACKED: Final = (".gz", ".zst")
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_SNIFFED: Final = 65_536
# Four bytes may stand for a block of 128 KiB, so that this much comes to 16 MiB at most.
_ZSTD_PIECE: Final = 512
_JSON_SPACE: Final = " \t\r\n"


class FileError(DriverError):
    """An input cannot be read. The message names it and says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDriver:
    """A driver (see `rasad.streams.driver`) from `inputs`, paths or "-", to `write`, one call an outcome."""

    inputs: tuple[str, ...]
    write: Callable[[Outcome], None]
    batch_max: int = BATCH_MAX

    def run(self, enrich: Enrich) -> None:
        """Enrich every record of the inputs. Raises FileError where one cannot be read; what came before is written."""
        unread = records(self.inputs)
        while batch := list(itertools.islice(unread, self.batch_max)):
            for outcome, record in zip(enrich(batch), batch, strict=True):
                self.write(_placed(verified(outcome, record), record))


def _placed(outcome: Outcome, record: Record) -> Outcome:
    """The event with its article's place in `run`; a dead letter has it in its record."""
    if isinstance(outcome, DeadLetter):
        return outcome
    return replace(outcome, run={**outcome.run, "file": record.topic, "record": record.offset})


def records(inputs: Iterable[str], stdin: io.BufferedReader[Any] | None = None) -> Iterator[Record]:
    """The records of files, folders and "-", in order; `topic` is the file's path, `offset` counts its records.

    "-" is `stdin`, by default the process's own. A folder gives its files of the known kinds, also those in folders
    below, sorted by path. Raises FileError.
    """
    for name in itertools.chain.from_iterable(map(_source, inputs)):
        from_stdin = name == STDIN
        values = _from_stream(stdin or _standard_input(), STDIN) if from_stdin else _from_file(Path(name))
        yield from _numbered(name, values)


@dataclass(frozen=True, slots=True)
class Sources:
    """Files and "-" that are to be read, and those that are not, since what is read is written to them."""

    read: tuple[str, ...]
    left_out: tuple[str, ...]


def file_id(file: Path | int) -> FileId | None:
    """What tells a regular file, given by path or descriptor, from all others; None for what is none."""
    try:
        found = os.stat(file)  # noqa: PTH116  a Path has no stat of a descriptor
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def sources(inputs: Iterable[str], outputs: Iterable[FileId | None] = ()) -> Sources:
    """What `records` reads for `inputs`, all found before the first is read, less the files that are `outputs`.

    An output that is no regular file (None) is none of them. Raises FileError, also where nothing is left.
    """
    names = [name for each in inputs for name in _source(each)]
    written = {each for each in outputs if each is not None}
    left_out = [name for name in names if file_id(_STDIN_FD if name == STDIN else Path(name)) in written]
    if names and len(left_out) == len(names):
        raise FileError(f"{left_out[0]}: what is read would be written there; write to another file")
    return Sources(tuple(name for name in names if name not in left_out), tuple(left_out))


def _source(name: str) -> list[str]:
    return [STDIN] if name == STDIN else [str(path) for path in _files(Path(name))]


def outcome_line(outcome: Outcome) -> bytes:
    """One JSON line, newline included. A dead letter's value stands as text, or in base64 where it is no UTF-8."""
    return (_dead_letter_bytes(outcome) if isinstance(outcome, DeadLetter) else to_bytes(outcome)) + b"\n"


def _dead_letter_bytes(letter: DeadLetter) -> bytes:
    record = letter.record
    value = _text(record.value)
    return orjson.dumps(
        {
            "reason": letter.reason,
            "detail": letter.detail,
            "stage": letter.stage,
            "pipeline_version": letter.pipeline_version,
            "attempt": letter.attempt,
            "record": {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "timestamp": record.timestamp,
                "value": value,
                "value_base64": base64.b64encode(record.value).decode() if value is None else None,
            },
        }
    )


def _text(value: bytes) -> str | None:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _numbered(name: str, values: Iterator[bytes]) -> Iterator[Record]:
    # The name of an old file need not be UTF-8, as all that is written must.
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    return (Record(value=value, topic=shown, offset=index) for index, value in enumerate(values))


def _standard_input() -> io.BufferedReader[Any]:
    return cast("io.BufferedReader", sys.stdin.buffer)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise FileError(f"{path}: no such file or folder; check the path")
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.rglob("*") if each.is_file() and _kind(each.name) is not None)
    if not found:
        raise FileError(f"{path}: no .txt, .json or .jsonl file in it; name a folder that has some")
    return found


def _kind(name: str) -> str | None:
    """The ending that says how a file is read, past a packer's; None for no known one."""
    stem = name.lower()
    for packed in _PACKED:
        stem = stem.removesuffix(packed)
    ending = Path(stem).suffix
    return ending if ending in (_TEXT, _JSON, *_LINES) else None


def _from_file(path: Path) -> Iterator[bytes]:
    with _clearly(str(path)), io.BufferedReader(io.FileIO(path), _SNIFFED) as stream:
        yield from _values(stream, path.name)


def _from_stream(stream: io.BufferedReader[Any], name: str) -> Iterator[bytes]:
    with _clearly("standard input" if name == STDIN else name):
        yield from _values(stream, name)


@contextmanager
def _clearly(name: str) -> Iterator[None]:
    """Turn what goes wrong with an input into FileError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise FileError(f"{name}: the packed data is damaged or cut short ({error}); fetch it again") from error
    except OSError as error:
        raise FileError(f"{name}: {error.strerror or error}; check that it is a file and may be read") from error


def _values(stream: io.BufferedReader[Any], name: str) -> Iterator[bytes]:
    """The values of one input; its kind comes from its name, or where that says nothing from its first bytes."""
    plain = _unpacked(stream)
    kind = _kind(name) or _sniffed(plain.peek(_SNIFFED))
    if kind == _TEXT:
        yield _whole(plain)
    elif kind == _JSON:
        value = _whole(plain)
        if len(value) > LARGEST and _is_array(value):
            raise FileError(
                f"{name}: a JSON array of more than {LARGEST // 2**20} MiB, which is read as a whole; make lines of "
                "its elements (.jsonl): jq -c '.[]' FILE"
            )
        yield from _elements(value)
    else:
        yield from _lines(plain)


def _unpacked(stream: io.BufferedReader[Any]) -> io.BufferedReader[Any]:
    magic = stream.peek(4)[:4]
    if magic.startswith(_GZIP_MAGIC):
        return io.BufferedReader(gzip.GzipFile(fileobj=stream), _SNIFFED)
    if magic == _ZSTD_MAGIC:
        return io.BufferedReader(_ZstdStream(stream), _SNIFFED)
    return stream


class _ZstdStream(io.RawIOBase):
    """Zstandard frames as one stream, in bounded memory.

    zstandard's own reader takes data that is cut short for its end. Its `decompressobj` does not, but unpacks at once
    all that it is given, so it is given little.
    """

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._between_frames = True
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        """Fill `buffer` from the next data. Raises EOFError where the source ends inside a frame."""
        while not self._ready:
            packed = self._frame.unused_data or self._source.read(_ZSTD_PIECE)
            if not packed:
                if self._between_frames:
                    return 0
                raise EOFError("the data ends inside a frame")
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._ready = memoryview(self._frame.decompress(packed))
            self._between_frames = self._frame.eof
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count


def _sniffed(beginning: bytes) -> str:
    """JSON where the input starts as an array or a laid out object, lines where one of them starts an object."""
    lines = [line.strip() for line in beginning.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()]
    if not lines:
        return _TEXT
    if lines[0].startswith(b"[") or lines[0] == b"{":
        return _JSON
    return _LINES[0] if any(line.startswith(b"{") for line in lines) else _TEXT


def _whole(stream: IO[bytes]) -> bytes:
    """All of the input, or as much as shows that it is too much."""
    return stream.read(LARGEST + 1)


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines that are not blank, without their ends."""
    while line := stream.readline(LARGEST):
        complete = line.endswith(b"\n")
        if line.strip():
            yield line.rstrip(b"\r\n")
        while not complete and (rest := stream.readline(LARGEST)):
            complete = rest.endswith(b"\n")


def _elements(value: bytes) -> Iterator[bytes]:
    """The elements of a JSON array, each exactly as it is written; any other value is one record.

    What follows a place where the array is broken cannot be parted, and is one record, and so is what follows its end:
    nothing is dropped.
    """
    if not _is_array(value):
        yield value
        return
    text = value.decode("utf-8", "surrogateescape")
    start = _skip_space(text, 1 if text.startswith("\ufeff") else 0)
    decoder = json.JSONDecoder()
    position = _skip_space(text, start + 1)
    while position < len(text) and text[position] != "]":
        try:
            _, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = len(text)
        yield text[position:end].encode("utf-8", "surrogateescape")
        position = _skip_space(text, end)
        if text[position : position + 1] == ",":
            position = _skip_space(text, position + 1)
    rest = text[position + 1 :]
    if rest.strip(_JSON_SPACE):
        yield rest.encode("utf-8", "surrogateescape")


def _is_array(value: bytes) -> bool:
    return value.removeprefix(b"\xef\xbb\xbf").lstrip(_JSON_SPACE.encode())[:1] == b"["


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in _JSON_SPACE:
        position += 1
    return position
