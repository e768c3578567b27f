"""``python -m voltmem export|import|index|embed``."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from tests.command_line.commands import Command, process
from voltmem import Recall

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage


def stdin(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the standard input of the command."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))


async def test_what_export_prints_import_reads(
    command_here: Command, make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exported user is imported as another one; a second import skips everything, and says so."""
    storage = make_storage()
    await storage.add_message({"role": "user", "content": "h\N{GRINNING FACE}"}, "ada", "c1", resource_id="docs")

    exported = await command_here("export", "--user", "ada")
    outcomes = []
    for _ in range(2):
        stdin(exported.printed, monkeypatch)
        outcomes.append(await command_here("import", "--user", "bob"))

    assert [outcome.code for outcome in (exported, *outcomes)] == [0, 0, 0]
    assert [line async for line in storage.export_user("ada")][1:] == exported.printed.splitlines(keepends=True)[1:]
    renamed, imported = outcomes[0].printed.splitlines()
    assert re.fullmatch("renamed   conversation c1: .*", renamed)
    assert imported == "imported 1 conversations with 1 messages, 0 files, and 0 runs"
    assert outcomes[1].printed.startswith("skipped   conversation c1: it is there already\nimported 0 ")
    (copy,) = (await storage.list_conversations("bob")).items
    assert copy.preview == "h\N{GRINNING FACE}"


@pytest.mark.parametrize("format", ["chatgpt", "openai"])
async def test_import_reads_the_files_of_others(
    format: str, command_here: Command, make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --search imported files of others are found by their words."""
    storage = make_storage(search=True)
    await storage.open()
    message = {"author": {"role": "user"}, "content": {"parts": ["Hello"]}}
    files: dict[str, object] = {
        "chatgpt": [{"id": "c1", "mapping": {"m1": {"message": message}}}],
        "openai": [{"role": "user", "content": "Hello"}],
    }
    stdin(json.dumps(files[format]), monkeypatch)

    outcome = await command_here("import", "--user", "ada", "--format", format, "--search")

    assert (outcome.code, outcome.printed) == (0, "imported 1 conversations with 1 messages, 0 files, and 0 runs\n")
    assert [hit.role for hit in (await storage.search("ada", "hello")).hits] == ["user"]


async def test_import_reads_a_file_by_its_path(
    command_here: Command, make_storage: MakeStorage, tmp_path: Path
) -> None:
    """A path is read as well as standard input, and a zip file; what is skipped is named, what is left out counted."""
    storage = make_storage()
    await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c0", resource_id="docs")
    lines, archive = tmp_path / "ada.jsonl", tmp_path / "export.zip"
    lines.write_text("".join([line async for line in storage.export_user("ada")]))
    said = {"author": {"role": "user"}, "content": {"parts": ["Hello"]}}
    hidden = {**said, "author": {"role": "system"}}
    good = {"id": "c1", "mapping": {"m1": {"message": hidden}, "m2": {"message": said, "parent": "m1"}}}
    with ZipFile(archive, "w") as file:
        file.writestr("conversations-000.json", json.dumps([good, {"id": "c2"}]))

    own = await command_here("import", "--user", "bob", str(lines))
    chatgpt = await command_here("import", "--user", "bob", "--format", "chatgpt", str(archive))
    nowhere = await command_here("import", "--user", "bob", "--format", "chatgpt", str(tmp_path / "nowhere"))

    assert own.printed.endswith("imported 1 conversations with 1 messages, 0 files, and 0 runs\n")
    skipped, left_out, imported = chatgpt.printed.splitlines()
    assert skipped.startswith("skipped   conversation c2: it has no mapping")
    assert left_out == "left out  1 system messages"
    assert imported == "imported 1 conversations with 1 messages, 0 files, and 0 runs"
    assert (nowhere.code, nowhere.problems.count("\n")) == (1, 1)
    assert f"{tmp_path / 'nowhere'}: No such file" in nowhere.problems


@pytest.mark.parametrize("command", ["export", "status", "sql"])
async def test_unwritable_output_is_reported_in_one_line(
    command: str, make_storage: MakeStorage, dsn: str, schema: str
) -> None:
    """If the output cannot be written, as for a closed pipe or a full disk: exit code 1, and no traceback."""
    storage = make_storage()
    await storage.add_message({"role": "user", "content": "x" * 100_000}, "ada", "c1", resource_id="docs")
    words = [command, "--schema", schema, *(["--user", "ada"] if command == "export" else [])]
    reading, writing = os.pipe()
    os.close(reading)

    for problem, output in (("Broken pipe", writing), ("No space left on device", os.open("/dev/full", os.O_WRONLY))):
        outcome = await process(*words, stdout=output, VOLTMEM_DATABASE_URL=dsn)
        os.close(output)
        assert outcome.code == 1
        assert re.fullmatch(f"voltmem: {problem}: .*\n", outcome.problems)


async def test_an_id_is_printed_on_every_terminal(
    make_storage: MakeStorage, dsn: str, schema: str, tmp_path: Path
) -> None:
    """On a terminal with ASCII only, other characters of an id are printed as escapes."""
    await make_storage().create_conversation({"id": "caf\u00e9", "user_id": "ada"})
    file = tmp_path / "messages.json"
    file.write_text(json.dumps({"id": "caf\u00e9", "messages": [{"role": "user", "content": "Hello"}]}))

    with file.open() as opened:
        outcome = await process(
            *("import", "--user", "bob", "--format", "openai", "--schema", schema),
            stdin=opened.fileno(),
            VOLTMEM_DATABASE_URL=dsn,
            PYTHONIOENCODING="ascii",
        )

    assert (outcome.code, outcome.problems) == (0, "")
    assert outcome.printed.startswith(r"renamed   conversation caf\xe9: ")


async def test_a_failing_import_is_reported_in_one_line(
    command_here: Command, make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing import prints one line with the number of the malformed line."""
    await make_storage().open()
    stdin("no JSON\n", monkeypatch)

    code, printed, problems = await command_here("import", "--user", "ada")

    assert (code, printed) == (1, "")
    assert re.fullmatch(r"voltmem: line 1: it is not JSON.*\n", problems)


async def test_the_search_is_turned_on_and_off(command_here: Command, make_storage: MakeStorage) -> None:
    """The search is turned on with existing messages indexed, and off with their words deleted."""
    storage = make_storage(search=True)
    await make_storage().add_message({"role": "user", "content": "bread"}, "ada", "c1", resource_id="docs")

    indexed = await command_here("index")
    assert len((await storage.search("ada", "bread")).hits) == 1
    forgotten = await command_here("unindex")

    assert indexed.printed.startswith("1 messages indexed")
    assert forgotten.printed.startswith("1 messages removed")
    assert (await storage.search("ada", "bread")).hits == []


async def test_vectors_are_made_by_a_command(
    command_here: Command, make_storage: MakeStorage, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """embed takes a Recall, or a function that returns one, by its name; a wrong name, and what fails, are errors."""
    if not await connection.fetchval("SELECT count(*) > 0 FROM pg_available_extensions WHERE name = 'vector'"):
        pytest.skip("this server has no pgvector")

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        return [[float(len(text)), 1.0] for text in texts]

    async def refuse(texts: Sequence[str]) -> list[list[float]]:
        raise LookupError("no key")

    application = ModuleType("application_with_recall")
    application.recall = lambda: Recall(embed=embed, dimensions=2, model="lengths", every=1)  # type: ignore[attr-defined]
    application.broken = Recall(embed=refuse, dimensions=2, model="none")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, application.__name__, application)
    storage = make_storage()
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1")

    done = await command_here("embed", "--recall", "application_with_recall:recall")
    wrong = await command_here("embed", "--recall", "application_with_recall:nothing")
    failed = await command_here("embed", "--recall", "application_with_recall:broken")

    assert done.printed == "1 messages embedded\n"
    assert (failed.code, failed.printed) == (1, "")
    assert "embed() of --recall failed: LookupError('no key')" in failed.problems
    assert (wrong.code, wrong.printed) == (1, "")
    assert "as in app:recall" in wrong.problems
