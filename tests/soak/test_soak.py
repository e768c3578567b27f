"""The soak test runs for some seconds, and its comparison finds what is wrong."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.ledger import Ledger
from tests.soak.run import Outcome, Soak, Wanted, printed
from voltmem import PostgresStorage

IDS = ["m1", "m2", "m3"]


async def test_nothing_is_lost_under_faults(dsn: str, tmp_path: Path) -> None:
    """While backends, connections and clients die, no acknowledged write is lost, and none is half there."""
    outcome = await Soak(Wanted(seconds=6, dsn=dsn, clients=2, pause=0.5), tmp_path).run()

    assert outcome.wrong() == [], printed(outcome)
    assert outcome.report.done["append"] > 0
    assert outcome.checks > 0


def recorded(folder: Path, outcome: str, verb: str, *states: list[str] | None) -> None:
    """Record writes to c1 that leave these messages: the last with this outcome, those before it as done."""
    with (folder / "client-1").open("a") as record:
        for number, ids in enumerate(states, 1):
            after = None if ids is None else [[id, f"text of {id}"] for id in ids]
            ended = "done" if number < len(states) else outcome
            for line in ({"verb": verb, "after": after}, {"outcome": ended, "reason": ""}):
                record.write(json.dumps({"conversation": "c1", **line}) + "\n")


@pytest.mark.parametrize(
    ("outcome", "before", "after", "stored", "wrong"),
    [
        ("done", IDS[:1], IDS, IDS, ""),
        ("done", IDS[:1], IDS, IDS[:2], "lost"),
        ("done", IDS[:1], IDS, None, "lost"),
        ("done", IDS[:2], IDS[:1], IDS[:2], "half"),
        ("done", IDS[:1], IDS, ["m1", "m3", "m2"], "half"),
        ("OutcomeUnknownError", IDS[:1], IDS, IDS[:1], ""),
        ("OutcomeUnknownError", IDS[:1], IDS, IDS, ""),
        ("OutcomeUnknownError", IDS[:1], IDS, IDS[:2], "half"),
        ("OutcomeUnknownError", IDS[:1], IDS, IDS[1:], "lost"),
        ("OutcomeUnknownError", IDS[:1], None, None, ""),
        ("ConnectionFailedError", IDS[:1], IDS, IDS, "misreported"),
        ("ConnectionFailedError", IDS[:1], IDS, IDS[:1], ""),
    ],
)
async def test_the_comparison_names_what_is_wrong(
    outcome: str,
    before: list[str],
    after: list[str] | None,
    stored: list[str] | None,
    wrong: str,
    storage: PostgresStorage,
    tmp_path: Path,
) -> None:
    """A conversation is as its last write left it; if the outcome is not known, as before or as after."""
    recorded(tmp_path, outcome, "turn", before, after)
    if stored is not None:
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
        messages = [{"id": id, "role": "user", "content": f"text of {id}"} for id in stored]
        await storage.add_messages(messages, "ada", "c1")

    report = await Ledger(tmp_path).compare(storage)

    names = ("lost", "doubled", "half", "misreported")
    assert {name: getattr(report, name)["turn"] for name in names} == {name: int(name == wrong) for name in names}


async def test_the_comparison_names_a_doubled_write(storage: PostgresStorage, tmp_path: Path) -> None:
    """A text that is stored twice is a doubled write."""
    recorded(tmp_path, "OutcomeUnknownError", "append", [], ["m1"])
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    twice = [{"id": id, "role": "user", "content": "text of m1"} for id in ("m1", "m2")]
    await storage.add_messages(twice, "ada", "c1")

    report = await Ledger(tmp_path).compare(storage)

    assert report.doubled["append"] == 1


def test_the_end_of_a_record_may_be_cut(tmp_path: Path) -> None:
    """The last line of a client that was killed may be cut, and is left out."""
    recorded(tmp_path, "done", "append", ["m1"])
    with (tmp_path / "client-1").open("a") as record:
        record.write('{"conversation": "c1", "ve')

    assert Ledger(tmp_path).report.done["append"] == 1


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ({"refused": "OutcomeUnknownError", "verb": "search", "reason": ""}, "misreported"),
        ({"refused": "OutcomeUnknownError", "verb": "put file", "reason": ""}, ""),
        ({"refused": "ConnectionFailedError", "verb": "search", "reason": ""}, ""),
        ({"cut_off": "ConnectionFailedError", "verb": "export", "reason": ""}, ""),
        ({"cut_off": "DatabaseError", "verb": "export", "reason": ""}, "misreported"),
        ({"back": "c1", "reason": ""}, "moved_back"),
    ],
    ids=str,
)
def test_what_a_read_must_not_say_is_wrong(line: dict[str, str], column: str, tmp_path: Path) -> None:
    """A read whose outcome is unknown, an export cut off by another error, and a time that moved back are wrong."""
    (tmp_path / "client-1").write_text(json.dumps(line) + "\n")

    outcome = Outcome(Ledger(tmp_path).report, Counter(), [], 0)

    assert [each.split()[1].rstrip(":") for each in outcome.wrong()] == [column] * bool(column)
