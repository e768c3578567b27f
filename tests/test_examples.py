"""The examples run as documented."""

import re
from pathlib import Path

import asyncpg
import pytest

from tests.checkout import ROOT
from tests.dialogues import Dialogues, with_dialogues
from tests.programs import python
from voltmem import PostgresStorage


async def run(*arguments: str | Path, database: str) -> str:
    """Run a Python program. Returns its output; it must succeed."""
    return await python("-W", "error", *arguments, VOLTMEM_DATABASE_URL=database)


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ("hello.py", "assistant: From now on."),
        ("agent.py", "the last run: completed, \"Before, you asked 'Where is Oslo?'"),
        ("sidebar.py", "Another user who knows the id gets: None"),
        ("pagination.py", "iterated over 25 of 25"),
        ("multi_tenant.py", "bob reads: []\nbob deletes: False\nbob writes: conversation 'secret-of-ada'"),
        ("transaction.py", "1 order; the conversation: ['Two coffees, please', 'Coming up.']"),
        ("agent_run.py", "     └─ tool:search completed ['leeks', 'potatoes']"),
        ("openai_agent.py", "At first you asked 'Do I need a coat?'"),
        ("langchain_agent.py", "assistant: Tomorrow: rain in Rome, 4 °C."),
        ("agno_agent.py", "stored: ['user: Do you remember me?', 'assistant: You have said"),
        ("branches.py", "back: What's for breakfast? | Porridge."),
        ("import_chatgpt.py", "2024-03-09  A trip to Oslo: In March, yes."),
        ("assistant.py", ">I promised my sister Mira a trip to the fjords.</message>"),
        ("demo.py", "5 messages ago you'd have needed that coat."),
    ],
)
async def test_an_example_runs_twice(example: str, expected: str, database: str) -> None:
    """Each example prints what it promises, on an empty database and when it is run again."""
    for _ in range(2):
        assert expected in await run(ROOT / "examples" / example, database=database)


async def test_the_demo_prints_its_messages(database: str) -> None:
    """
    Of the demo's two programs, the second shows the first one's messages; then the sidebar, and an assistant's memory.
    """
    story = await run(ROOT / "examples" / "demo.py", database=database)

    first, second = re.findall(r"process (\d+)", story)
    assert first != second
    assert "user  I'm flying to Oslo today" in story.partition("Its model receives")[2]
    assert story.startswith("voltmem keeps")
    assert story.index("A trip to Oslo ") < story.rindex("Bread ") < story.index("- I'm allergic to peanuts.")


async def test_the_importer_loads_a_file_twice_and_nothing_changes(database: str, tmp_path: Path) -> None:
    """A file of conversations is loaded; loading it again replaces each message with itself."""
    file = tmp_path / "two.jsonl"
    file.write_text(
        '{"id": "a", "messages": [{"role": "user", "type": "text", "content": "Hi"}]}\n\n'
        '{"id": "b", "messages": [{"role": "user", "content": "Ho"}, {"role": "assistant", "content": ["Hu", 1]}]}\n'
    )

    for _ in range(2):
        printed = await run(ROOT / "examples" / "import_dialogues.py", file, "--user", "ada", database=database)

        assert "loaded 2 conversations and 3 messages for ada" in printed
    async with PostgresStorage(database) as storage:
        assert [message.content for message in await storage.get_messages("ada", "b")] == ["Ho", ["Hu", 1]]
        assert {each.title for each in await storage.get_conversations_by_user_id("ada")} == {"Hi", "Ho"}


@with_dialogues
async def test_dialogues_that_are_imported_come_back_equal(dialogues: Dialogues, database: str) -> None:
    """Every conversation and message of a file is read back equal."""
    printed = await run(ROOT / "examples" / "import_dialogues.py", dialogues.file, database=database)

    assert f"loaded {dialogues.conversations:,} conversations and {dialogues.messages:,} messages" in printed
    async with PostgresStorage(database, storage_limit=None) as storage:
        for dialogue in dialogues:
            stored = await storage.get_messages("importer", dialogue["id"])
            assert [
                {"role": message.role, "type": message.type, "content": message.content} for message in stored
            ] == dialogue["messages"]


async def test_without_any_database_the_error_names_all_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a connection string, a variable and the embedded server, the error says what to do."""
    monkeypatch.setattr("voltmem._postgres.embedded.is_available", lambda: False)

    with pytest.raises(ValueError, match=r"connection=.*VOLTMEM_DATABASE_URL.*DATABASE_URL.*embedded"):
        await PostgresStorage().open()


def test_asyncpg_is_what_the_tests_run_on() -> None:
    """The installed release of asyncpg is one that the package requires."""
    assert tuple(map(int, asyncpg.__version__.split(".")[:2])) >= (0, 30)
