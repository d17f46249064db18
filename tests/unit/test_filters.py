"""What `rasad enrich` and `rasad stance` do as filters: full disks, and what they say while they work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.test_cli import process, rasad


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("apart", [(), ("--dead-letters", "/dev/full"), ("--pretty",)])
def test_a_full_disk_is_one_line(apart: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("Only English here, all of it.")
    code, said = process("enrich", "bad.txt", *apart, cwd=tmp_path, stdout=Path("/dev/full"))
    assert code == 1
    assert said == "rasad: No space left on device: what was written is cut short; make room, or write elsewhere\n"


def on_terminal(*arguments: str, stdout_too: bool) -> str:
    """What the command shows on a terminal that takes its standard error, and its standard output or not."""
    ours, terminal = os.openpty()
    try:
        stdout = terminal if stdout_too else subprocess.DEVNULL
        command = [sys.executable, "-m", "rasad.cli", *arguments]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=terminal, timeout=60, check=True)
    finally:
        os.close(terminal)
    shown = b""
    # Linux ends a terminal that nobody writes to any more with an error.
    with suppress(OSError), os.fdopen(ours, "rb", buffering=0) as stream:
        while piece := stream.read(65_536):
            shown += piece
    return shown.decode()


def test_a_bar_shows_where_results_do_not(tmp_path: Path) -> None:
    bad, pairs = tmp_path / "bad.jsonl", tmp_path / "pairs.jsonl"
    bad.write_text('{"title": "Only English"}\n' * 2)
    pairs.write_text("")
    quiet, busy = (on_terminal("enrich", str(bad), stdout_too=each) for each in (True, False))
    assert "enriching" not in quiet
    assert "enriching" in busy
    assert "0 events, 2 dead letters" in busy
    assert "judging" in on_terminal("stance", str(pairs), stdout_too=False)


@pytest.mark.parametrize(("records", "said"), [(1, ""), (2, "0 events, 2 dead letters\n")])
def test_enrich_ends_with_how_many_there_were(records: int, said: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"title": "Only English"}\n' * records)
    shown = rasad("enrich", str(bad))
    assert len(shown.stdout.splitlines()) == records
    assert shown.stderr == said


def test_stance_ends_with_how_many_there_were(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    good = {"id": 7, "claim": "افتتح المعرض في بيروت", "title": "معرض", "body": "افتتح معرض الكتاب في بيروت اليوم."}
    pairs.write_text(json.dumps(good) + "\n")
    assert rasad("stance", str(pairs)).stderr == ""
    pairs.write_text(json.dumps(good) + "\n{}\n")
    assert rasad("stance", str(pairs)).stderr.splitlines()[-1] == "1 pair judged, 1 line not read"


def test_stance_does_not_read_what_it_writes(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("{}\n")
    with pairs.open("ab") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "rasad.cli", "stance", str(pairs)],
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert b"what is read would be written there" in done.stderr
    assert pairs.read_text() == "{}\n"
