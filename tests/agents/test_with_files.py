"""with_files(): the bytes of stored files reach a model wherever a message refers to them."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Final

import pytest

from voltmem import InvalidInputError, NativeMessage, PostgresStorage
from voltmem._agents.native import NativeMemory
from voltmem.parts import to_anthropic, to_openai, to_responses

PICTURE: Final = b"\x89PNG\r\n\x1a\n" + bytes(range(30))
BASE64: Final = b64encode(PICTURE).decode()
DATA_URL: Final = f"data:image/png;base64,{BASE64}"

Fields = dict[str, Any]


def asked(*blocks: Fields) -> list[Fields]:
    return [{"role": "user", "content": list(blocks)}]


def answered(output: Any) -> list[Fields]:
    """Return a call of a tool, and its result, in the Responses API's form."""
    return [
        {"role": "user", "content": "Look."},
        {"type": "function_call", "call_id": "k", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "k", "output": output},
    ]


# Where an application writes the address of a stored file: "<url>" stands for it.
REFERRING: Final[dict[str, list[Fields]]] = {
    "a part": asked({"type": "file", "mediaType": "image/png", "url": "<url>"}),
    "a part without a type": asked({"type": "file", "url": "<url>"}),
    "a picture's data": asked({"type": "image", "image": "<url>"}),
    "OpenAI's picture": asked({"type": "image_url", "image_url": {"url": "<url>"}}),
    "OpenAI's file": asked({"type": "file", "file": {"filename": "a.png", "file_data": "<url>"}}),
    "OpenAI's sound": asked({"type": "input_audio", "input_audio": {"format": "wav", "data": "<url>"}}),
    "a chat message's sound": [
        {**asked({"type": "input_audio", "input_audio": {"format": "wav", "data": "<url>"}})[0], "name": "ada"}
    ],
    "Anthropic's address": asked({"type": "image", "source": {"type": "url", "url": "<url>"}}),
    "Anthropic's data": asked(
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "<url>"}}
    ),
    "Gemini's data": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "<url>"}}]}],
    "Gemini's address": [{"role": "user", "parts": [{"fileData": {"mimeType": "image/png", "fileUri": "<url>"}}]}],
    "LangChain's data": asked({"type": "image", "base64": "<url>", "mime_type": "image/png"}),
    "a result in Responses' form": answered([{"type": "input_image", "image_url": "<url>"}]),
    "a result in Anthropic's form": [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "k", "name": "look", "input": {}}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "k",
                    "content": [{"type": "image", "source": {"type": "url", "url": "<url>"}}],
                }
            ],
        },
    ],
    "a UIMessage's output": [
        {"role": "user", "parts": [{"type": "text", "text": "Look."}]},
        {
            "role": "assistant",
            "parts": [
                {
                    "type": "tool-look",
                    "toolCallId": "k",
                    "state": "output-available",
                    "input": {},
                    "output": {"seen": ["<url>"]},
                }
            ],
        },
    ],
}


def with_url(messages: list[Fields], url: str) -> list[Fields]:
    filled: list[Fields] = json.loads(json.dumps(messages).replace("<url>", url))
    return filled


@pytest.mark.parametrize("messages", REFERRING.values(), ids=REFERRING)
async def test_with_files_fills_in_the_bytes_wherever_a_message_refers_to_them(
    messages: list[Fields], storage: PostgresStorage
) -> None:
    """The bytes reach each model that takes such a file, once and without an address of ours."""
    file = await storage.put_file("ada", PICTURE)
    memory = storage.conversation("ada", "c1")
    await memory.add_turn(with_url(messages, file.url))

    filled = await memory.with_files(await memory.messages())

    is_sound = "wav" in str(messages)
    for write in (to_openai,) if is_sound else (to_responses, to_anthropic):
        written = json.dumps(write(filled))
        assert written.count(BASE64) == 1
        assert "voltmem:" not in written


@pytest.mark.parametrize("messages", REFERRING.values(), ids=REFERRING)
async def test_with_files_keeps_the_form_of_a_native_message(messages: list[Fields], storage: PostgresStorage) -> None:
    """A framework reads its own form, with the bytes; bare base64 stands where its form has that."""
    file = await storage.put_file("ada", PICTURE)
    await storage.conversation("ada", "c1").add_turn(with_url(messages, file.url))
    memory = NativeMemory(storage, "ada", "c1")
    stored = await memory.newest_messages(10)

    filled = await memory.with_files(stored)

    assert [each.format for each in filled] == [each.format for each in stored]
    for before, after in zip(stored, filled, strict=True):
        if "input_audio" in str(before.payload) or "inlineData" in str(before.payload):
            assert f"'{BASE64}'" in str(after.payload)
        elif file.url in str(before.payload):
            assert f"'{DATA_URL}'" in str(after.payload)
        else:
            assert after.payload == before.payload
    written = json.dumps(to_openai(filled))
    assert "voltmem:" not in written
    assert '"data": "data:' not in written


@pytest.mark.parametrize("messages", REFERRING.values(), ids=REFERRING)
async def test_a_model_is_told_the_name_of_a_file_that_is_not_there(
    messages: list[Fields], storage: PostgresStorage
) -> None:
    """Without the bytes a provider gets a text, whether it would take the message in its own form or not."""
    memory = storage.conversation("ada", "c1")
    await memory.add_turn(with_url(messages, "voltmem:file/" + "1" * 64))
    plain = await memory.with_files(await memory.messages())
    native = await NativeMemory(storage, "ada", "c1").newest_messages(10)

    for found in (plain, native):
        for write in (to_openai, to_responses, to_anthropic):
            written = json.dumps(write(found))
            assert "voltmem:" not in written
            assert "[file: " in written


async def test_with_files_takes_messages_in_any_form(storage: PostgresStorage) -> None:
    """Dicts are read as everywhere; what is no message is refused."""
    file = await storage.put_file("ada", PICTURE)
    memory = storage.conversation("ada", "c1")
    await memory.add({"role": "user", "content": "Hello"})
    given: Any = with_url(REFERRING["a part"], file.url)

    (filled,) = await memory.with_files(given)

    assert to_openai([filled])[0]["content"] == [{"type": "image_url", "image_url": {"url": DATA_URL}}]
    wrong: Any
    for wrong in (None, "x", 7, [None], ["x"], {"role": "user", "content": "x"}):
        with pytest.raises(InvalidInputError, match="essage"):
            await memory.with_files(wrong)


async def test_with_files_of_another_users_file_names_it(storage: PostgresStorage) -> None:
    """Also within a tool's result only the files of the conversation's owner are read."""
    file = await storage.put_file("mallory", PICTURE)
    memory = storage.conversation("ada", "c1")
    await memory.add_turn(with_url(REFERRING["a UIMessage's output"], file.url))
    await memory.add(NativeMessage(role="user", content="", format="mine", payload={"x": [file.url]}))

    filled = await memory.with_files(await NativeMemory(storage, "ada", "c1").newest_messages(10))

    assert BASE64 not in str(filled)
