"""
A list of items of OpenAI's Responses API: their types, and the rules that the API has for items among each other.

https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from voltmem.parts._steps import SYSTEM_ROLES
from voltmem.parts._types import JsonObject, string

CUSTOM: Final = "custom_tool_call"
# The calls that an item of their own answers, with the field of their arguments.
CALLS: Final = {
    "function_call": "arguments",
    CUSTOM: "input",
    "computer_call": "action",
    "shell_call": "action",
    "local_shell_call": "action",
    "apply_patch_call": "operation",
    "tool_search_call": "arguments",
}
RESULTS: Final = frozenset({f"{call}_output" for call in CALLS} - {"tool_search_call_output"} | {"tool_search_output"})
APPROVAL_REQUEST: Final = "mcp_approval_request"
APPROVAL_RESPONSE: Final = "mcp_approval_response"
# The calls that OpenAI runs itself: the item has the result as well, with these fields.
HOSTED: Final = {
    "web_search_call": ("action", "results"),
    "file_search_call": ("queries", "results"),
    "code_interpreter_call": ("code", "outputs"),
    "image_generation_call": ("prompt", "result"),
    "mcp_call": ("arguments", "output"),
}
PROGRAM: Final = "program"
PROGRAM_OUTPUT: Final = "program_output"
TOOLS: Final = "additional_tools"
# What an application adds for the model's next response.
SETTINGS: Final = frozenset({"configuration_update", "compaction_trigger"})
ITEMS: Final = frozenset({*CALLS, *RESULTS, *HOSTED, "reasoning", APPROVAL_REQUEST, APPROVAL_RESPONSE}) | {
    "mcp_list_tools",
    "item_reference",
    "compaction",
    "message",
    PROGRAM,
    PROGRAM_OUTPUT,
    TOOLS,
    *SETTINGS,
}
"""The types of all items: those of openai's ResponseInputItemParam."""
ROLES: Final = frozenset({"user", "assistant", "system", "developer", "tool"})
OF_TOOLS: Final = RESULTS | {APPROVAL_RESPONSE}
LEFT_OUT: Final = "left out"
_REFERENCE: Final = "item_reference"
# The model's items that the API refuses without their id.
_ID_IS_REQUIRED: Final = frozenset({*HOSTED, "computer_call", "local_shell_call", APPROVAL_REQUEST, PROGRAM})
_PARSED: Final = frozenset({"parsed", "parsed_arguments"})


def complete(items: Sequence[JsonObject]) -> list[JsonObject]:
    """
    Return the items by the API's rule: a reasoning is followed by its item, and an item by its id has its reasoning.

    Nothing tells whether a reasoning before an item was deleted, or is before the beginning. So an item has its id only
    directly after a reasoning. Elsewhere it is sent as a new one, without its id, which needs none; one that must have
    its id stays, but not at the beginning or where its response has reasoning elsewhere: then it is left out, with its
    result. One that comes after others of the same reasoning stays, since that is there. A reasoning is left out if no
    item with an id comes directly after it.
    """
    return _without_orphans(list(_with_reasoning(list(map(_as_sent, items)))))


def _as_sent(item: JsonObject) -> JsonObject:
    """Return the item without what the API refuses in a request: nulls, and what the package openai has parsed."""
    kept = _given(item)
    action, content = kept.get("action"), kept.get("content")
    if isinstance(action, dict):
        kept["action"] = _given(action)
    if isinstance(content, list):
        kept["content"] = [_given(block) if isinstance(block, dict) else block for block in content]
    return kept if kept != item else item


def _given(fields: JsonObject) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None and name not in _PARSED}


def _with_reasoning(items: Sequence[JsonObject]) -> Iterator[JsonObject]:
    before: JsonObject | None = None  # the reasoning directly before the item
    is_cut = True  # whether the first items of the response may be missing
    is_reasoned = False  # whether the model made the item after a reasoning that is there, with others in between
    for item, reasons in zip(items, _reasons(items), strict=True):
        if _is_reasoning(item):
            before = item
            continue
        if is_from_model(item) or item.get("type") == _REFERENCE:
            has_id = before is not None and string(before, "id") != ""
            if before is not None and (not has_id or string(item, "id")):
                yield before  # without an id it demands no other item
            is_reasoned = has_id or (is_reasoned and before is None)
            may_lack = before is None and not is_reasoned and (is_cut or reasons)
            yield from [item] if has_id else _as_new(item, may_lack=may_lack)
        else:
            is_reasoned = False
            if LEFT_OUT not in item:
                is_cut = is_cut and not _ends_response(item)
                yield item
        before = None


def _reasons(items: Sequence[JsonObject]) -> list[bool]:
    """Return for each item whether its response has reasoning, before it or after it."""
    number, responses, reasoned = 0, list[int](), set[int]()
    for item in items:
        number += _ends_response(item)
        responses.append(number)
        reasoned |= {number} if _is_reasoning(item) else set()
    return [each in reasoned for each in responses]


def _is_reasoning(item: JsonObject) -> bool:
    type = item.get("type")
    return type == "reasoning" or (type == _REFERENCE and string(item, "id").startswith("rs_"))


def _ends_response(item: JsonObject) -> bool:
    """Return whether the application has made the item, so that what follows is of the model's next response."""
    role, type = string(item, "role"), string(item, "type")
    return role not in ("", *SYSTEM_ROLES) or (type in OF_TOOLS and not is_hosted_search(item))


def is_from_model(item: JsonObject) -> bool:
    """Return whether the model has made the item, which is not a reasoning."""
    type = string(item, "type")
    return item.get("role") == "assistant" or type in CALLS or type in _ID_IS_REQUIRED


def _as_new(item: JsonObject, *, may_lack: bool) -> list[JsonObject]:
    """Return the item without its id, or if it must have one, the item itself unless its reasoning *may_lack*."""
    type = string(item, "type")
    if type in _ID_IS_REQUIRED:
        return [] if may_lack else [item]
    return [item if type == _REFERENCE else without(item, "id")]


def without(item: JsonObject, field: str) -> JsonObject:
    return {name: value for name, value in item.items() if name != field}


def _without_orphans(items: Sequence[JsonObject]) -> list[JsonObject]:
    """Return the items without the results of calls that are not there, and the answers to requests that are not."""
    asked: set[str] = set()
    found: list[JsonObject] = []
    for item in items:
        type = string(item, "type")
        if type in CALLS or type in (APPROVAL_REQUEST, PROGRAM):
            asked.add(string(item, "call_id", "id"))
        is_answer = type == PROGRAM_OUTPUT or (type in OF_TOOLS and not is_hosted_search(item))
        if not is_answer or string(item, "approval_request_id", "call_id", "id") in asked:
            found.append(_called_directly(item) if _caller(item) not in asked else item)
    return found


def _caller(item: JsonObject) -> str:
    """Return the call_id of the program that has made a call; "" for one that the model made."""
    caller = item.get("caller")
    return string(caller, "caller_id") if isinstance(caller, dict) else ""


def _called_directly(item: JsonObject) -> JsonObject:
    return without(item, "caller") if _caller(item) else item


def with_approvals(items: Sequence[JsonObject]) -> list[JsonObject]:
    """Return the items without the requests for approval that have no response. Their places stay."""
    answered = {string(item, "approval_request_id") for item in items if item.get("type") == APPROVAL_RESPONSE}
    return [
        {LEFT_OUT: True} if item.get("type") == APPROVAL_REQUEST and string(item, "id") not in answered else item
        for item in items
    ]


def is_hosted_search(item: JsonObject) -> bool:
    """Return whether OpenAI itself has searched the tools: then call and result have no call_id."""
    return item.get("type") in ("tool_search_call", "tool_search_output") and item.get("call_id") is None
