"""The contract over the file driver, and what is its own: kinds of files, packers, standard input."""

from __future__ import annotations

import gzip
import io
import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
import zstandard

from rasad.messages import DeadLetter, Outcome, Record
from rasad.streams import files
from rasad.streams.driver import Enrich
from rasad.streams.files import FileDriver, FileError, outcome_line, records
from tests.contract.contract import BAD, Delivery, DriverContract, good
from tests.kafka.plain_enrichment import enrich


class TestFileDriver(DriverContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "articles.jsonl"

    def deliver(self, values: Sequence[bytes], enrichment: Enrich = enrich) -> list[Delivery]:
        self.path.write_bytes(b"".join(value + b"\n" for value in values))
        written: list[Outcome] = []
        FileDriver(inputs=(str(self.path),), write=written.append, batch_max=16).run(enrichment)
        return [_delivery(outcome) for outcome in written]


def _delivery(outcome: Outcome) -> Delivery:
    if isinstance(outcome, DeadLetter):
        return Delivery(outcome.record.offset, reason=outcome.reason, detail=outcome.detail, value=outcome.record.value)
    return Delivery(outcome.run["record"], event=outcome)


def values_of(path: Path) -> list[bytes]:
    return [record.value for record in records([str(path)])]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress), (".zst", zstd)])
class TestKinds:
    def test_text_is_one_article(self, tmp_path: Path, ending: str, pack: type[bytes]) -> None:
        text = "عنوان\n\nفقرة أولى\n{\n\nفقرة أخيرة\n".encode()
        path = tmp_path / f"article.txt{ending}"
        path.write_bytes(pack(text))
        assert values_of(path) == [text]

    def test_lines_are_records(self, tmp_path: Path, ending: str, pack: type[bytes]) -> None:
        path = tmp_path / f"articles.jsonl{ending}"
        path.write_bytes(pack(good(0) + b"\r\n\n" + good(1) + b"\n  \n" + good(2)))
        assert values_of(path) == [good(0), good(1), good(2)]

    def test_a_json_array_gives_its_elements_as_they_are_written(
        self, tmp_path: Path, ending: str, pack: type[bytes]
    ) -> None:
        odd = b'{ "title" : "\\u0639" }'
        surrogate = b'{"title": "\\ud800"}'
        path = tmp_path / f"articles.json{ending}"
        path.write_bytes(pack(b"\xef\xbb\xbf [" + b" ,\n".join([good(0), odd, surrogate, b"7", b'"\xff"']) + b" ] "))
        assert values_of(path) == [good(0), odd, surrogate, b"7", b'"\xff"']

    def test_a_json_object_is_one_record(self, tmp_path: Path, ending: str, pack: type[bytes]) -> None:
        laid_out = orjson.dumps(orjson.loads(good(0)), option=orjson.OPT_INDENT_2)
        path = tmp_path / f"article.json{ending}"
        path.write_bytes(pack(laid_out))
        assert values_of(path) == [laid_out]


def test_a_broken_array_gives_what_follows_the_break_as_one_record(tmp_path: Path) -> None:
    path = tmp_path / "articles.json"
    path.write_bytes(b"[" + good(0) + b', {"title": nonsense}, ' + good(1) + b"]")
    assert values_of(path) == [good(0), b'{"title": nonsense}, ' + good(1) + b"]"]


def test_an_array_nested_beyond_all_measure_is_one_record(tmp_path: Path) -> None:
    deep = b"[" * 100_000
    path = tmp_path / "articles.json"
    path.write_bytes(b"[" + deep)
    assert values_of(path) == [deep]


def test_a_folder_gives_its_files_by_path(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "second.jsonl").write_bytes(good(2) + b"\n" + good(3))
    (tmp_path / "a.json").write_bytes(good(1))
    (tmp_path / "notes.md").write_text("no article")
    found = [(Path(record.topic).name, record.offset, record.value) for record in records([str(tmp_path)])]
    assert found == [("a.json", 0, good(1)), ("second.jsonl", 0, good(2)), ("second.jsonl", 1, good(3))]


def test_records_are_read_as_they_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "articles.jsonl"
    path.write_bytes(good(0) + b"\n")
    several = records([str(path), str(tmp_path / "missing.txt")])
    assert next(several).value == good(0)
    with pytest.raises(FileError, match=r"missing\.txt: no such file or folder"):
        next(several)


def test_a_line_beyond_all_measure_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "articles.jsonl"
    with path.open("wb") as stream:
        stream.write(b"a" * (files.LARGEST + 10) + b"\n" + good(0) + b"\n")
    lengths = [len(value) for value in values_of(path)]
    assert lengths == [files.LARGEST, len(good(0))]


def test_an_array_that_is_too_large_to_be_read_whole_is_refused_and_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "articles.json"
    with path.open("wb") as stream:
        stream.write(b" [" + good(0) + b"," + b" " * files.LARGEST + good(1) + b"]")
    with pytest.raises(FileError, match=r"articles\.json: a JSON array of more than 64 MiB.*jq"):
        list(records([str(path)]))


def test_nothing_behind_an_array_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "two.json"
    path.write_bytes(b"[" + good(0) + b"]\n[" + good(1) + b"]\n")
    assert values_of(path) == [good(0), b"\n[" + good(1) + b"]\n"]


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_packed_standard_input_that_is_damaged(pack: type[bytes]) -> None:
    packed = pack(b"\n".join(good(number) for number in range(2_000)))
    for damaged in (packed[:-20], packed[:12] + b"\xff" * 20 + packed[32:]):
        with pytest.raises(FileError, match=r"standard input: the packed data is damaged or cut short"):
            list(records(["-"], io.BufferedReader(io.BytesIO(damaged))))


def test_a_name_that_is_no_utf8_is_shown_with_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xc7\xe1\xce\xc8\xd1.txt")
    path.write_bytes(good(0))
    written: list[Outcome] = []
    FileDriver(inputs=(str(path),), write=written.append).run(enrich)
    assert rb"\\xc7\\xe1\\xce\\xc8\\xd1.txt" in outcome_line(written[0])


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no \.txt, \.json or \.jsonl file in it"):
        list(records([str(tmp_path)]))


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_packed_data_that_is_cut_short(tmp_path: Path, pack: type[bytes]) -> None:
    path = tmp_path / "articles.jsonl.packed"
    lines = b"\n".join(good(number) for number in range(2_000))
    path.write_bytes(pack(lines)[:-20])
    with pytest.raises(FileError, match=r"articles\.jsonl\.packed: .*(damaged|whole)"):
        list(records([str(path)]))


def test_a_packed_bomb_is_unpacked_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "articles.jsonl.zst"
    packer = zstandard.ZstdCompressor().compressobj()
    with path.open("wb") as stream:
        stream.write(packer.compress(good(0) + b"\n"))
        for _ in range(300):
            stream.write(packer.compress(bytes(1_000_000)))
        stream.write(packer.compress(b"\n" + good(1)) + packer.flush())
    assert path.stat().st_size < 65_536
    with path.open("rb") as packed, files._unpacked(io.BufferedReader(packed)) as plain:
        tracemalloc.start()
        size = sum(len(piece) for piece in iter(lambda: plain.read(1_000_000), b""))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert size == 300_000_000 + len(good(0) + good(1)) + 2
    assert peak < 64 * 1024 * 1024


def test_several_frames_are_one_stream(tmp_path: Path) -> None:
    path = tmp_path / "articles.jsonl.zst"
    path.write_bytes(zstd(good(0) + b"\n") + zstd(good(1)[:10]) + zstd(good(1)[10:] + b"\n"))
    assert values_of(path) == [good(0), good(1)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (good(0) + b"\n" + good(1) + b"\n", [good(0), good(1)]),
        (BAD["invalid_utf8"] + b"\n" + good(1) + b"\n", [BAD["invalid_utf8"], good(1)]),
        (b"[" + good(0) + b"," + good(1) + b"]", [good(0), good(1)]),
        (b'{\n  "title": "x"\n}\n', [b'{\n  "title": "x"\n}\n']),
        ("عنوان\n\nنص".encode(), ["عنوان\n\nنص".encode()]),
        (gzip.compress(good(0) + b"\n"), [good(0)]),
        (b"", [b""]),
    ],
)
def test_standard_input_is_told_by_its_beginning(data: bytes, expected: list[bytes]) -> None:
    assert [record.value for record in records(["-"], stdin=io.BufferedReader(io.BytesIO(data)))] == expected


class TestOutcomeLine:
    def test_an_event(self) -> None:
        (outcome,) = enrich([Record(value=good(0))])
        line = outcome_line(outcome)
        assert line.count(b"\n") == 1
        assert orjson.loads(line)["article"]["id"] == "article-0"

    @pytest.mark.parametrize(
        ("value", "text", "encoded"),
        [(BAD["missing_text"], BAD["missing_text"].decode(), None), (b"\xff\xfe\x00", None, "//4A")],
    )
    def test_a_dead_letter_keeps_its_value(self, value: bytes, text: str | None, encoded: str | None) -> None:
        (outcome,) = enrich([Record(value=value, topic="articles.jsonl", offset=3)])
        line = orjson.loads(outcome_line(outcome))
        assert line["reason"] in BAD
        assert (line["record"]["topic"], line["record"]["offset"]) == ("articles.jsonl", 3)
        assert (line["record"]["value"], line["record"]["value_base64"]) == (text, encoded)
