"""With files="extract", base64 in a framework's payload is a file, and the payload comes back equal."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from hashlib import sha256
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.areas.transfer.exported import OTHER
from tests.conftest import Connection, MakeStorage
from tests.properties import examples
from tests.values import alike, any_json
from voltmem import InvalidLineError, NativeMemory, NativeMessage, PostgresStorage
from voltmem._areas.files import CHUNK_BYTES
from voltmem._values import to_json

PICTURE = bytes(range(256)) * 12
DATA = b64encode(PICTURE).decode()
ID = sha256(PICTURE).hexdigest()
TOKEN = f"\\u0076oltmem:file/{ID}"


@pytest.fixture
async def extracting(make_storage: MakeStorage) -> PostgresStorage:
    storage = make_storage(files="extract", search=True)
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    return storage


def native(payload: JsonValue, id: str = "m1") -> NativeMessage:
    return NativeMessage(id=id, role="user", content="plain", format="mine", payload=payload)


async def payload_of(storage: PostgresStorage, id: str = "m1") -> JsonValue:
    return (await NativeMemory(storage, "ada", "c1").messages_by_id([id]))[id].payload


async def stored(connection: Connection, storage: PostgresStorage) -> list[str]:
    """Return the payloads as they are stored."""
    rows = await connection.fetch(f"SELECT payload::text AS text FROM {storage._options.tables.messages} ORDER BY seq")
    return [row["text"] for row in rows]


async def files(connection: Connection, storage: PostgresStorage) -> int:
    found: int = await connection.fetchval(f"SELECT count(*) FROM {storage._options.tables.files}")
    return found


async def test_add_message_stores_base64_of_a_payload_as_a_file(
    extracting: PostgresStorage, connection: Connection
) -> None:
    """Base64 that is a string, or ends a data: URL, is stored once as a file of the owner, and nowhere else."""
    payload: JsonValue = {"a": DATA, "b": [f"data:image/png;base64,{DATA}"], "c": DATA[:1000]}

    added = await extracting.add_message(native(payload), "ada", "c1")

    assert isinstance(added, NativeMessage)
    assert (added.payload, added.content) == (payload, "plain")
    assert await payload_of(extracting) == payload
    (text,) = await stored(connection, extracting)
    assert text == f'{{"a":"{TOKEN}","b":["data:image/png;base64,{TOKEN}"],"c":"{DATA[:1000]}"}}'
    assert b"".join([piece async for piece in extracting.read_file("ada", ID)]) == PICTURE
    assert await files(connection, extracting) == 1
    await extracting.delete_conversation("c1")
    assert await files(connection, extracting) == 0


async def test_add_message_stores_base64_of_either_alphabet(
    extracting: PostgresStorage, connection: Connection
) -> None:
    """Pydantic AI writes the alphabet that is safe in URLs: the file is the same, and the payload comes back equal."""
    content = b"\xfb\xef\xff" * 1000
    data = [b64encode(content).decode(), urlsafe_b64encode(content).decode()]
    assert data[0] != data[1]
    payload: JsonValue = {"both": [*data, f"data:image/png;base64,{data[1]}"], "mixed": data[0][:2000] + data[1][:2000]}

    await extracting.add_message(native(payload), "ada", "c1")

    assert await payload_of(extracting) == payload
    assert await files(connection, extracting) == 1
    (text,) = await stored(connection, extracting)
    assert len(text) < 5000


async def test_add_message_keeps_no_bytes_of_a_tools_result_in_the_plain_content(
    extracting: PostgresStorage, connection: Connection
) -> None:
    """A picture that a tool returned is a file; the plain content has its address."""
    output = [{"type": "input_image", "image_url": f"data:image/png;base64,{DATA}"}]
    item = {"type": "function_call_output", "call_id": "k1", "output": output}

    added = await extracting.add_message(item, "ada", "c1")

    assert DATA not in str(added.content)
    assert f"voltmem:file/{ID}" in str(added.content)
    rows = await connection.fetch(f"SELECT m::text AS row FROM {extracting._options.tables.messages} AS m")
    assert [row["row"] for row in rows if DATA[:100] in row["row"]] == []
    (read,) = await extracting.get_messages("ada", "c1")
    assert isinstance(read, NativeMessage)
    assert read.payload == item


async def test_add_message_keeps_the_reference_in_the_plain_content(
    extracting: PostgresStorage, connection: Connection
) -> None:
    """The plain content that is derived from the payload has the address of the file; the payload has the bytes."""
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}
    given = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture], "name": "ada"}

    added = await extracting.add_message({**given, "id": "m1"}, "ada", "c1")

    assert added.content == [
        {"type": "text", "text": "What is it?"},
        {"type": "file", "mediaType": "image/png", "url": f"voltmem:file/{ID}"},
    ]
    (read,) = await extracting.get_messages("ada", "c1")
    assert read == added
    assert await payload_of(extracting) == {key: value for key, value in given.items() if key != "id"}
    row = await connection.fetchrow(f"SELECT * FROM {extracting._options.tables.messages}")
    assert row is not None
    assert DATA[:100] not in repr(tuple(row))


async def test_add_message_of_a_growing_answer_stores_its_file_once(
    extracting: PostgresStorage, connection: Connection
) -> None:
    """An answer that is saved again and again keeps its file, in one call and in several at once."""
    for text in ("a", "ab", "abc"):
        await extracting.add_message(native({"text": text, "picture": DATA}), "ada", "c1")
    await extracting.add_messages([native({"picture": DATA}, f"m{n}") for n in range(2, 5)], "ada", "c1")

    assert await payload_of(extracting) == {"text": "abc", "picture": DATA}
    assert await files(connection, extracting) == 1
    await extracting.add_message(native({"text": "abcd"}), "ada", "c1")
    await extracting.delete_messages(["m2", "m3"], "ada", "c1")
    assert await payload_of(extracting, "m4") == {"picture": DATA}
    await extracting.delete_messages(["m4"], "ada", "c1")
    assert await files(connection, extracting) == 0


async def test_add_message_of_a_file_that_is_there_uses_it(extracting: PostgresStorage, connection: Connection) -> None:
    """If the user has uploaded the same content, the payload refers to that file; of several chunks, too."""
    large = PICTURE * (2 * CHUNK_BYTES // len(PICTURE) + 1)
    await extracting.put_file("ada", PICTURE)
    payload: JsonValue = [DATA, b64encode(large).decode(), b64encode(large[:-1]).decode()]

    await extracting.add_message(native(payload), "ada", "c1")

    assert await payload_of(extracting) == payload
    assert await files(connection, extracting) == 3


async def test_add_message_that_is_refused_stores_no_file(extracting: PostgresStorage, connection: Connection) -> None:
    """A message for another user's conversation, or for one that is missing, leaves no file."""
    for user, conversation in (("bob", "c1"), ("ada", "missing")):
        with pytest.raises(LookupError):
            await extracting.add_message(native(DATA), user, conversation)

    assert await files(connection, extracting) == 0


async def test_every_reader_of_a_payload_fills_it_in(extracting: PostgresStorage, make_storage: MakeStorage) -> None:
    """Whatever reads a message's payload gets the bytes, also in a process with files="inline", also pop()."""
    await extracting.add_message(native({"picture": DATA}), "ada", "c1")
    inline = make_storage()

    for storage in (extracting, inline):
        memory = NativeMemory(storage, "ada", "c1")
        assert [each.payload for each in await memory.native_messages()] == [{"picture": DATA}]
        assert [each.payload for each in await memory.newest_messages()] == [{"picture": DATA}]
        assert [each.payload for each in await memory.messages_since("mine", 1)] == [{"picture": DATA}]
        assert [each.payload for each, _ in await memory.messages_of_all_branches(9)] == [{"picture": DATA}]
        (read,) = await storage.get_messages("ada", "c1")
        assert isinstance(read, NativeMessage)
        assert read.payload == {"picture": DATA}
        assert any(DATA in line for line in [line async for line in storage.export_user("ada")])
    fork = await inline.fork_conversation("c1")
    await inline.update_conversation(fork.id, user_id="bob")
    popped = await memory.pop()
    assert popped is not None
    assert popped.payload == {"picture": DATA}
    (copy,) = await NativeMemory(inline, "bob", fork.id).newest_messages()
    assert copy.payload == {"picture": DATA}


async def test_import_user_extracts_as_add_message_does(make_storage: MakeStorage, connection: Connection) -> None:
    """Imported with files="extract", payloads have no bytes either; with any option they are read as they were."""
    payload: JsonValue = {"picture": DATA}
    storage = make_storage(files="inline")
    await storage.add_messages([native(payload), native(payload, "m2")], "ada", "c1", resource_id="r")
    lines = [line async for line in storage.export_user("ada")]
    numbers = count()

    for options in ({"files": "extract"}, {"files": "inline"}):
        other = make_storage(table_prefix=f"{OTHER}{next(numbers)}", **options)  # type: ignore[arg-type]
        assert (await other.import_user("ada", lines)).messages == 2
        assert await payload_of(other) == await payload_of(other, "m2") == payload
        assert [DATA in text for text in await stored(connection, other)] == [options["files"] == "inline"] * 2
        assert await files(connection, other) == (options["files"] == "extract")


# --- any JSON -------------------------------------------------------------------------------------------------------

_long = st.binary(min_size=750, max_size=800).map(lambda given: b64encode(given * 2).decode())
_looking_like_it = _long.flatmap(
    lambda data: st.sampled_from(
        [
            data,
            f"data:image/png;base64,{data}",
            f"data:image/png;base64,{data}\n",
            f"{data}=",
            data[:-1],
            f"{data[:700]}\n{data[700:]}",
            urlsafe_b64encode(data.encode()).decode(),
            f'"{data}"',
            f"\\{data}",
            f"\n{data}",
            f",{data}",
            f"\ud800{data}",
            f'{data}","{data}',
            f"{data[:-2]}==",
            data * 3,
        ]
    )
)
_typed = st.sampled_from(
    [f"voltmem:file/{ID}", TOKEN, f'"{TOKEN}"', f";base64,{TOKEN}", f"\\{TOKEN}", f",{TOKEN}", json.dumps(TOKEN), DATA]
)
_strings = _looking_like_it | _typed
payloads = st.recursive(
    any_json | _strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3) | _strings, inner, max_size=4),
    max_leaves=8,
)


@given(payload=payloads)
@examples(60)
async def test_any_payload_comes_back_equal(extracting: PostgresStorage, payload: Any) -> None:
    """Any JSON comes back equal: base64 and what looks like it, and tokens that somebody has typed."""
    message = native([payload, DATA, f"data:a/b;base64,{DATA}", payload])

    await extracting.add_message(message, "ada", "c1")

    assert alike(await payload_of(extracting), message.payload)


async def test_a_payload_is_left_alone_with_inline(make_storage: MakeStorage, connection: Connection) -> None:
    """Without the option, nothing is taken out."""
    storage = make_storage()
    await storage.add_message(native(DATA), "ada", "c1", resource_id="docs")

    assert await stored(connection, storage) == [json.dumps(DATA)]
    assert await files(connection, storage) == 0


def test_files_must_be_one_of_the_options() -> None:
    """Another value of the option is an error that names the valid ones."""
    with pytest.raises(ValueError, match="files 'yes': use one of inline, extract"):
        PostgresStorage("postgresql://localhost/x", files="yes")  # type: ignore[arg-type]


async def test_export_user_has_extracted_bytes_once_and_import_user_puts_them_back(
    extracting: PostgresStorage, make_storage: MakeStorage, connection: Connection
) -> None:
    """The bytes are in the lines of the file. After an import without the option, each payload comes back equal."""
    content = b"\xfb\xef\xff" * 1000
    safe = urlsafe_b64encode(content).decode()
    payloads: list[JsonValue] = [
        {"a": DATA, "b": [f"data:image/png;base64,{DATA}", safe], "c": [f"voltmem:file/{ID}", f'",voltmem:file/{ID}"']},
        {"typed": [f"voltmem:inlined/{ID}", TOKEN, f",{TOKEN}", DATA]},
    ]
    await extracting.add_messages([native(each, f"m{n}") for n, each in enumerate(payloads)], "ada", "c1")
    lines = [each async for each in extracting.export_user("ada")]
    other = make_storage(table_prefix=OTHER)

    await other.import_user("lovelace", lines)

    inlined = [json.loads(each).get("inlined") for each in lines if json.loads(each)["kind"] == "message"]
    assert inlined == [True, None]
    assert [sum(data in each for each in lines) for data in (DATA[:1000], safe)] == [2, 0]  # the file, and the second
    read = await NativeMemory(other, "lovelace", "c1").messages_by_id(["m0", "m1"])
    assert [read[id].payload for id in ("m0", "m1")] == payloads
    assert await stored(connection, other) == [(await stored(connection, extracting))[0], to_json(payloads[1])]
    await other.delete_conversation("c1")
    assert await files(connection, other) == 0


async def test_import_user_refuses_a_message_whose_file_is_missing(
    extracting: PostgresStorage, make_storage: MakeStorage
) -> None:
    """Without the lines of the file, the message would be stored without its bytes."""
    await extracting.add_message(native({"a": DATA}), "ada", "c1")
    lines = [each async for each in extracting.export_user("ada")]
    cut = [each for each in lines if json.loads(each)["kind"] not in ("file", "chunk")]
    other = make_storage(table_prefix=OTHER)

    with pytest.raises(InvalidLineError, match=f"has the content of file {ID}, which is not in the lines above"):
        await other.import_user("lovelace", cut)

    assert await other.query_conversations() == []
