"""The command line: what it teaches, what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from rasad import __version__
from rasad.cli import app

VERBS = sorted(vars(get_command(app))["commands"])


def process(*arguments: str, cwd: Path, stdout: Path) -> tuple[int, str]:
    """How the command ends as a process of its own that writes to a file, and its standard error."""
    with stdout.open("ab") as sink:
        done = subprocess.run(
            [sys.executable, "-m", "rasad.cli", *arguments],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    return done.returncode, done.stderr


def rasad(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", **(env or {})})


def test_version() -> None:
    assert rasad("--version").output.strip() == f"rasad {__version__}"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_teaches(verb: str) -> None:
    shown = rasad(verb, "--help")
    assert shown.exit_code == 0
    assert "Usage" in shown.output


SIGN_IN = 'security_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"\nsasl_username = "desk"\n'


def test_config_says_where_a_value_came_from(tmp_path: Path) -> None:
    file = tmp_path / "rasad.toml"
    file.write_text('[worker]\ngroup_id = "night-desk"\n[kafka]\nsasl_password = "open sesame"\n' + SIGN_IN)
    shown = rasad("config", "--config", str(file), env={"RASAD_WORKER__BATCH_MAX": "7"})
    assert shown.exit_code == 0
    assert "night-desk" in shown.output
    assert "RASAD_WORKER__BATCH_MAX" in shown.output
    assert "sesame" not in shown.output


def test_a_wrong_setting_ends_with_key_value_and_fix() -> None:
    shown = rasad("config", env={"RASAD_WORKER__BATCH_MAX": "many"})
    assert shown.exit_code == 2
    assert "worker.batch_max" in shown.output
    assert "many" in shown.output
    assert "Traceback" not in shown.output


def test_a_missing_file_is_one_line() -> None:
    shown = rasad("enrich", "no-such-file.txt")
    assert shown.exit_code == 1
    assert "no-such-file.txt" in shown.output
    assert "Traceback" not in shown.output


def test_a_missing_bundle_is_one_line(tmp_path: Path) -> None:
    shown = rasad("enrich", "no-such-file.txt", "--ner", str(tmp_path))
    assert shown.exit_code == 1
    assert "bundle.json is missing" in shown.output


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("enrich", "seeds", "--dead-letters", "FOLDER/missing/dead.jsonl"), "missing/dead.jsonl"),
        (("enrich", "seeds", "--dead-letters", "FOLDER"), ""),
        (("schemas", "FOLDER/taken/schemas"), "taken"),
        # There are no events, which would be told if they were read first.
        (
            ("replay", "compare", "FOLDER/taken", "FOLDER/taken", "--html", "FOLDER/missing/page.html"),
            "missing/page.html",
        ),
    ],
)
def test_a_path_that_cannot_be_written_is_one_line(arguments: tuple[str, ...], path: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    shown = rasad(*(each.replace("FOLDER", str(tmp_path)) for each in arguments))
    assert shown.exit_code == 1
    (line,) = shown.output.splitlines()
    assert line.startswith(f"rasad: {tmp_path / path}")
    assert "or name another path" in line


@pytest.mark.parametrize("before", [None, "an earlier page"])
def test_a_comparison_that_fails_leaves_its_page_as_it_was(before: str | None, tmp_path: Path) -> None:
    empty, page = tmp_path / "empty.jsonl", tmp_path / "page.html"
    empty.write_bytes(b"")
    if before is not None:
        page.write_text(before)
    assert rasad("replay", "compare", str(empty), str(empty), "--html", str(page)).exit_code == 1
    assert (page.read_text() if page.exists() else None) == before


def test_an_unknown_start_of_tail() -> None:
    shown = rasad("tail", "--from", "yesterday", "--bootstrap-servers", "127.0.0.1:1")
    assert shown.exit_code == 2
    assert "yesterday" in shown.output


def test_schemas_are_written_and_checked(tmp_path: Path) -> None:
    assert rasad("schemas", str(tmp_path)).exit_code == 0
    (tmp_path / "claim.schema.json").write_text("{}")
    shown = rasad("schemas", str(tmp_path), "--check")
    assert shown.exit_code == 1
    assert "claim.schema.json" in shown.output


def test_enrich_parts_dead_letters(tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("Only English here, all of it.")
    letters = tmp_path / "letters.jsonl"
    shown = rasad("enrich", str(bad), "seeds/12-technology-space-garden.json", "--dead-letters", str(letters))
    assert shown.exit_code == 0
    event = json.loads(shown.stdout)
    assert event["article"]["truncated"] is False
    assert json.loads(letters.read_text())["reason"] == "not_arabic"


def test_enrich_reads_with_the_small_model() -> None:
    article = "seeds/12-technology-space-garden.json"
    large, small = (json.loads(rasad("enrich", article, *model).stdout) for model in ((), ("--model", "fast")))
    assert [event["pipeline"]["models"][0]["name"] for event in (large, small)] == ["rasad-ner", "rasad-ner-fast"]
    assert large["pipeline"]["version"] != small["pipeline"]["version"]
    assert {each["canonical"] for each in small["entities"]} & {each["canonical"] for each in large["entities"]}
    assert {each["kind"] for each in small["stances"]} <= {"headline"}


@pytest.mark.parametrize("failing", [("no-such-file.txt",), ("seeds", "--claims", "no-such-file.jsonl")])
@pytest.mark.parametrize("before", [None, "letters of an earlier run"])
def test_an_enrichment_that_cannot_begin_leaves_its_dead_letters_as_they_were(
    before: str | None, failing: tuple[str, ...], tmp_path: Path
) -> None:
    letters = tmp_path / "letters.jsonl"
    if before is not None:
        letters.write_text(before)
    assert rasad("enrich", *failing, "--dead-letters", str(letters)).exit_code == 1
    assert (letters.read_text() if letters.exists() else None) == before


@pytest.mark.parametrize(
    "command",
    [("config",), ("models", "show"), ("enrich", "seeds"), ("topics", "acls", "--principal-worker", "User:desk")],
)
def test_a_reader_that_has_enough_is_no_error(command: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "rasad.cli", *command], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_dead_letters_into_a_named_pipe_are_all_read(tmp_path: Path) -> None:
    bad, pipe = tmp_path / "bad.txt", tmp_path / "pipe"
    bad.write_text("Only English here, all of it.")
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text)
        assert rasad("enrich", str(bad), "--dead-letters", str(pipe)).exit_code == 0
        assert json.loads(read.result(10))["reason"] == "not_arabic"


@pytest.mark.parametrize("apart", [(), ("--dead-letters", "sub/../dead.jsonl")])
def test_enrich_does_not_read_what_it_writes(apart: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    records = "".join(f'{{"title": "Only English, {number}"}}\n' for number in range(100))
    (tmp_path / "sub" / "articles.jsonl").write_text(records)
    outcomes, letters = tmp_path / "outcomes.jsonl", tmp_path / "dead.jsonl"
    letters.write_text('{"title": "English of an earlier run"}\n' if apart else "")
    code, said = process("enrich", ".", *apart, cwd=tmp_path, stdout=outcomes)
    assert code == 0
    assert "outcomes.jsonl is not read" in said
    assert ("dead.jsonl is not read" in said) == bool(apart)
    written = letters if apart else outcomes
    assert len(written.read_text().splitlines()) == 100
    assert outcomes.stat().st_size == 0 or not apart


def test_enrich_refuses_an_input_that_is_its_output(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    records.write_text('{"title": "Only English"}\n')
    code, said = process("enrich", "records.jsonl", cwd=tmp_path, stdout=records)
    assert code == 1
    assert said.startswith("rasad: records.jsonl: what is read would be written there")
    assert records.read_text() == '{"title": "Only English"}\n'


def test_enrich_holds_articles_against_claims() -> None:
    article = "seeds/13-culture-lantern-festival-denial.txt"
    shown = rasad("enrich", article, "--claims", "seeds/claims.jsonl")
    assert shown.exit_code == 0
    stances = json.loads(shown.stdout)["stances"]
    assert "seed-claim-2" in {stance["target"]["claim_id"] for stance in stances if stance["kind"] == "claim"}
    missing = rasad("enrich", article, "--claims", "no-such-file.jsonl")
    assert missing.exit_code == 1
    assert "no-such-file.jsonl" in missing.output


def test_stance_judges_pairs_and_names_bad_lines(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    good = {"id": 7, "claim": "افتتح المعرض في بيروت", "title": "معرض", "body": "افتتح معرض الكتاب في بيروت اليوم."}
    pairs.write_text(json.dumps(good) + "\n" + '{"id": 8, "claim": 5}\n', encoding="utf-8")
    shown = rasad("stance", str(pairs))
    assert shown.exit_code == 1
    result = json.loads(shown.stdout)
    assert result["id"] == 7
    assert set(result["probs"]) == {"agree", "disagree", "discuss", "unrelated"}
    assert abs(sum(result["probs"].values()) - 1) < 0.01
    assert "line 2" in shown.stderr
