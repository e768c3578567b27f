"""The plain form beside a framework's own one."""

from __future__ import annotations

from typing import Final

import pytest
from pydantic import JsonValue

from voltmem import Message, NativeMessage

PNG: Final = "iVBORw0KGgo="

IN_RESULTS: Final[dict[str, dict[str, JsonValue]]] = {
    "responses": {
        "type": "function_call_output",
        "call_id": "k1",
        "output": [{"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}],
    },
    "responses: a screenshot": {
        "type": "computer_call_output",
        "call_id": "k1",
        "output": {"type": "computer_screenshot", "image_url": f"data:image/png;base64,{PNG}"},
    },
    "ai sdk": {
        "id": "m1",
        "role": "assistant",
        "parts": [
            {
                "type": "tool-shot",
                "toolCallId": "k1",
                "state": "output-available",
                "input": {},
                "output": {"type": "content", "value": [{"type": "media", "mediaType": "image/png", "data": PNG}]},
            }
        ],
    },
    "anthropic": {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {
                "type": "mcp_tool_result",
                "tool_use_id": "k1",
                "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}],
            }
        ],
    },
}


@pytest.mark.parametrize("given", IN_RESULTS.values(), ids=IN_RESULTS)
def test_the_plain_form_beside_another_has_no_bytes(given: dict[str, JsonValue]) -> None:
    """They are in the framework's own form, once, and no text."""
    message = Message.of(given)

    assert isinstance(message, NativeMessage)
    assert PNG in str(message.payload)
    assert PNG not in str(message.content)
    assert PNG not in message.text


@pytest.mark.parametrize("address", ["voltmem:file/" + "1" * 64, f"data:image/png;base64,{PNG}"])
def test_the_address_of_a_file_in_a_result_is_no_text(address: str) -> None:
    """A preview shows what a tool said."""
    shown: JsonValue = {"type": "image", "url": address}
    result: JsonValue = {"type": "tool-result", "toolCallId": "k1", "result": ["done", shown]}

    assert Message(role="tool", content=[result]).text == "done"


RESULT_BLOCK: Final[JsonValue] = {"type": "tool_result", "tool_use_id": "k1", "content": "4 °C"}


def test_nobody_says_a_message_of_nothing_but_results() -> None:
    """Anthropic's user sends the results of tools; the last that a person said is what a preview shows."""
    text: JsonValue = {"type": "text", "text": "Thanks."}

    assert Message.of({"role": "user", "content": [RESULT_BLOCK]}).type == "tool-result"
    assert Message.of({"role": "user", "content": [RESULT_BLOCK, text]}).type == "text"
    assert Message.of({"role": "user", "content": [RESULT_BLOCK], "type": "mine"}).type == "mine"
