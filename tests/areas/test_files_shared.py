"""Files in public links, and in what a model is given."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

import pytest

from voltmem import InvalidInputError, PostgresStorage, StoredFile, StoredFileNotFoundError
from voltmem.parts import to_openai

PNG = b"\x89PNG\r\n\x1a\n" + bytes(300_000)


@pytest.fixture
async def file(storage: PostgresStorage) -> StoredFile:
    """A picture in ada's conversation c1."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    file = await storage.put_file("ada", PNG)
    part = {"type": "file", "mediaType": "image/png", "filename": "cat.png", "url": file.url}
    await storage.add_message({"id": "m1", "role": "user", "content": [part]}, "ada", "c1")
    return file


async def test_get_shared_file_is_that_of_a_shown_message(storage: PostgresStorage, file: StoredFile) -> None:
    """A link shows the files of its messages, without a user; no other file, and none once it is revoked."""
    other = await storage.put_file("ada", b"not shown")
    share = await storage.share_conversation("c1")

    assert await storage.get_shared_file(share.token, file.id) == file
    assert await storage.get_shared_file(share.token, other.id) is None
    assert await storage.get_shared_file("no such link", file.id) is None
    with pytest.raises(InvalidInputError, match="file_id"):
        await storage.get_shared_file(share.token, "cat.png")
    await storage.revoke_share(share.token)
    assert await storage.get_shared_file(share.token, file.id) is None


async def test_read_shared_file_yields_the_content_or_a_range(storage: PostgresStorage, file: StoredFile) -> None:
    """The content comes in pieces; a file that the link does not show is an error that names no user."""
    share = await storage.share_conversation("c1")

    assert b"".join([piece async for piece in storage.read_shared_file(share.token, file.id)]) == PNG
    ranged = storage.read_shared_file(share.token, file.id, start=1, end=4)
    assert [piece async for piece in ranged] == [b"PNG"]
    with pytest.raises(StoredFileNotFoundError, match="not shown by this link") as caught:
        await anext(storage.read_shared_file(share.token, sha256(b"").hexdigest()))
    assert "ada" not in str(caught.value)


async def test_memory_with_files_has_the_bytes_of_the_owners_files(storage: PostgresStorage, file: StoredFile) -> None:
    """A model gets data: URLs; the stored message keeps its address, and another user's handle gets no bytes."""
    memory = storage.conversation("ada", "c1")
    stored = await memory.messages()

    (given,) = to_openai(await memory.with_files(stored))

    assert f"data:image/png;base64,{b64encode(PNG).decode()}" in str(given)
    assert await memory.messages() == stored
    assert file.url in str(stored)
    assert await storage.conversation("bob", "c1").with_files(stored) == stored
    assert await memory.with_files([]) == []
