"""
The bodies of messages in the forms that voltmem.parts knows, as they go to a model or come from one.

Which form a body has, voltmem.parts decides. These models are for the OpenAPI document, and check what goes into
columns of ours.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SkipValidation,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from voltmem._values import is_storable
from voltmem.parts import gemini, openai_chat, responses
from voltmem.parts._forms import form_of
from voltmem.parts._items import ITEMS
from voltmem.web._payloads import Body, Json, JsonObject, ListOf, NewMessage, NewMessageId, how_many

_ITEMS: Final[list[JsonValue]] = [*sorted(ITEMS - {"message"})]


def _string(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _word(value: object) -> object:
    if not _string(value):
        raise ValueError("must not be empty")
    return value


# pydantic refuses a string with a lone surrogate, which a model may write in the name of a tool, and which is stored
# and given to front ends as it came.
AnyString: TypeAlias = Annotated[SkipValidation[str], AfterValidator(_string), WithJsonSchema({"type": "string"})]
AnyWord: TypeAlias = Annotated[
    SkipValidation[str], AfterValidator(_word), WithJsonSchema({"type": "string", "minLength": 1})
]


def _one_of_these(names: frozenset[str]) -> list[JsonValue]:
    """Return JSON Schemas of objects that have one of these fields, and not null."""
    return [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in sorted(names)]


class MessageInForm(Body):
    """A message in a form of its own. Other fields are stored unchanged."""

    model_config = ConfigDict(extra="allow", alias_generator=None)

    _given: dict[str, JsonValue] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, value: JsonValue, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Keep the body as it came. A name with a lone surrogate is one that pydantic refuses."""
        if not isinstance(value, dict):
            return validate(value)
        made = validate({name: each for name, each in value.items() if is_storable(name)})
        made._given = value
        return made

    def given(self) -> dict[str, JsonValue]:
        """Return the message as it came."""
        return dict(self._given)


class _WithOurs(MessageInForm):
    id: NewMessageId | None = None
    """Unique in the conversation. An existing message with this id is replaced. Generated if left out."""
    metadata: JsonObject | None = None
    """Not for the model."""

    @model_validator(mode="before")
    @classmethod
    def _has_no_place(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if given := {"created_at", "createdAt", "parent_id"} & value.keys():
            raise ValueError(f"{', '.join(sorted(given))}: leave it out; a message follows the last one")
        return value


class ChatMessage(_WithOurs):
    """A message of OpenAI's Chat Completions, with one of the fields that messages have beside role and content."""

    model_config = ConfigDict(json_schema_extra={"anyOf": _one_of_these(openai_chat.FIELDS)})

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Json = None
    tool_calls: ListOf[JsonObject] | None = None
    tool_call_id: AnyString | None = None


class ResponsesItem(MessageInForm):
    """An item of OpenAI's Responses API without a role: a call, an output, reasoning."""

    type: Annotated[str, Field(json_schema_extra={"enum": _ITEMS})]
    role: None = None


class ResponsesTools(MessageInForm):
    """Tools that an application adds for the next response of OpenAI's Responses API."""

    type: Literal["additional_tools"]
    role: Literal["developer"]
    tools: list[Json]


class ResponsesMessage(MessageInForm):
    """A message of OpenAI's Responses API, as the API returns it."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer", "tool"]
    status: AnyString
    content: Json


class AnthropicMessage(MessageInForm):
    """A message of Anthropic's Messages API, as the API returns it."""

    type: Literal["message"]
    role: Literal["user", "assistant"]
    model: AnyString
    content: ListOf[JsonObject]


class UIPart(MessageInForm):
    """A part of a UIMessage: text, reasoning, tool-NAME, file, and so on. Stored unchanged."""

    type: AnyWord


class UIMessage(MessageInForm):
    """A message of the AI SDK's useChat. Stored unchanged."""

    id: NewMessageId
    role: Literal["system", "user", "assistant"]
    parts: Annotated[ListOf[UIPart], Field(max_length=10_000)]
    metadata: Json = None


class Attachment(MessageInForm):
    """A file of a message of assistant-ui. Stored unchanged."""

    content: ListOf[UIPart]


class AssistantUIMessage(MessageInForm):
    """A message of assistant-ui's own, with a status or attachments. Stored unchanged."""

    model_config = ConfigDict(json_schema_extra={"anyOf": _one_of_these(frozenset({"status", "attachments"}))})

    id: NewMessageId | None = None
    role: Literal["system", "user", "assistant"]
    content: Annotated[ListOf[UIPart], Field(max_length=10_000)]
    status: UIPart | None = None
    attachments: ListOf[Attachment] | None = None


_PART: Final[JsonValue] = {"type": "object", "anyOf": [{"required": [name]} for name in sorted(gemini.FIELDS)]}
_PARTS: Final = WithJsonSchema({"type": "array", "minItems": 1, "items": _PART})


class GeminiContent(_WithOurs):
    """A content of Gemini's API. Its parts have no type."""

    role: Literal["user", "model", "function", "tool", "system"] | None = None
    parts: Annotated[SkipValidation[list[JsonValue]], _PARTS]


class LangChainMessage(MessageInForm):
    """A message as LangChain's message_to_dict() returns it."""

    type: Literal["human", "ai", "system", "tool", "function", "chat", "developer"]
    data: JsonObject


class PydanticAIMessage(MessageInForm):
    """A request or a response of Pydantic AI, as its ModelMessagesTypeAdapter writes it."""

    kind: Literal["request", "response"]
    parts: list[Json]


class _AnyOf:
    """Says anyOf in place of oneOf: a body that has the fields of two forms is valid."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        return {"anyOf": schema["oneOf"]}


def _form(value: object) -> str:
    """Return the tag of a message's form."""
    if not isinstance(value, dict):
        return "<plain>"
    given = {name: field for name, field in value.items() if field is not None}
    is_plain = "role" in given and value.keys() <= NewMessage.model_fields.keys()
    form = None if is_plain else form_of(given)
    if form is None:
        return "<plain>"
    if form.format != responses.FORMAT or given.get("type") == "message":
        return f"<{form.format}>"
    if "role" not in given:
        return "<item>"
    return "<tools>" if given.get("type") in _ITEMS else f"<{form.format}>"


AnyMessage: TypeAlias = Annotated[
    Annotated[NewMessage, Tag("<plain>")]
    | Annotated[ChatMessage, Tag("<openai-chat>")]
    | Annotated[ResponsesItem, Tag("<item>")]
    | Annotated[ResponsesTools, Tag("<tools>")]
    | Annotated[ResponsesMessage, Tag("<openai-responses>")]
    | Annotated[AnthropicMessage, Tag("<anthropic>")]
    | Annotated[UIMessage, Tag("<ai-sdk/v7>")]
    | Annotated[AssistantUIMessage, Tag("<aui/v0>")]
    | Annotated[GeminiContent, Tag("<gemini>")]
    | Annotated[LangChainMessage, Tag("<langchain>")]
    | Annotated[PydanticAIMessage, Tag("<pydantic-ai>")],
    Discriminator(_form),
    _AnyOf(),
]


class NewMessages(Body):
    """Messages to store: all of them, or none."""

    messages: Annotated[ListOf[AnyMessage], Field(min_length=1, max_length=1000)]


OneOrSeveral: TypeAlias = Annotated[
    Annotated[AnyMessage, Tag("<one>")] | Annotated[NewMessages, Tag("<several>")], Discriminator(how_many)
]
