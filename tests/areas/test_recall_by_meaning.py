"""recall() finds messages by what they mean, and embed_messages() embeds each message once, whoever works beside it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from tests.calls import PATIENCE
from tests.conftest import Connection, MakeStorage
from tests.proxy import Proxy
from voltmem import EmbeddingError, InvalidOptionError, Moment, PostgresStorage, Recall, SchemaError
from voltmem._areas.meaning import MOST_PIECES, pieces
from voltmem.options import Embed

# Words of one meaning have one number.
MEANINGS: Final = {"dog": 0, "puppy": 0, "hund": 0, "car": 1, "vehicle": 1, "tea": 2, "drink": 2}
DIMENSIONS: Final = 4


class Embedder:
    """Makes vectors by the meanings of words, and records the texts."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.during: Callable[[], object] | None = None

    async def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        self.texts += texts
        await asyncio.sleep(0)
        if self.during is not None and asyncio.iscoroutine(waited := self.during()):
            await waited
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        vector = [0.01] * DIMENSIONS
        for word in text.lower().replace(".", "").replace("?", "").split():
            if word in MEANINGS:
                vector[MEANINGS[word]] += 1
        return vector


def recall(
    embed: Embedder, model: str = "small", *, batch: int = 64, piece: int = 1_000, tool_results: bool = False
) -> Recall:
    return Recall(embed=embed, dimensions=DIMENSIONS, model=model, batch=batch, piece=piece, tool_results=tool_results)


@pytest.fixture
async def embed(connection: Connection) -> Embedder:
    """A function that makes vectors, where the server has pgvector."""
    if not await connection.fetchval("SELECT EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'vector')"):
        pytest.skip("this server has no pgvector")
    return Embedder()


@pytest.fixture
async def storage(make_storage: MakeStorage, migrated: str, embed: Embedder) -> PostgresStorage:
    """A storage with vectors and words, and without a limit."""
    storage = make_storage(search=True, storage_limit=None, recall=recall(embed))
    await storage.open()
    return storage


async def say(storage: PostgresStorage, conversation_id: str, *texts: str, user_id: str = "ada") -> None:
    """Add messages of the user: m0 and so on."""
    messages = [{"id": f"m{n}", "role": "user", "content": text} for n, text in enumerate(texts)]
    await storage.add_messages(messages, user_id, conversation_id, resource_id="docs")


def found(moments: Sequence[Moment]) -> list[tuple[str, str]]:
    return [(moment.conversation.id, moment.message_id) for moment in moments]


# --- what is found ------------------------------------------------------------------------------------------------


async def test_recall_finds_what_means_the_same(storage: PostgresStorage) -> None:
    """A message without a word of the text is found by its meaning; one of another user never is."""
    await say(storage, "c1", "Good morning.", "I have a puppy.")
    await say(storage, "c2", "The vehicle is red.")
    await say(storage, "theirs", "A dog and a hund", user_id="bob")
    assert await storage.embed_messages() == 4

    assert found(await storage.recall("ada", "dog", limit=1, around=0)) == [("c1", "m1")]
    assert found(await storage.recall("ada", "what was the car?", limit=1, around=0)) == [("c2", "m0")]
    assert "theirs" not in [each for each, _ in found(await storage.recall("ada", "dog", limit=100))]
    assert await storage.recall("nobody", "dog") == []
    assert await storage.recall("ada", " ") == []


async def test_recall_needs_no_words_where_it_has_vectors(make_storage: MakeStorage, embed: Embedder) -> None:
    """A storage without search=True recalls by vectors alone."""
    storage = make_storage(storage_limit=None, recall=recall(embed))
    await say(storage, "c1", "I have a puppy.", "The vehicle is red.")
    await storage.embed_messages()

    assert found(await storage.recall("ada", "a dog?", limit=1)) == [("c1", "m0")]


async def test_recall_with_filters_finds_by_meaning_too(storage: PostgresStorage) -> None:
    """The filters of recall() hold for what is found by meaning."""
    await say(storage, "c1", "I have a puppy.", "And tea.")
    await say(storage, "c2", "My dog is old.")
    await storage.embed_messages()
    first = (await storage.get_messages("ada", "c1"))[0]

    assert found(await storage.recall("ada", "hund", conversation_id="c1", around=0))[0] == ("c1", "m0")
    assert found(await storage.recall("ada", "hund", resource_id="other")) == []
    late = await storage.recall("ada", "hund", after=first.created_at, around=0)
    assert found(late)[0] == ("c2", "m0")
    assert ("c1", "m0") not in found(late)
    assert found(await storage.recall("ada", "hund", before=first.created_at)) == []


async def test_recall_follows_what_is_edited_hidden_and_deleted(storage: PostgresStorage) -> None:
    """The vector of an earlier text finds nothing, and neither does one of a hidden or deleted message."""
    await say(storage, "edited", "I have a puppy.")
    await say(storage, "rewound", "Hello.", "My puppy barks.")
    await say(storage, "gone", "A hund.")
    await say(storage, "trash", "A dog.")
    await say(storage, "kept", "Some tea.", "That dog.")
    assert await storage.embed_messages() == 7

    await say(storage, "edited", "I have a vehicle.")
    await storage.rewind_conversation("rewound", "m0")
    await storage.delete_messages(["m0"], "ada", "gone")
    await storage.soft_delete_conversation("trash")

    moments = await storage.recall("ada", "hund", limit=100, around=0)
    assert found(moments)[0] == ("kept", "m1")
    assert {("rewound", "m1"), ("gone", "m0"), ("trash", "m0")}.isdisjoint(found(moments))
    assert await storage.embed_messages() == 1
    assert found(await storage.recall("ada", "car", limit=1, around=0)) == [("edited", "m0")]


async def test_recall_follows_a_conversation_to_its_next_owner(
    storage: PostgresStorage, embed: Embedder, connection: Connection
) -> None:
    """A conversation that changes its owner is found by meaning there at once; one that SQL gave, after embedding."""
    await say(storage, "c1", "I have a puppy.")
    await say(storage, "c2", "My hund.")
    await storage.embed_messages()

    await storage.update_conversation("c1", user_id="bob", owner="ada")
    assert found(await storage.recall("bob", "dog")) == [("c1", "m0")]
    assert found(await storage.recall("ada", "dog")) == [("c2", "m0")]

    await connection.execute(f"UPDATE {storage._options.tables.conversations} SET user_id = 'bob' WHERE id = 'c2'")
    assert found(await storage.recall("ada", "dog")) == []
    assert await storage.embed_messages() == 1
    assert set(found(await storage.recall("bob", "dog"))) == {("c1", "m0"), ("c2", "m0")}


async def test_embed_messages_waits_for_a_new_owner(
    storage: PostgresStorage, embed: Embedder, connection: Connection
) -> None:
    """A vector that is stored while its conversation changes its owner is the new owner's."""
    await say(storage, "c1", "I have a puppy.")
    tables, transaction, given = storage._options.tables, connection.transaction(), asyncio.Event()

    async def give() -> None:
        embed.during = None
        await transaction.start()
        await connection.execute(f"SELECT {tables.hand_over}('c1', 'ada', 'bob')")
        await connection.execute(f"UPDATE {tables.conversations} SET user_id = 'bob' WHERE id = 'c1'")
        given.set()

    embed.during = give  # between the claim and the vector
    embedding = asyncio.create_task(storage.embed_messages())
    async with asyncio.timeout(PATIENCE):
        await given.wait()
        while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await transaction.commit()
    assert await embedding == 1
    assert found(await storage.recall("bob", "dog")) == [("c1", "m0")]


async def test_vectors_of_an_unreleased_version_are_found(
    storage: PostgresStorage, make_storage: MakeStorage, embed: Embedder, connection: Connection
) -> None:
    """A table without the columns by which a user's vectors are found goes by words, until it is upgraded."""
    await say(storage, "c1", "I have a puppy.")
    await storage.embed_messages()
    table = storage._options.tables.embeddings
    await connection.execute(f"ALTER TABLE {table} DROP COLUMN sketch, DROP COLUMN owner_key")
    await storage.update_conversation("c1", user_id="bob")
    assert await make_storage(migrate="check", search=True, recall=recall(embed)).recall("bob", "dog") == []
    assert "vectors" in await storage.upgrade_schema()
    assert found(await make_storage(search=True, recall=recall(embed)).recall("bob", "dog")) == [("c1", "m0")]
    assert await storage.embed_messages() == 0


async def test_recall_of_many_compares_those_with_similar_sketches(storage: PostgresStorage, embed: Embedder) -> None:
    """Of more vectors than are compared, the nearest are found, in any model's sketches."""
    await say(storage, "c1", *(f"tea {'vehicle ' * (n % 7)}" for n in range(600)), "A dog and a vehicle.", "My hund.")
    await storage.embed_messages()
    assert {m.message_id for m in await storage.recall("ada", "puppy", limit=2, around=0)} == {"m600", "m601"}


async def test_recall_by_meaning_is_one_round_trip(
    make_storage: MakeStorage, migrated: str, embed: Embedder, proxy: Proxy
) -> None:
    """The text is embedded before the one statement, and the table is looked for once."""
    storage = make_storage(proxy.dsn, max_connections=1, search=True, storage_limit=None, recall=recall(embed))
    await say(storage, "c1", "I have a puppy.")
    await storage.embed_messages()
    await storage.recall("ada", "dog")
    before = proxy.round_trips

    await storage.recall("ada", "dog")

    assert proxy.round_trips - before == 1


# --- embedding ----------------------------------------------------------------------------------------------------


async def test_embed_messages_embeds_each_text_once(storage: PostgresStorage, embed: Embedder) -> None:
    """What has a vector is not embedded again; blank texts and tools' results never are, unless asked for."""
    await say(storage, "c1", "I have a puppy.", "  ", "Some tea.")
    result = [{"type": "tool-result", "toolCallId": "1", "toolName": "find", "result": "a car"}]
    await storage.add_message({"id": "t1", "role": "tool", "type": "tool-result", "content": result}, "ada", "c1")

    assert await storage.embed_messages(1) == 1
    assert await storage.embed_messages() == 1
    assert await storage.embed_messages() == 0
    assert sorted(embed.texts) == ["I have a puppy.", "Some tea."]


async def test_embed_messages_embeds_tools_if_asked(make_storage: MakeStorage, embed: Embedder) -> None:
    """With tool_results=True, the calls and results of tools are embedded, too."""
    storage = make_storage(storage_limit=None, recall=recall(embed, tool_results=True))
    result = [{"type": "tool-result", "toolCallId": "1", "toolName": "find", "result": "a car"}]
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message({"id": "t1", "role": "tool", "type": "tool-result", "content": result}, "ada", "c1")

    assert await storage.embed_messages() == 1


async def test_embed_messages_cuts_long_texts(make_storage: MakeStorage, embed: Embedder) -> None:
    """A long text has a vector for each piece, by any of which it is found; a shorter one afterwards has fewer."""
    storage = make_storage(storage_limit=None, recall=recall(embed, piece=100))
    await say(storage, "c1", f"{'Nothing much. ' * 20} My puppy.", "Some tea.")
    assert await storage.embed_messages() == 2
    assert len(embed.texts) > 3

    assert found(await storage.recall("ada", "dog", limit=1)) == [("c1", "m0")]
    await say(storage, "c1", "A vehicle.")
    assert await storage.embed_messages() == 1
    assert found(await storage.recall("ada", "car", limit=1)) == [("c1", "m0")]


async def test_embed_messages_in_several_workers_embeds_nothing_twice(
    make_storage: MakeStorage, embed: Embedder
) -> None:
    """Workers that begin at the same time share the messages."""
    workers = [make_storage(storage_limit=None, recall=recall(embed, batch=3)) for _ in range(4)]
    await say(workers[0], "c1", *(f"puppy {n}" for n in range(40)))

    counts = await asyncio.gather(*(worker.embed_messages() for worker in workers))

    assert sum(counts) == 40
    assert sorted(embed.texts) == sorted(f"puppy {n}" for n in range(40))


async def test_embed_messages_takes_what_a_killed_worker_had(
    storage: PostgresStorage, embed: Embedder, connection: Connection
) -> None:
    """What a worker had claimed is taken when its lease has ended, and the late worker stores nothing."""
    await say(storage, "c1", "I have a puppy.")
    table = storage._options.tables.embeddings

    async def die() -> None:
        embed.during = None
        assert await storage.embed_messages() == 0, "claimed"
        await connection.execute(f"UPDATE {table} SET claimed_until = now() - interval '1 second'")
        assert await storage.embed_messages() == 1

    embed.during = die

    assert await storage.embed_messages() == 0
    assert len(embed.texts) == 2


async def test_embed_messages_stores_nothing_for_what_changes_meanwhile(
    storage: PostgresStorage, embed: Embedder
) -> None:
    """A message deleted meanwhile has no vector, and one edited meanwhile is embedded again."""
    await say(storage, "c1", "I have a puppy.", "Some tea.")

    async def change() -> None:
        embed.during = None
        await storage.delete_messages(["m1"], "ada", "c1")
        await say(storage, "c1", "I have a vehicle.")

    embed.during = change

    assert await storage.embed_messages() == 1, "that of the earlier text"
    assert found(await storage.recall("ada", "hund", limit=1)) != [("c1", "m1")]
    assert await storage.embed_messages() == 1
    assert found(await storage.recall("ada", "car", limit=1)) == [("c1", "m0")]
    assert await storage.embed_messages() == 0


async def test_embed_messages_goes_on_after_a_failure(storage: PostgresStorage, embed: Embedder) -> None:
    """What embed() raises for any text is raised; another call embeds the rest, without waiting for the lease."""
    await say(storage, "c1", *(f"puppy {n}" for n in range(200)))

    def fail() -> None:
        raise RuntimeError("no service")

    embed.during = fail
    with pytest.raises(RuntimeError, match="no service"):
        await storage.embed_messages()
    assert len(embed.texts) == 65, "a batch, and one text that looks whether it works at all"

    embed.during = None
    assert await storage.embed_messages() == 200


def refusing(embed: Embedder, word: str, calls: list[int] | None = None) -> Embed:
    """Return embed(), refusing all texts of a call if one has the word."""

    async def some(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        if calls is not None:
            calls.append(len(texts))
        if any(word in text for text in texts):
            raise RuntimeError("400")
        return await embed(texts)

    return some


async def test_embed_messages_leaves_out_only_what_is_refused(make_storage: MakeStorage, embed: Embedder) -> None:
    """A message that embed() refuses is named at the end, and all others are embedded, however many are refused."""
    calls: list[int] = []
    option = Recall(embed=refusing(embed, "poison", calls), dimensions=DIMENSIONS, model="small", batch=16)
    storage = make_storage(storage_limit=None, recall=option)
    await say(storage, "c1", "A puppy.", "Some poison.", "Some tea.")
    await say(storage, "c2", *(f"puppy {n}" for n in range(30)), user_id="bob")

    with pytest.raises(EmbeddingError, match=r"refused 1 messages.*'m1' of conversation 'c1'.*400") as raised:
        await storage.embed_messages()
    assert raised.value.refused == [("c1", "m1")]
    assert await storage.count_embeddings() == {"small (4, 1000)": 32}
    assert len(calls) == 12, "three batches, eight halves, and one text that looks whether it works at all"

    calls.clear()
    await say(storage, "c0", *["poison"] * 40)
    await say(storage, "c3", "A dog.")
    with pytest.raises(EmbeddingError, match=r"refused 41 messages.* 36 more"):
        await storage.embed_messages()
    assert await storage.count_embeddings() == {"small (4, 1000)": 33}


async def test_a_background_task_goes_on_after_what_is_refused(
    make_storage: MakeStorage, embed: Embedder, caplog: pytest.LogCaptureFixture
) -> None:
    """With every=, a refused message is named in the log once, and all others are embedded, those added later too."""
    option = Recall(embed=refusing(embed, "poison"), dimensions=DIMENSIONS, model="small", every=0.01, batch=4)
    storage = make_storage(storage_limit=None, recall=option)
    await storage.open()
    await say(storage, "c1", "Some poison.", "A puppy.", "Some tea.")

    async def until(number: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while await storage.count_embeddings() != {"small (4, 1000)": number} or not caplog.messages:
                pass

    await until(2)
    await say(storage, "c2", "A car.", user_id="bob")
    await until(3)
    await storage.close()

    [logged] = [each for each in caplog.messages if "could not be embedded" in each]
    assert "3600 s" in logged
    assert "'m0' of conversation 'c1'" in logged


async def test_forget_embeddings_ends_a_model_that_lived_on_beside_another(
    make_storage: MakeStorage, embed: Embedder
) -> None:
    """While another model's vectors are made, the old ones are used; then they are removed by name."""
    old = make_storage(storage_limit=None, recall=recall(embed))
    new = make_storage(storage_limit=None, recall=recall(embed, "large"))
    await say(old, "c1", "I have a puppy.", "Some tea.")
    await old.embed_messages()

    assert await new.embed_messages(1) == 1
    assert found(await old.recall("ada", "dog", limit=1)) == [("c1", "m0")]
    assert await new.count_embeddings() == {"small (4, 1000)": 2, "large (4, 1000)": 1}
    assert await new.embed_messages() == 1
    assert await new.forget_embeddings("small (4, 1000)") == 2
    assert await new.count_embeddings() == {"large (4, 1000)": 2}
    assert await old.recall("ada", "dog") == []


async def test_a_background_task_embeds_what_is_new(
    make_storage: MakeStorage, embed: Embedder, caplog: pytest.LogCaptureFixture
) -> None:
    """With every=, messages are embedded without a call, failures are logged once, and close() ends it."""
    failures = 2

    def note() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise RuntimeError("no service")

    embed.during = note
    background = Recall(embed=embed, dimensions=DIMENSIONS, model="small", every=0.01)
    storage = make_storage(storage_limit=None, recall=background)
    for number in range(2):
        await say(storage, f"c{number}", "I have a puppy.")
        async with asyncio.timeout(PATIENCE):  # an event of embed() would come before the vector is stored
            while await storage.count_embeddings() != {"small (4, 1000)": number + 1}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    await storage.close()

    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("voltmem: embed")]
    assert [each.message for each in caplog.records if "could not be embedded" in each.message] == caplog.messages
    assert len(caplog.messages) == 1
    async with storage:
        assert await storage.count_embeddings() == {"small (4, 1000)": 2}


async def test_count_embeddings_counts_the_messages_of_each_model(storage: PostgresStorage) -> None:
    """A message counts once, and only if it has a vector."""
    assert await storage.count_embeddings() == {}
    await say(storage, "c1", f"{'I have a puppy. ' * 90}", "Some tea.")
    await storage.embed_messages(1)

    assert await storage.count_embeddings() == {"small (4, 1000)": 1}


async def test_deleting_a_user_deletes_the_vectors(storage: PostgresStorage, connection: Connection) -> None:
    """Nothing is left of a deleted user."""
    await say(storage, "c1", "I have a puppy.")
    await storage.embed_messages()

    await storage.delete_user("ada")

    assert await connection.fetchval(f"SELECT count(*) FROM {storage._options.tables.embeddings}") == 0


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        ([], "0 vectors for 1 texts"),
        ([[1.0] * 4, [1.0] * 4], "2 vectors for 1 texts"),
        ([[1.0] * 3], "a vector of 3 numbers, and recall=Recall.* dimensions=4"),
        ([[0.0] * 4], "no direction"),
        ([[float("nan")] * 4], "no direction"),
        ([None], "None among the vectors"),
        ("four", "0 vectors for 1 texts"),
        (["1234"], "'1234' among the vectors"),
        ([["a"] * 4], "among the vectors"),
        (None, "0 vectors for 1 texts"),
    ],
)
async def test_vectors_that_are_none_are_refused(
    vectors: Any, says: str, make_storage: MakeStorage, migrated: str, embed: Embedder
) -> None:
    """A wrong number of vectors, or of numbers in one, is an EmbeddingError, and nothing is stored."""

    async def wrong(_: Sequence[str]) -> Any:
        return vectors

    storage = make_storage(recall=Recall(embed=wrong, dimensions=DIMENSIONS, model="wrong"))
    await say(storage, "c1", "I have a puppy.")

    with pytest.raises(EmbeddingError, match=says):
        await storage.embed_messages()
    with pytest.raises(EmbeddingError, match=says):
        await storage.recall("ada", "dog")
    assert await storage.count_embeddings() == {"wrong (4, 1000)": 0}


async def test_embed_must_be_async(make_storage: MakeStorage, migrated: str, embed: Embedder) -> None:
    """A function that is not async is an EmbeddingError that says so."""

    def at_once(_: Sequence[str]) -> Any:
        return [[1.0] * 4]

    storage = make_storage(recall=Recall(embed=at_once, dimensions=DIMENSIONS, model="wrong"))
    await say(storage, "c1", "I have a puppy.")

    with pytest.raises(EmbeddingError, match="make it an async function"):
        await storage.embed_messages()


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1e9, 1e300])
async def test_a_vector_of_any_length_has_a_direction(size: float, make_storage: MakeStorage, embed: Embedder) -> None:
    """A vector whose numbers a halfvec cannot hold is scaled: only its direction is compared."""

    async def scaled(texts: Sequence[str]) -> list[list[float]]:
        return [[number * size for number in vector] for vector in await embed(texts)]

    storage = make_storage(storage_limit=None, recall=Recall(embed=scaled, dimensions=DIMENSIONS, model="scaled"))
    await say(storage, "c1", "I have a puppy.")
    await say(storage, "c2", "Some tea.")

    assert await storage.embed_messages() == 2
    assert found(await storage.recall("ada", "drink", limit=1)) == [("c2", "m0")]
    assert found(await storage.recall("ada", "dog", limit=1)) == [("c1", "m0")]


@pytest.mark.parametrize(
    "wrong",
    [{"dimensions": 0}, {"dimensions": 16_001}, {"model": " "}, {"batch": 0}, {"piece": 99}, {"embed": 1}],
)
def test_options_of_recall_are_checked(wrong: dict[str, object]) -> None:
    """Each option of Recall that is invalid is an InvalidOptionError."""
    with pytest.raises(InvalidOptionError, match="recall: "):
        Recall(**{"embed": Embedder(), "dimensions": 4, "model": "m", **wrong})  # type: ignore[arg-type]


async def test_vectors_need_the_option(make_storage: MakeStorage, migrated: str) -> None:
    """Without recall=Recall(…), the calls about vectors say so, and there is no table."""
    storage = make_storage()

    with pytest.raises(InvalidOptionError, match="recall=Recall"):
        await storage.embed_messages()
    with pytest.raises(InvalidOptionError, match=r"must be a voltmem\.Recall"):
        make_storage(recall="all-MiniLM-L6-v2")  # type: ignore[arg-type]
    with pytest.raises(SchemaError):
        await make_storage(migrate="off", recall=recall(Embedder())).embed_messages()


async def test_recall_goes_by_words_without_the_table(
    make_storage: MakeStorage, migrated: str, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """Without pgvector or its table, words count alone, which is logged once."""
    storage = make_storage(search=True, storage_limit=None, migrate="off", recall=recall(Embedder()))
    await say(storage, "c1", "I have a puppy.")
    # The tests before this one, in the same database, may have created the extension.
    has_extension = await connection.fetchval("SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'vector')")
    lacking = "there is no table" if has_extension else "the database has no extension vector"

    with caplog.at_level(logging.WARNING, "voltmem"):
        for _ in range(2):
            assert found(await storage.recall("ada", "puppy")) == [("c1", "m0")]

    [logged] = caplog.messages
    assert f"by words alone: {lacking}" in logged


async def test_recall_goes_by_words_if_the_text_cannot_be_embedded(
    storage: PostgresStorage, embed: Embedder, caplog: pytest.LogCaptureFixture
) -> None:
    """If embed() fails, words count alone, and the failure is logged."""
    await say(storage, "c1", "I have a puppy.")

    def fail() -> None:
        raise TimeoutError

    embed.during = fail
    with caplog.at_level(logging.WARNING, "voltmem"):
        assert found(await storage.recall("ada", "puppy")) == [("c1", "m0")]

    assert "by words alone" in caplog.text


async def test_recall_goes_by_words_if_a_question_has_no_vector(
    make_storage: MakeStorage, migrated: str, embed: Embedder, caplog: pytest.LogCaptureFixture
) -> None:
    """If embed() returns something else than a vector for a question, words count alone, and that is logged."""

    async def wrong(_: Sequence[str]) -> list[list[float]]:
        return [[1.0] * 3]

    storage = make_storage(
        search=True, storage_limit=None, recall=Recall(embed=wrong, dimensions=DIMENSIONS, model="wrong")
    )
    await say(storage, "c1", "I have a puppy.")

    with caplog.at_level(logging.WARNING, "voltmem"):
        assert found(await storage.recall("ada", "puppy")) == [("c1", "m0")]
    assert "a vector of 3 numbers" in caplog.text


def test_texts_are_cut_between_sentences() -> None:
    """Pieces are at most so long, end at the end of a sentence or a word, and have all of the text."""
    text = "One two three. Four five six! " * 20 + "x" * 300
    cut = pieces(text, 100)

    assert all(len(piece) <= 100 for piece in cut)
    assert "".join(cut).replace(" ", "") == text.replace(" ", "")
    assert cut[0].endswith(("!", "."))
    assert pieces(" ", 100) == []
    assert len(pieces("x" * 100_000, 100)) == MOST_PIECES
