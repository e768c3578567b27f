"""The search finds a user's messages and titles by their words, in any language, and no other user's."""

from __future__ import annotations

import re
import string
from datetime import UTC, datetime
from hashlib import sha256
from unicodedata import category, is_normalized

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calls import drop_database
from tests.conftest import Connection, MakeStorage
from voltmem import InvalidInputError, InvalidOptionError, InvalidQueryError, PostgresStorage
from voltmem._areas import search
from voltmem._areas.search import SearchHit, as_html, highlighted, snippet
from voltmem._areas.words import Word, _word, plain, terms, title_expressions, vector, words
from voltmem.testing import temporary_schema_name


@pytest.fixture
async def storage(make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    """A storage with the search turned on."""
    storage = make_storage(search=True)
    await storage.open()
    return storage


async def say(storage: PostgresStorage, conversation_id: str, *texts: str, user_id: str = "ada") -> None:
    for number, text in enumerate(texts):
        message = {"id": f"m{number}", "role": "user", "content": text}
        await storage.add_message(message, user_id, conversation_id, resource_id="docs")


async def found(storage: PostgresStorage, text: str, user_id: str = "ada") -> list[str]:
    return [hit.conversation.id for hit in (await storage.search(user_id, text)).hits]


# --- matches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("coat", {"oslo"}),
        ("COAT", {"oslo"}),
        ("coa", {"oslo"}),  # a prefix
        ("coa ", set()),  # a whole word
        ("oat", set()),
        ("rain coat", {"oslo"}),
        ("rain bread", set()),
        ("the", {"oslo", "bread"}),
        ('"in the rain"', {"oslo"}),
        ('"the in rain"', set()),
        ("the -rain", {"bread"}),
        ('the -"in the rain"', {"bread"}),
        ("-rain", set()),  # only exclusions
        ("café", {"bread"}),
        ("CAFE", {"bread"}),
        ("zürich", {"bread"}),
        ("zurich", {"bread"}),
        ("日本", {"tokyo"}),
        ("日本語", {"tokyo"}),
        ("語", {"tokyo"}),
        ("本日", set()),
        ("ไทย", {"tokyo"}),
        ("привет", {"tokyo"}),
        ("Привет", {"tokyo"}),
        ("42", {"tokyo"}),
        ("it's", {"oslo"}),
        ("", set()),
        ("   ", set()),
        ("!?&|:*()'\\", set()),
        ('"', set()),
        ('"rain', {"oslo"}),  # a phrase with a prefix at its end
    ],
)
async def test_search_finds_words_phrases_prefixes_and_exclusions(
    query: str, ids: set[str], storage: PostgresStorage
) -> None:
    """search() finds words, phrases, exclusions and prefixes, in any script, without accents."""
    await say(storage, "oslo", "A coat in the rain?", "Yes, take it: it's wet.")
    await say(storage, "bread", "How long should the dough rest? Half a day, says the Café in Zürich.")
    await say(storage, "tokyo", "日本語で話しましょう", "ภาษาไทย", "Привет, мир", "42")

    assert set(await found(storage, query)) == ids


async def test_search_finds_nothing_of_another_user(storage: PostgresStorage) -> None:
    """search() finds nothing of another user: not by a word, a prefix, or a title."""
    await say(storage, "c1", "secret plans")
    await storage.rename_conversation("c1", "Secret")
    await say(storage, "c2", "nothing", user_id="bob")

    for query in ("secret", "sec", "plans", '"secret plans"'):
        assert await found(storage, query, "bob") == []
    assert await found(storage, "secret") == ["c1"]


async def test_a_title_is_found_before_messages(storage: PostgresStorage) -> None:
    """Conversations are found by the words of their titles before those found by messages; each conversation once."""
    await say(storage, "c1", "bread and butter")
    await say(storage, "c2", "what I wanted to ask", "bread")
    await storage.rename_conversation("c2", "My Bread")
    await say(storage, "c3", "nothing")
    await storage.rename_conversation("c3", "100% _bread_")

    hits = (await storage.search("ada", "bread")).hits

    assert [hit.conversation.id for hit in hits] == ["c2", "c3", "c1"]
    assert as_html(hits[0].title) == "My <mark>Bread</mark>"
    assert (hits[1].message_id, hits[1].snippet) == (None, [])
    assert await found(storage, "100%") == ["c3"]
    assert await found(storage, "_b%d") == []  # no wildcards


async def test_messages_rank_above_tool_results(storage: PostgresStorage) -> None:
    """Messages rank above tool results, however often a tool's result has the word; tool results are found last."""
    result = [{"type": "tool-result", "toolCallId": "1", "toolName": "find", "result": ["bread", "bread", "bread"]}]
    tool = {"id": "m9", "role": "tool", "type": "tool-result", "content": result}
    await say(storage, "c1", "bread", "something else")
    await storage.add_message(tool, "ada", "c1")
    await say(storage, "c2", "a long question, in which nobody but at its end asks for bread")
    await storage.add_message(tool, "ada", "c3", resource_id="docs")

    hits = (await storage.search("ada", "bread")).hits

    assert [(hit.conversation.id, hit.message_id) for hit in hits] == [("c2", "m0"), ("c1", "m0"), ("c3", "m9")]


@pytest.mark.parametrize(
    ("text", "query", "is_found"),
    [
        ("Hello world", "hello, world", True),
        ("Hello world", "Hello world?", True),
        ("Hello world", "(hello) world", True),
        ("Hello world", '"hello  world"', True),
        ("Hello world", "hello-world", True),
        ("Hello world", '"world hello"', False),
        ("Hello world", "worl", True),
        ("Hello world", "worl ", False),
        ("don’t panic", "don't", True),
        ("🎉 Party plans", "party plans!", True),
        ("Concatenate strings", "cat ", False),
        ("Concatenate strings", '"cat"', False),
        ("Restart", "art", False),
        ("Startup plan notes", "notes -art", True),
        ("Startup plan notes", "notes -plan", False),
        ("Half: ½", "½", True),
        ("(brackets)", "brackets ", True),
        ("snake_case.py", "case ", True),
        ("日本語の勉強", "本語", True),
        ("日本語の勉強", "日語", False),
        ("日本, 勉強", '"日本 勉強"', True),
        ("日本, 勉強", "日本勉強", False),
        ("iPhone手机 plan", "iphone ", True),
        ("iPhone手机 plan", '"iphone手机 plan"', True),
        ("iPhone手机 plan", "hone手机", False),
        ("🎉 Party", "🎉", True),
        ("🎉 Party", "🎈", False),
        ("I ❤️ Python", "❤", True),
        ("I ❤️ Python", '"❤️ python"', True),
        ("👍🏽 fine", "👍", True),
        ("👨‍👩‍👧 trip", "👨‍👩‍👧", True),
        ("🇩🇪 trip", "🇩🇪", True),
        ("किताब", "किताब", True),
        ("किताब", "कुताब", False),
        ("किताब", "किता", True),
        ("क्या हाल है", "हाल ", True),
        ("தமிழ் பாடம்", "தமிழ் ", True),
        ("مُحَمَّد", "محمد", True),
        ("محمد", "مُحَمَّد", True),
        ("أحمد، كيف", "احمد ", True),
        ("שָׁלוֹם", "שלום", True),
        ("שלום־עולם", "עולם", True),
        ("my re\u0301sume\u0301", "resume ", True),
        ("my re\u0301sume\u0301", "résumé ", True),
        ("my résumé", "re\u0301sume\u0301", True),
        ("𝐇𝐞𝐥𝐥𝐨", "hello ", True),
    ],
)
async def test_a_title_is_found_as_a_message_is(
    text: str, query: str, is_found: bool, connection: Connection, storage: PostgresStorage
) -> None:
    """A title is found by whole words and prefixes, like a message; the snippet shows the original."""
    if not is_normalized("NFKC", text) and not has_normalize(connection):
        pytest.skip("PostgreSQL 12 has no normalize()")
    await say(storage, "said", text)
    await storage.create_conversation({"id": "titled", "user_id": "ada", "title": text})

    hits = (await storage.search("ada", query)).hits

    assert {hit.conversation.id for hit in hits} == ({"said", "titled"} if is_found else set())
    assert all(any(piece.is_match for piece in hit.title or hit.snippet) for hit in hits)


async def test_the_database_makes_a_title_plain_as_a_message_is(
    connection: Connection, storage: PostgresStorage
) -> None:
    """{prefix}_plain() in the database splits titles at the same characters as plain() in Python."""
    common = [*range(0x20, 0x530), *range(0x591, 0xE00), *range(0x1E00, 0x3100), *range(0xFB00, 0xFF00)]
    if not has_normalize(connection):
        common = [code for code in [*range(0x20, 0x700), *range(0x1E00, 0x2000)] if is_normalized("NFKC", chr(code))]
    titles = [f"a{character}Z" for character in map(chr, common) if category(character) not in ("Cn", "Co")]

    rows = await connection.fetch(
        f"SELECT {storage._options.tables.plain}(title, $2, $3) FROM unnest($1::text[]) AS title",
        titles,
        *title_expressions(),
    )

    mine = [f" {' '.join(_word().findall(plain(title)))} " for title in titles]
    assert {title: row[0] for title, row in zip(titles, rows, strict=True)} == dict(zip(titles, mine, strict=True))


async def test_titles_are_found_where_the_database_knows_only_ascii(connection: Connection, dsn: str) -> None:
    """In a database with LC_CTYPE C, upper case letters of other scripts are converted, too."""
    if await connection.fetchval("SELECT count(*) FROM pg_collation WHERE collname IN ('pg_c_utf8', 'und-x-icu')") == 0:
        pytest.skip("this PostgreSQL has no letters but its databases', as the docstring says")
    name = temporary_schema_name()
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
    async with PostgresStorage(re.sub(r"/[^/?]*(\?|$)", rf"/{name}\1", dsn), search=True) as storage:
        await storage.create_conversation({"id": "c1", "user_id": "ada", "title": "ПРИВЕТ Мир, École"})
        for query in ("привет", "мир ", "МИР", "ecole"):
            assert await found(storage, query) == ["c1"]
        assert await found(storage, "ривет") == []
    await drop_database(name, connection)


@pytest.mark.parametrize(
    ("title", "typed"),
    [
        ("Café in Zürich", "cafe in zurich"),
        ("cafe in zurich", "CAFÉ IN ZÜRICH"),
        ("Große Straße", "STRASSE"),
        ("Обед в Киеве", "киев"),
        ("Ο δρόμος του Οδυσσέα", "ΔΡΌΜΟΣ"),
        ("한국어 수업", "한국"),
        ("100% sicher_er", "% sicher_"),
    ],
)
async def test_accents_and_capitals_of_titles_do_not_matter(storage: PostgresStorage, title: str, typed: str) -> None:
    """Titles are found without regard to accents and case, like messages."""
    await storage.create_conversation({"id": "c1", "user_id": "ada", "title": title})
    await storage.create_conversation({"id": "c2", "user_id": "ada", "title": "Something else"})

    assert await found(storage, typed) == ["c1"]


def has_normalize(connection: Connection) -> bool:
    """Return whether PostgreSQL can decompose characters; 12 maps letters of some scripts."""
    return connection.get_server_version().major >= 13


async def test_the_best_message_of_a_conversation_is_the_one_shown(storage: PostgresStorage) -> None:
    """A hit has the best message of its conversation, with its role, time and the match in it."""
    await say(storage, "c1", "bread, once, among many other words that have nothing to do with it", "bread bread bread")

    (hit,) = (await storage.search("ada", "bread")).hits

    assert (hit.message_id, hit.role) == ("m1", "user")
    assert as_html(hit.snippet) == "<mark>bread</mark> <mark>bread</mark> <mark>bread</mark>"


async def test_search_pages_without_loss(storage: PostgresStorage) -> None:
    """search() has pages without loss, with equal ranks too: each conversation once."""
    for number in range(9):
        await say(storage, f"c{number}", "the same words")
    ids: list[str] = []
    after: str | None = None
    while True:
        results = await storage.search("ada", "words", limit=2, after=after)
        ids += [hit.conversation.id for hit in results.hits]
        if (after := results.next_cursor) is None:
            break

    assert ids == [f"c{number}" for number in reversed(range(9))]
    with pytest.raises(InvalidQueryError, match="next_cursor"):
        await storage.search("ada", "words", after="nonsense")


async def test_search_finds_nothing_that_looks_absent(storage: PostgresStorage) -> None:
    """search() finds no deleted or replaced messages and no deleted conversations; restored ones are found."""
    await say(storage, "c1", "old words")
    await storage.add_message({"id": "m0", "role": "user", "content": "new"}, "ada", "c1")
    assert await found(storage, "old") == []
    assert await found(storage, "new") == ["c1"]
    await storage.soft_delete_conversation("c1")
    assert await found(storage, "new") == []
    await storage.restore_conversation("c1")
    assert await found(storage, "new") == ["c1"]
    await storage.delete_messages(["m0"], "ada", "c1")
    assert await found(storage, "new") == []


async def test_a_conversation_that_is_given_away_is_found_by_its_new_user(storage: PostgresStorage) -> None:
    """A conversation that is given away is found by its new user only."""
    await say(storage, "c1", "bread and 'quotes' and \\ 日本語")
    await storage.update_conversation("c1", user_id="bob")

    for query in ("bread", "quotes", "日本語", '"bread and quotes"'):
        assert await found(storage, query, "bob") == ["c1"]
        assert await found(storage, query, "ada") == []


async def test_a_fork_is_found_too(storage: PostgresStorage) -> None:
    """The messages of a fork are found, too, since they are copied with their words."""
    await say(storage, "c1", "bread")
    await storage.fork_conversation("c1", id="c2")

    assert set(await found(storage, "bread")) == {"c1", "c2"}


async def test_parts_are_searched_for_their_text(storage: PostgresStorage) -> None:
    """Content of parts is searched by its readable text, not by types and ids."""
    content = [{"type": "text", "text": "a parcel"}, {"type": "tool-call", "toolCallId": "xyzzy", "toolName": "track"}]
    await storage.add_message({"role": "user", "content": content}, "ada", "c1", resource_id="docs")

    assert await found(storage, "parcel") == ["c1"]
    assert await found(storage, "xyzzy") == []


# --- on and off ---------------------------------------------------------------------------------------------------


async def test_index_messages_finds_what_was_stored_before(make_storage: MakeStorage) -> None:
    """
    index_messages() indexes messages stored before the search was on.

    With it off, the error says how to turn it on.
    """
    off, on = make_storage(), make_storage(search=True)
    for number in range(3):
        await say(off, f"c{number}", "bread")
    with pytest.raises(InvalidOptionError, match="search=True"):
        await off.search("ada", "bread")
    assert await found(on, "bread") == []

    assert await on.index_messages() == 3
    assert await on.index_messages() == 0
    assert set(await found(on, "bread")) == {"c0", "c1", "c2"}
    assert await on.forget_words() == 3
    assert await found(on, "bread") == []


async def test_forget_words_and_index_messages_work_in_batches(
    make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """forget_words() and index_messages() work in batches, and process each message once."""
    monkeypatch.setattr(search, "_BATCH", 2)
    storage = make_storage(search=True)
    for number in range(4):
        await say(storage if number % 2 else make_storage(), f"c{number}", "bread", "butter", "salt")

    assert await storage.index_messages() == 6
    assert await storage.forget_words() == 12
    assert await storage.forget_words() == 0
    assert await storage.index_messages() == 12
    assert set(await found(storage, "salt")) == {"c0", "c1", "c2", "c3"}


@pytest.mark.parametrize("text", [None, 7, "\x00", "\ud800", b"bread"])
async def test_search_refuses_a_query_that_is_no_text(text: str, storage: PostgresStorage) -> None:
    """search() refuses a query that is not a string before any SQL runs."""
    with pytest.raises(InvalidInputError):
        await storage.search("ada", text)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(" ".join(["bread butter"] * 100_000), id="words"),
        pytest.param('"' + "bread butter " * 20_000 + '"', id="a phrase"),
        pytest.param("bread " + "-salt " * 20_000, id="exclusions"),
        pytest.param("北京大学" * 10_000, id="without spaces"),
    ],
)
async def test_of_a_long_query_the_beginning_is_searched_for(query: str, storage: PostgresStorage) -> None:
    """Of a long query only its first words are searched for, whatever its length."""
    await say(storage, "c1", "bread butter " * 100, "北京大学" * 100)

    assert await found(storage, query) == ["c1"]


async def test_any_limit_is_a_limit(storage: PostgresStorage) -> None:
    """Any limit is accepted; the largest one has no next page."""
    await say(storage, "c1", "bread")

    assert len((await storage.search("ada", "bread", limit=2**63 - 1)).hits) == 1


@given(st.text(max_size=60))
def test_search_takes_any_text_as_a_query(text: str) -> None:
    """search() takes any text: it is parsed as words or as nothing, never as a syntax error."""
    for term in terms(text):
        assert term.words
        assert all(word and not set(word) & set(" '\\:&|!()<>*") for word in term.words)


# --- words --------------------------------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_each_word_is_where_it_says(text: str) -> None:
    """The positions of words are in order, within the text, and contain their characters."""
    found = list(words(text))

    assert all(0 <= word.start < word.end <= len(text) for word in found)
    assert [word.start for word in found] == sorted(word.start for word in found)


@given(st.text(string.printable, max_size=300) | st.text(max_size=300))
def test_the_vector_has_every_word_at_its_places(text: str) -> None:
    """The vector has each word once with all its positions, as text of a tsvector; the fast path for ASCII included."""
    places: dict[str, list[str]] = {}
    for place, word in enumerate(words(text), 1):
        if word.text:
            places.setdefault(word.text, []).append(str(place))

    assert vector(text) == " ".join(f"'\x01{word}':{','.join(at)}" for word, at in places.items())


# More than a tsvector holds: in characters, in bytes of UTF-8, and after decomposition.
FULL = {
    "ascii": [sha256(str(number).encode()).hexdigest() for number in range(16_000)],
    "cyrillic": [f"{number}" + "щ" * 55 for number in range(9_000)],
    "ligatures": [f"{number}" + "\ufdfa" * 3 for number in range(16_000)],
}


@pytest.mark.parametrize("kind", FULL)
async def test_a_message_whose_words_fill_the_index_is_stored_and_found(kind: str, make_storage: MakeStorage) -> None:
    """
    A message with more words than the index holds is found by its first words, and index_messages() continues after it.
    """
    first, *others = FULL[kind]
    off, on = make_storage(), make_storage(search=True)
    await say(off, "before", " ".join([first, *others]))
    await say(off, "other", "bread", user_id="bob")
    await say(on, "c1", " ".join([first, *others]))

    assert await on.index_messages() == 2
    assert set(await found(on, first + " ")) == {"before", "c1"}
    assert set(await found(on, others[7_000] + " ")) == {"before", "c1"}
    assert await found(on, "bread", "bob") == ["other"]


async def test_a_message_of_ten_megabytes_is_stored_and_found(storage: PostgresStorage) -> None:
    """A message of ten megabytes is stored, and found by its first words."""
    await say(storage, "c1", "needle " + "hay" * 3_000_000 + " " + " ".join(f"word{n}" for n in range(50_000)))

    assert await found(storage, "needle") == ["c1"]
    assert await found(storage, "word7") == ["c1"]


# --- snippets -----------------------------------------------------------------------------------------------------


def test_a_snippet_begins_before_the_first_match() -> None:
    """A snippet is cut between words, with dots at the cuts, and is not longer than a sidebar shows."""
    text = "some words before it. " * 20 + "Here is the needle that was looked for. " + "and words after it. " * 20

    pieces = snippet(text, terms("needle "))
    shown = "".join(piece.text for piece in pieces)

    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(shown) <= 202
    assert [piece.text for piece in pieces if piece.is_match] == ["needle"]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("天地人和" * 100 + "龍虎" + "天地" * 100, "龍虎"),
        ("see https://example.org/" + "a/b-c" * 80 + "/unicorn and so on", "unicorn"),
        ("lorem ipsum " * 1_500 + "unicorn", "unicorn"),
        (
            "lorem ipsum " * 166 + "black unicorn " + "lorem ipsum " * 400,
            '"black unicorn"',
        ),  # at a border
        ("no unicorns here: " * 150 + "one unicorn", "unicorn "),
        ("ой, " * 600 + "единорог", "единорог"),
        ("unicorn, " * 60, " ".join(["unicorn"] * 60)),
        ("lorem ipsum " * 20 + "word " * 60, '"' + "word " * 60 + '"'),  # longer than a snippet
    ],
)
def test_a_snippet_has_the_match(text: str, query: str) -> None:
    """A snippet contains the match, wherever it is in the message, with spaces around it or without."""
    pieces = snippet(text, terms(query))

    assert any(piece.is_match for piece in pieces)
    assert len("".join(piece.text for piece in pieces)) <= 202


@pytest.mark.parametrize("query", ["needle", "needle and many more words", " ".join(f"word{n}" for n in range(200))])
def test_a_snippet_costs_little_however_much_is_read(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a snippet only the text around the match is split into words, once for all terms."""
    text = "a " * 9_000 + query
    taken_apart: list[int] = []

    def counted(text: str) -> list[Word]:
        taken_apart.append(len(text))
        return words(text)

    monkeypatch.setattr(search, "words", counted)
    pieces = snippet(text, terms(query))

    assert any(piece.is_match for piece in pieces)
    assert sum(taken_apart) < 6_000


def test_what_is_shown_as_html_is_escaped() -> None:
    """The HTML of a snippet is escaped, whatever the message contains."""
    assert as_html(highlighted("<b>bread</b> & butter", terms("bread "))) == (
        "&lt;b&gt;<mark>bread</mark>&lt;/b&gt; &amp; butter"
    )


@given(st.text(max_size=400), st.text(string.ascii_letters + ' "-', max_size=20))
def test_pieces_are_the_text(text: str, query: str) -> None:
    """The pieces of a highlighted text together are the text."""
    assert "".join(piece.text for piece in highlighted(text, terms(query))) == text


def test_a_hit_as_json_is_in_camel_case() -> None:
    """The JSON of a hit on the web is in camelCase; the Python fields are in snake_case."""
    assert {"messageId", "createdAt"} <= SearchHit.model_json_schema(by_alias=True)["properties"].keys()


@pytest.mark.parametrize("sign", ["\ufdfa", "\ufdf2", "\u2487", "\u00e9", "\uac01", "e\u0301", "x"])
@pytest.mark.parametrize("length", [1, 3, 8, 30, 61, 250])
def test_a_word_of_characters_that_grow_is_cut_like_any_other(sign: str, length: int) -> None:
    """A word is the first sixty characters of its plain form, of however few signs that is made."""
    found = words(f"\ufdfa {sign * length} b")

    assert found[1].text == plain(sign * length).strip()[:60]


def test_words_of_characters_that_grow_cost_little_more_than_others() -> None:
    """Of a long word with ligatures, each of which becomes eighteen characters, only the beginning is normalised."""
    normalised = 0

    def counted(text: str) -> str:
        nonlocal normalised
        normalised += len(plain(text))
        return plain(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("voltmem._areas.words.plain", counted)
        words(("\ufdfa" * 199 + " ") * 100)

    assert normalised < 100 * 240 * 4


# --- filters ------------------------------------------------------------------------------------------------------


async def test_a_search_is_limited_to_a_tag_and_a_time(storage: PostgresStorage) -> None:
    """tag= finds in conversations with a tag only; before= what was said before, and titles of conversations before."""
    for id, title in (("c1", None), ("c2", "Coat"), ("c3", None)):
        await storage.create_conversation({"id": id, "user_id": "ada", "title": title})
        await say(storage, id, "a coat", "the same coat")
    await storage.tag_conversation("c2", ["work"])
    await storage.tag_conversation("c3", ["work"])
    second = await storage.get_message("ada", "c3", "m1")
    assert second is not None

    tagged = await storage.search("ada", "coat", tag="work")
    assert [hit.conversation.id for hit in tagged.hits] == ["c2", "c3"]
    earlier = await storage.search("ada", "coat", before=second.created_at)
    assert {hit.conversation.id: hit.message_id for hit in earlier.hits} | {"c3": "m0"} == {
        hit.conversation.id: hit.message_id for hit in earlier.hits
    }
    beginning = datetime(2020, 1, 1, tzinfo=UTC)
    assert (await storage.search("ada", "coat", before=beginning)).hits == []
