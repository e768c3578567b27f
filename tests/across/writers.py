"""How each form and framework stores a conversation."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias

import httpx2
from agents import TResponseInputItem
from agno.models.response import ModelResponse as AgnoResponse
from fastapi import FastAPI
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from pydantic import JsonValue
from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)

from tests.across.said import Call, Conversation, File, Model, User
from tests.adapters.agno.agno_3.sessions import agent as agno_agent
from tests.adapters.agno.fakes import FakeModel
from voltmem import Message, PostgresStorage, web
from voltmem._values import uuid7
from voltmem.adapters.agno import VoltMemDb
from voltmem.adapters.langchain import VoltMemChatMessageHistory
from voltmem.adapters.openai_agents import VoltMemSession
from voltmem.adapters.pydantic_ai import save_history
from voltmem.chat import Part, Reasoning, ToolCall, ToolResult
from voltmem.chat._growing import Growing
from voltmem.models import MessageLike

Write: TypeAlias = Callable[[PostgresStorage, Conversation], Awaitable[None]]
Form: TypeAlias = dict[str, JsonValue]


def data_of(file: File) -> str:
    return file.url.partition(",")[2]


def is_inline(file: File) -> bool:
    return file.url.startswith("data:")


def text_of(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def block_if(condition: object, block: Form) -> list[JsonValue]:
    return [block] if condition else []


# --- plain --------------------------------------------------------------------------------------------------------


def plain_call(call: Call) -> Form:
    return {"type": "tool-call", "toolCallId": call.id, "toolName": call.name, "args": {**call.input}}


def plain_result(call: Call) -> Form:
    failed: Form = {"isError": True} if call.state == "failed" else {}
    return {
        "type": "tool-result",
        "toolCallId": call.id,
        "toolName": call.name,
        "result": call.result,
        **failed,
    }


def plain_user(step: User) -> Form:
    files: list[JsonValue] = [{"type": "file", "mediaType": each.media_type, "url": each.url} for each in step.files]
    return {"role": "user", "content": [{"type": "text", "text": step.text}, *files] if files else step.text}


def plain_separate(conversation: Conversation) -> Iterator[Form]:
    for step in conversation:
        if isinstance(step, User):
            yield plain_user(step)
            continue
        said = block_if(step.text, {"type": "text", "text": step.text})
        if step.reasoning:
            said.insert(0, {"type": "reasoning", "text": step.reasoning})
        calls = [plain_call(call) for call in step.calls]
        if calls or step.reasoning:
            yield {"role": "assistant", "type": "tool-call" if calls else "text", "content": [*said, *calls]}
        else:
            yield {"role": "assistant", "content": step.text}
        for call in step.answers:
            yield {"role": "tool", "type": "tool-result", "content": [plain_result(call)]}


def plain_together(conversation: Conversation) -> Iterator[Form]:
    for step in conversation:
        if isinstance(step, User):
            yield plain_user(step)
            continue
        said = block_if(step.reasoning, {"type": "reasoning", "text": step.reasoning})
        said += block_if(step.text, {"type": "text", "text": step.text})
        yield {
            "role": "assistant",
            "content": [*said, *map(plain_call, step.calls), *map(plain_result, step.answers)],
        }


# --- providers ----------------------------------------------------------------------------------------------------


def chat_completions(conversation: Conversation) -> Iterator[Form]:
    for step in conversation:
        if isinstance(step, User):
            files: list[JsonValue] = [{"type": "image_url", "image_url": {"url": each.url}} for each in step.files]
            text: Form = {"type": "text", "text": step.text}
            yield {"role": "user", "content": [text, *files] if files else step.text}
            continue
        calls: list[JsonValue] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.input)},
            }
            for call in step.calls
        ]
        called: Form = {"tool_calls": calls} if calls else {}
        reasoned: Form = {"reasoning_content": step.reasoning} if step.reasoning else {}
        yield {"role": "assistant", "content": step.text or None, **called, **reasoned}
        for call in step.answers:
            yield {"role": "tool", "tool_call_id": call.id, "content": text_of(call.result)}


def response_items(conversation: Conversation) -> Iterator[Form]:
    numbers = count()
    for step in conversation:
        if isinstance(step, User):
            files: list[JsonValue] = [
                {"type": "input_image", "detail": "auto", "image_url": each.url} for each in step.files
            ]
            yield {"role": "user", "content": [{"type": "input_text", "text": step.text}, *files]}
            continue
        if step.reasoning:
            summary: list[JsonValue] = [{"type": "summary_text", "text": step.reasoning}]
            yield {"type": "reasoning", "id": f"rs_{next(numbers)}", "summary": summary, "encrypted_content": "gAAA"}
        if step.text:
            content: list[JsonValue] = [{"type": "output_text", "text": step.text, "annotations": []}]
            id = f"msg_{next(numbers)}"
            yield {"type": "message", "id": id, "role": "assistant", "status": "completed", "content": content}
        for call in step.calls:
            yield {
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": json.dumps(call.input),
            }
        for call in step.answers:
            yield {"type": "function_call_output", "call_id": call.id, "output": text_of(call.result)}


def anthropic(conversation: Conversation) -> Iterator[Form]:
    for step in conversation:
        if isinstance(step, User):
            files: list[JsonValue] = [anthropic_image(each) for each in step.files]
            yield {"role": "user", "content": [*files, {"type": "text", "text": step.text}]}
            continue
        said = block_if(step.text, {"type": "text", "text": step.text})
        if step.reasoning:
            said.insert(0, {"type": "thinking", "thinking": step.reasoning, "signature": "c2ln"})
        said += [{"type": "tool_use", "id": call.id, "name": call.name, "input": {**call.input}} for call in step.calls]
        yield {"role": "assistant", "content": said}
        if step.answers:
            yield {"role": "user", "content": [anthropic_result(call) for call in step.answers]}


def anthropic_image(file: File) -> Form:
    if not is_inline(file):
        return {"type": "image", "source": {"type": "url", "url": file.url}}
    return {"type": "image", "source": {"type": "base64", "media_type": file.media_type, "data": data_of(file)}}


def anthropic_result(call: Call) -> Form:
    failed: Form = {"is_error": True} if call.state == "failed" else {}
    return {"type": "tool_result", "tool_use_id": call.id, "content": text_of(call.result), **failed}


def gemini(conversation: Conversation) -> Iterator[Form]:
    for step in conversation:
        if isinstance(step, User):
            yield {"role": "user", "parts": [*map(gemini_file, step.files), {"text": step.text}]}
            continue
        said = block_if(step.reasoning, {"text": step.reasoning, "thought": True})
        said += block_if(step.text, {"text": step.text})
        calls: list[JsonValue] = [
            {"functionCall": {"id": call.id, "name": call.name, "args": {**call.input}}} for call in step.calls
        ]
        said += calls
        yield {"role": "model", "parts": said}
        answers: list[JsonValue] = [
            {
                "functionResponse": {
                    "id": call.id,
                    "name": call.name,
                    "response": {"error" if call.state == "failed" else "result": call.result},
                }
            }
            for call in step.answers
        ]
        if answers:
            yield {"role": "user", "parts": answers}


def gemini_file(file: File) -> Form:
    if not is_inline(file):
        return {"fileData": {"mimeType": file.media_type, "fileUri": file.url}}
    return {"inlineData": {"mimeType": file.media_type, "data": data_of(file)}}


# --- front ends ---------------------------------------------------------------------------------------------------


def turns(conversation: Conversation) -> Iterator[User | list[Model]]:
    """Yield what a front end has in one message: what the user says, or all steps of an answer."""
    steps: list[Model] = []
    for step in conversation:
        if isinstance(step, Model):
            steps.append(step)
            continue
        if steps:
            yield steps
        steps = []
        yield step
    if steps:
        yield steps


def ui_messages(conversation: Conversation) -> Iterator[Form]:
    for number, turn in enumerate(turns(conversation)):
        if isinstance(turn, User):
            files: list[JsonValue] = [
                {"type": "file", "mediaType": each.media_type, "url": each.url} for each in turn.files
            ]
            yield {"id": f"ui{number}", "role": "user", "parts": [*files, {"type": "text", "text": turn.text}]}
            continue
        parts: list[JsonValue] = []
        for step in turn:
            parts.append({"type": "step-start"})
            parts += block_if(step.reasoning, {"type": "reasoning", "text": step.reasoning, "state": "done"})
            parts += block_if(step.text, {"type": "text", "text": step.text, "state": "done"})
            parts += map(ui_call, step.calls)
        yield {"id": f"ui{number}", "role": "assistant", "parts": parts}


def ui_call(call: Call) -> Form:
    part: Form = {"type": f"tool-{call.name}", "toolCallId": call.id, "input": {**call.input}}
    if call.state == "abandoned":
        return part | {"state": "input-available"}
    if call.state == "failed":
        return part | {"state": "output-error", "errorText": text_of(call.result)}
    return part | {"state": "output-available", "output": call.result}


def chat(conversation: Conversation) -> Iterator[Message]:
    for turn in turns(conversation):
        if isinstance(turn, User):
            yield Message.of(plain_user(turn))
            continue
        growing = Growing(uuid7())
        for part in (part for step in turn for part in chat_parts(step)):
            growing.add(part)
        growing.end()
        if (message := growing.message()) is not None:
            yield message


def chat_parts(step: Model) -> Iterator[Part]:
    yield Reasoning(step.reasoning)
    yield step.text
    for call in step.calls:
        yield ToolCall(call.id, call.name, call.input)
    for call in step.answers:
        failed = text_of(call.result) if call.state == "failed" else None
        yield ToolResult(call.id, call.result, error=failed)


def aui_messages(conversation: Conversation) -> Iterator[Form]:
    for number, turn in enumerate(turns(conversation)):
        if isinstance(turn, User):
            files: list[JsonValue] = [{"type": "image", "image": each.url} for each in turn.files]
            yield {"id": f"aui{number}", "role": "user", "content": [*files, {"type": "text", "text": turn.text}]}
            continue
        content: list[JsonValue] = []
        for step in turn:
            content += block_if(step.reasoning, {"type": "reasoning", "text": step.reasoning})
            content += block_if(step.text, {"type": "text", "text": step.text})
            content += map(aui_call, step.calls)
        status: Form = {"type": "complete", "reason": "stop"}
        yield {"id": f"aui{number}", "role": "assistant", "content": content, "status": status}


def aui_call(call: Call) -> Form:
    text = json.dumps(call.input)
    part: Form = {"type": "tool-call", "toolCallId": call.id, "toolName": call.name, "argsText": text}
    part["args"] = {**call.input}
    failed: Form = {"isError": True} if call.state == "failed" else {}
    return part if call.state == "abandoned" else part | {"result": call.result, **failed}


@functools.cache
def application() -> tuple[PostgresStorage, FastAPI]:
    """Return a storage and its routes for ada. One for all tests: its first requests take a tenth of a second."""
    storage, app = PostgresStorage("postgresql://nowhere/none"), FastAPI()
    app.include_router(web.router(storage, user=lambda: "ada", chosen_ids="any"))
    return storage, app


def client(storage: PostgresStorage) -> httpx2.AsyncClient:
    """Return a client of ada's routes."""
    kept, app = application()
    kept.__dict__ = storage.__dict__
    transport = httpx2.ASGITransport(app)
    return httpx2.AsyncClient(transport=transport, base_url="http://test/conversations/c1")


async def write_ui_messages(storage: PostgresStorage, conversation: Conversation) -> None:
    async with client(storage) as http:
        body = {"messages": list(ui_messages(conversation)), "rewind": True}
        assert (await http.post("/ui-messages", json=body)).status_code == 200


async def write_aui(storage: PostgresStorage, conversation: Conversation) -> None:
    before: str | None = None
    async with client(storage) as http:
        for message in aui_messages(conversation):
            id = str(message.pop("id"))
            entry = {"parent_id": before, "format": "aui/v0", "content": message}
            assert (await http.put(f"/history/{id}", json=entry)).status_code == 200
            before = id


# --- frameworks ---------------------------------------------------------------------------------------------------


async def write_openai_agents(storage: PostgresStorage, conversation: Conversation) -> None:
    items: list[Any] = list(response_items(conversation))
    await VoltMemSession("c1", storage, user_id="ada").add_items(list[TResponseInputItem](items))


async def write_pydantic_ai(storage: PostgresStorage, conversation: Conversation) -> None:
    await save_history(storage.conversation("ada", "c1"), list(model_messages(conversation)))


def model_messages(conversation: Conversation) -> Iterator[ModelMessage]:
    for step in conversation:
        if isinstance(step, User):
            files = [
                BinaryContent.from_data_uri(each.url) if is_inline(each) else ImageUrl(each.url) for each in step.files
            ]
            content: list[UserContent] = [step.text, *files]
            yield ModelRequest([UserPromptPart(content if files else step.text)])
            continue
        thought = [ThinkingPart(step.reasoning)] if step.reasoning else []
        said = [TextPart(step.text)] if step.text else []
        calls = [ToolCallPart(call.name, call.input, call.id) for call in step.calls]
        yield ModelResponse([*thought, *said, *calls])
        if step.answers:
            yield ModelRequest([pydantic_ai_result(call) for call in step.answers])


def pydantic_ai_result(call: Call) -> ToolReturnPart:
    return ToolReturnPart(call.name, call.result, call.id, outcome="failed" if call.state == "failed" else "success")


async def write_langchain(storage: PostgresStorage, conversation: Conversation) -> None:
    await VoltMemChatMessageHistory(storage, "ada", "c1").aadd_messages(list(langchain_messages(conversation)))


def langchain_messages(conversation: Conversation) -> Iterator[BaseMessage]:
    for step in conversation:
        if isinstance(step, User):
            files = [{"type": "image_url", "image_url": {"url": each.url}} for each in step.files]
            yield HumanMessage([{"type": "text", "text": step.text}, *files] if files else step.text)
            continue
        calls = [{"id": call.id, "name": call.name, "args": {**call.input}} for call in step.calls]
        thought = [{"type": "reasoning", "reasoning": step.reasoning}] if step.reasoning else []
        said: Any = [*thought, {"type": "text", "text": step.text}] if thought else step.text
        yield AIMessage(said, tool_calls=calls)
        for call in step.answers:
            status = "error" if call.state == "failed" else "success"
            yield ToolMessage(text_of(call.result), tool_call_id=call.id, name=call.name, status=status)


async def write_agno(storage: PostgresStorage, conversation: Conversation) -> None:
    """Let an agent of Agno run each question, with a model that says what the conversation has, and its tool."""
    steps = list(conversation)
    results: list[JsonValue] = []

    def weather(city: str) -> Any:
        """Return the weather in a city."""
        return results.pop(0)

    def answer(_: Sequence[Any]) -> AgnoResponse:
        step = steps.pop(0)
        assert isinstance(step, Model)
        results.extend(call.result for call in step.calls)
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.input)},
            }
            for call in step.calls
        ]
        return AgnoResponse(role="assistant", content=step.text or None, tool_calls=calls)

    model = AgnoModel(answer=answer)
    agent = agno_agent(VoltMemDb(storage), model, session_id="c1", tools=[weather])
    while steps:
        step = steps.pop(0)
        assert isinstance(step, User)
        await agent.arun(step.text)


@dataclass
class AgnoModel(FakeModel):
    """A model of Agno that is answered by a function."""

    answer: Callable[[Sequence[Any]], AgnoResponse] = field(default=lambda _: AgnoResponse(content="ok"))
    last: list[Any] = field(default_factory=list)
    """The messages of the last request."""

    def reply(self, messages: Sequence[Any]) -> AgnoResponse:
        self.last = list(messages)
        return self.answer(messages)


def added(form: Callable[[Conversation], Iterator[MessageLike]]) -> Write:
    """Return the writer that passes messages in a form to add_messages() as they are."""

    async def write(storage: PostgresStorage, conversation: Conversation) -> None:
        await storage.add_messages(form(conversation), "ada", "c1")

    return write
