"""How other programs store a conversation: ChatGPT, whose export is imported, and VoltAgent, on the same tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast

from pydantic import JsonValue

from tests.across.said import Call, Conversation, User
from tests.across.writers import Form, block_if, data_of, is_inline, plain_call, plain_result, text_of, turns
from tests.conftest import Connection
from tests.importers.exports import chat, node
from tests.voltagent import add_message, upgrade
from voltmem import PostgresStorage
from voltmem.importers import from_chatgpt

Row: TypeAlias = tuple[str, str, JsonValue]
"""The role, the type (of VoltAgent 0.1) and the content of a message of VoltAgent's."""


async def write_chatgpt(storage: PostgresStorage, conversation: Conversation) -> None:
    """Import an entry of ChatGPT's export that says the conversation, with what ChatGPT hides and with a branch."""
    await storage.delete_conversation("c1")
    result = await storage.import_conversations(
        "ada", from_chatgpt([chat(*chatgpt(conversation), conversation_id="c1")])
    )
    assert (result.conversations, result.skipped) == (1, [])


def chatgpt(conversation: Conversation) -> Iterator[Form]:
    """Yield the nodes of the tree: the last one is the current one."""
    before = "root"
    yield node("root", None)
    yield node("rules", "root", "You are ChatGPT", role="system")
    yield node("edited", "rules", "Wether?")
    yield node("aside", "edited", "Of another branch.", role="assistant")
    for number, message in enumerate(chatgpt_messages(conversation)):
        yield node(str(number), "rules" if before == "root" else before, **message)
        before = str(number)


def chatgpt_messages(conversation: Conversation) -> Iterator[dict[str, Any]]:
    """Yield what a node has beside its place."""
    for step in conversation:
        if isinstance(step, User):
            yield {"text": {"content_type": "multimodal_text", "parts": [step.text]}}
            continue
        if step.reasoning:
            thoughts = [{"summary": "", "content": step.reasoning}]
            yield {"text": {"content_type": "thoughts", "thoughts": thoughts}, "role": "assistant"}
            yield {"text": {"content_type": "reasoning_recap", "content": "Thought for 3s"}, "role": "assistant"}
        if step.text:
            yield {"text": step.text, "role": "assistant"}
        for call in step.calls:
            code = {"content_type": "code", "language": "json", "text": json.dumps(call.input)}
            yield {"text": code, "role": "assistant", "recipient": call.name}
        for call in step.answers:
            type = "system_error" if call.state == "failed" else "execution_output"
            yield {"text": {"content_type": type, "text": text_of(call.result)}, "role": "tool", "name": call.name}


async def write_voltagent(storage: PostgresStorage, conversation: Conversation) -> None:
    """Insert rows like VoltAgent 2.1.2, which has upgraded the tables."""
    async with storage.transaction() as bound:
        connection, schema = cast(Connection, bound.connection), storage._options.tables.schema
        await upgrade(connection, schema)
        await insert(connection, schema, "2.1.2", voltagent(conversation))


def voltagent(conversation: Conversation) -> Iterator[Row]:
    """Yield the messages as an agent of VoltAgent stores them: the answer of a turn is one message."""
    for turn in turns(conversation):
        if isinstance(turn, User):
            files: list[JsonValue] = [
                {"type": "file", "mediaType": each.media_type, "url": each.url} for each in turn.files
            ]
            yield "user", "text", [{"type": "text", "text": turn.text}, *files]
            continue
        parts: list[JsonValue] = []
        for step in turn:
            parts += block_if(step.reasoning, {"type": "reasoning", "text": step.reasoning})
            if step.text:
                parts += block_if(parts, {"type": "step-start"})
                parts.append({"type": "text", "text": step.text})
            parts += map(voltagent_call, step.calls)
        yield "assistant", "text", parts


def voltagent_call(call: Call) -> Form:
    part: Form = {
        "type": f"tool-{call.name}",
        "toolCallId": call.id,
        "state": "input-available",
        "input": {**call.input},
    }
    if call.state == "abandoned":
        return part
    value = call.result
    if call.state == "failed":
        value = {"error": True, "name": "Error", "message": value, "toolCallId": call.id, "toolName": call.name}
    output: Form = {"type": "text" if isinstance(value, str) else "json", "value": value}
    return part | {"state": "output-available", "output": output, "providerExecuted": False}


async def write_old_voltagent(storage: PostgresStorage, conversation: Conversation) -> None:
    """Insert rows like VoltAgent 0.1.12."""
    async with storage.transaction() as bound:
        connection, schema = cast(Connection, bound.connection), storage._options.tables.schema
        await insert(connection, schema, "0.1.12", old_voltagent(conversation))


def old_voltagent(conversation: Conversation) -> Iterator[Row]:
    """Yield the messages as an agent of VoltAgent 0.1 stores them: a call and a result each in its own."""
    for step in conversation:
        if isinstance(step, User):
            files: list[JsonValue] = [
                {"type": "image", "image": data_of(each) if is_inline(each) else each.url, "mimeType": each.media_type}
                for each in step.files
            ]
            yield "user", "text", [{"type": "text", "text": step.text}, *files] if files else step.text
            continue
        if step.text:
            yield "assistant", "text", step.text
        for call in step.calls:
            yield "assistant", "tool-call", [plain_call(call)]
        for call in step.answers:
            yield "tool", "tool-result", [plain_result(call)]


async def insert(connection: Connection, schema: str, release: str, rows: Iterable[Row]) -> None:
    """Insert rows, each with a time of its own."""
    now = datetime.now(UTC)
    for number, (role, type, content) in enumerate(rows):
        place, at = (schema, "c1", f"va{number}", "ada"), now + timedelta(milliseconds=number)
        await add_message(connection, release, *place, content, at, role=role, type=type)
