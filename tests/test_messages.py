"""Messages: what is stored, in which order, and what the limit keeps."""

from voltmem import PostgresStorage


async def test_a_message_comes_back_as_it_was_stored(storage: PostgresStorage) -> None:
    """What add_message returns is what get_messages reads."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    stored = await storage.add_message({"role": "user", "content": "hello", "metadata": {"n": 1}}, "ada", "c1")

    assert await storage.get_messages("ada", "c1") == [stored]
