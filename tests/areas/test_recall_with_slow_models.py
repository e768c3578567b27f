"""recall() with a model that does not answer: the words answer, or an error says why nothing does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.areas.test_recall_by_meaning import DIMENSIONS, Embedder, embed, found, say
from voltmem import EmbeddingError, InvalidOptionError, Recall

if TYPE_CHECKING:
    from tests.conftest import MakeStorage

__all__ = ["embed"]  # the fixture, which skips where there is no pgvector


async def silent(_: Sequence[str]) -> list[list[float]]:
    """Wait for a server that does not answer."""
    await asyncio.Event().wait()
    return []


SILENT = Recall(embed=silent, dimensions=DIMENSIONS, model="silent", question_timeout=0.05)


async def test_recall_goes_by_words_if_the_model_is_silent(
    make_storage: MakeStorage, migrated: str, embed: Embedder, caplog: pytest.LogCaptureFixture
) -> None:
    """recall() waits for question_timeout only, and goes by words then; a window that recalls does, too."""
    storage = make_storage(search=True, storage_limit=None, recall=SILENT)
    await say(storage, "c1", "I have a puppy.")
    await say(storage, "c2", "Which puppy?")

    with caplog.at_level(logging.WARNING, "voltmem"):
        assert ("c1", "m0") in found(await storage.recall("ada", "puppy"))
    window = await storage.conversation("ada", "c2").messages(recall="puppy")

    assert "took more than 0.05 seconds" in caplog.text
    assert "I have a puppy." in window[0].text


async def test_recall_without_words_says_that_the_model_is_silent(
    make_storage: MakeStorage, migrated: str, embed: Embedder
) -> None:
    """Without search=True, recall() with a silent model is an EmbeddingError."""
    storage = make_storage(storage_limit=None, recall=SILENT)
    await say(storage, "c1", "I have a puppy.")

    with pytest.raises(EmbeddingError, match="took more than"):
        await storage.recall("ada", "puppy")


async def test_recall_waits_for_a_caller_that_gives_up(
    make_storage: MakeStorage, migrated: str, embed: Embedder
) -> None:
    """A time-out of the caller's own ends recall() with the caller's TimeoutError."""
    storage = make_storage(search=True, storage_limit=None, recall=replace(SILENT, question_timeout=60))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await storage.recall("ada", "puppy")


@pytest.mark.parametrize("wrong", [0, -1, "10", True, float("inf")])
def test_recall_refuses_a_question_timeout_that_is_no_time(wrong: float) -> None:
    """question_timeout must be a number of seconds above 0."""
    with pytest.raises(InvalidOptionError, match="question_timeout"):
        replace(SILENT, question_timeout=wrong)
