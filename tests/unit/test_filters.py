"""What `rasad enrich` and `rasad stance` do as filters: full disks, and what they say while they work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_cli import process


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("apart", [(), ("--dead-letters", "/dev/full"), ("--pretty",)])
def test_a_full_disk_is_one_line(apart: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("Only English here, all of it.")
    code, said = process("enrich", "bad.txt", *apart, cwd=tmp_path, stdout=Path("/dev/full"))
    assert code == 1
    assert said == "rasad: No space left on device: what was written is cut short; make room, or write elsewhere\n"
