"""Recall: the moments of a user's conversations that matter for a text, each with what was said around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final, NamedTuple

from voltmem._areas.area import Access, Area, off_loop_if_long
from voltmem._areas.inflected import AskedWord, asked_words
from voltmem._areas.moments import Moment
from voltmem._areas.recall_statement import REACH, SEEDS, RecallStatements
from voltmem._areas.search import check_search
from voltmem._areas.words import USER
from voltmem._postgres.driver import logger
from voltmem._tables import Tables, rendered
from voltmem._values import check_count, check_flag, check_id_or_none, check_text, check_time, check_user, user_key
from voltmem.models import Conversation, Message
from voltmem.options import RECALL_LIMIT

if TYPE_CHECKING:
    from voltmem._postgres.driver import Record

MOST_MOMENTS: Final = 100
MOST_AROUND: Final = 10
_MOST_CANDIDATES: Final = 500


_OF_ONE_USER: Final = "recall() reads the words of one user's conversations"


class Shown(NamedTuple):
    """The messages of a conversation that a model is shown anyway: neither they nor their copies are recalled."""

    conversation_id: str
    message_ids: list[str]


def recall_arguments(
    asked: Sequence[AskedWord],
    *,
    user_id: str,
    limit: int = RECALL_LIMIT,
    around: int = 1,
    after: datetime | None = None,
    before: datetime | None = None,
    conversation_id: str | None = None,
    resource_id: str | None = None,
    shown: Shown | None = None,
) -> list[object]:
    """Return the arguments of the statement."""
    key = user_key(user_id)
    candidates = min(limit * (2 * around + 1), _MOST_CANDIDATES)  # each moment may show 2 * around others of them
    return [
        user_id,
        [each.tsquery.replace(USER, key) for each in asked],
        [each.typed for each in asked],
        conversation_id,
        resource_id,
        after,
        before,
        around,
        candidates,
        max(SEEDS, 2 * limit),
        REACH + max(REACH, around),
        None if shown is None else shown.conversation_id,
        None if shown is None else shown.message_ids,
    ]


def _moments(rows: Iterable[Record], limit: int) -> list[Moment]:
    """Return the moments of the rows, best first: each message, or a copy of it, in the first one that shows it."""
    candidates: dict[int, list[tuple[int, float, Conversation, Message, str]]] = {}
    for places, distances, scores, turn, *columns in rows:
        conversation, message = Conversation.from_row(columns[:7]), Message.from_row(columns[7:])
        for place, distance, score in zip(places, distances, scores, strict=True):
            candidates.setdefault(int(place), []).append((int(distance), float(score), conversation, message, turn))
    moments: list[Moment] = []
    shown: set[tuple[str, str]] = set()
    for _, said in sorted(candidates.items()):
        said.sort(key=lambda each: each[0])
        key = {distance: (turn, message.id) for distance, _, _, message, turn in said}
        if len(moments) == limit or key[0] in shown:
            continue
        conversation, score = next((of, score) for distance, score, of, *_ in said if not distance)
        new = [message for distance, _, _, message, _ in said if key[distance] not in shown]
        moments.append(Moment(conversation=conversation, messages=new, message_id=key[0][1], score=score))
        shown.update(key.values())
    return moments


def check_recall(recall: bool, storage: Recalling) -> None:
    """Check an adapter's recall=. InvalidOptionError for a storage that can recall nothing."""
    check_flag("recall", recall)
    if recall:
        storage._check_recall()


class _Meant(NamedTuple):
    """The vector of a text, and the names for the statement that compares it."""

    tables: Tables
    model: str
    vector: str


class Recalling(Area):
    """The verb about recall. PostgresStorage inherits from all areas."""

    async def recall(
        self,
        user_id: str,
        text: str,
        *,
        limit: int = RECALL_LIMIT,
        around: int = 1,
        after: datetime | None = None,
        before: datetime | None = None,
        conversation_id: str | None = None,
        resource_id: str | None = None,
    ) -> list[Moment]:
        """
        Return what a user's conversations have about a text, best first, each message with those around it.

        For an agent that answers from what was said long ago. Unlike search(), a message need not have all the words
        of the text: those count more that fewer messages have. With recall=Recall(…), it need not have any.

        Args:
            user_id: The user. Only this user's conversations are read.
            text: What to look for, such as the user's question.
            limit: The maximum number of moments, up to 100.
            around: How many messages to return before and after each, up to 10.
            after: Only messages after this time, which must have a time zone.
            before: Only messages before this time.
            conversation_id: Only this conversation.
            resource_id: Only conversations with this agent or project.

        Raises:
            InvalidOptionError: The storage was created without search=True, and without recall=Recall(…).
            InvalidQueryError: A number is out of its range.

        Archived messages are read; deleted conversations, and branches that were not chosen, are not. A message
        that forks have copies of is returned once. The messages around one may be before *after* or after *before*. By
        words, nothing is found by a text of stop words only. With recall=Recall(…) the text is embedded first; if that
        fails, or there is no pgvector, words alone count. Without search=True there are none, and what *embed* raises
        is raised.
        """
        check_user("user_id", user_id, _OF_ONE_USER)
        check_text(text=text)
        check_count("limit", limit, minimum=1, maximum=MOST_MOMENTS)
        check_count("around", around, maximum=MOST_AROUND)
        for name, time in (("after", after), ("before", before)):
            if time is not None:
                check_time(name, time)
        check_id_or_none(conversation_id=conversation_id, resource_id=resource_id)
        given = partial(
            recall_arguments,
            user_id=user_id,
            limit=limit,
            around=around,
            after=after,
            before=before,
            conversation_id=conversation_id,
            resource_id=resource_id,
        )
        return await self._recalled(text, given, limit)

    async def _recalled(self, text: str, given: Callable[[list[AskedWord]], list[object]], limit: int) -> list[Moment]:
        """Return the moments that fit a text. given: makes the arguments of the statement, of the text's words."""
        self._check_recall()
        if self._options.on_limit == "delete" and self._options.storage_limit is not None:
            _warn_once(self._options.tables, is_given=self._options.limit_is_given)
        meant = await self._meant(text)
        asked = await off_loop_if_long(len(text), asked_words, text) if self._options.search else []
        if not asked and meant is None:
            return []
        arguments = given(asked)
        if meant is None:
            rows = await self._executor.fetch(self._sql(RecallStatements).recall, *arguments)
        else:
            sql = rendered(RecallStatements, meant.tables)
            rows = await self._executor.fetch(sql.recall, *arguments, meant.model, meant.vector)
        return _moments(rows, limit)

    def _check_recall(self) -> None:
        if self._meaning is None:
            check_search(self._options)

    async def _meant(self, text: str) -> _Meant | None:
        """Return what the text means; None without vectors."""
        meaning = self._meaning
        if meaning is None or not text.strip():
            return None
        tables = await meaning.tables(self._executor)
        if tables is None:
            check_search(self._options)
            return None
        try:
            vector = await meaning.question(text)
        except Exception as error:  # the caller's function; an answer needs no vectors
            if not self._options.search:
                raise
            logger.warning("recall() went by words alone, because embed() failed: %r", error)
            return None
        return _Meant(tables, meaning.recall.key, vector)


async def recall_others(access: Access, user_id: str, text: str, shown: Shown | None) -> list[Moment]:
    """Return what recall() does; the moments are of other messages than those shown."""
    check_user("user_id", user_id, _OF_ONE_USER)
    given = partial(recall_arguments, user_id=user_id, shown=shown)
    return await Recalling(*access)._recalled(text, given, RECALL_LIMIT)


@lru_cache(maxsize=256)
def _warn_once(tables: Tables, *, is_given: bool) -> None:
    """Log once in the process, for these tables, that old messages are deleted."""
    logger.warning(
        "recall() of %s does not find messages beyond the storage_limit, which are deleted%s: "
        'on_limit="archive" keeps them',
        tables,
        "" if is_given else ", unless VoltAgent uses the tables",  # where there is no limit unless one is given
    )
