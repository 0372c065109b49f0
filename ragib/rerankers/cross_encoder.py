"""Any cross-encoder of sentence-transformers, as trained on MS MARCO or by yourself.

Nogueira and Cho 2019, "Passage re-ranking with BERT", arXiv:1901.04085. Scores are what the model
puts out before any sigmoid, which would make the best passages equal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ragib.config import EncoderConfig
from ragib.errors import InputError
from ragib.extras import require
from ragib.models import locate, quiet
from ragib.rerankers.base import Verdicts
from ragib.rerankers.batches import judged
from ragib.types import Passage

BATCH = 8
"""Pairs read at once on a CPU, and between two looks at the clock; a GPU reads `GPU_BATCH`."""

GPU_BATCH = 64

_PURPOSE = "reranking with a cross-encoder"


class CrossEncoderJudge:
    """Scores passages, titles in front, by a model that reads them with the question.

    Parameters
    ----------
    model
        A `sentence_transformers.CrossEncoder` with one label.
    """

    name: ClassVar[str] = "cross-encoder"
    unit: ClassVar[int] = 1

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        self._model = model
        self._raw = require("torch", _PURPOSE).nn.Identity()
        self._batch = GPU_BATCH if model.device.type == "cuda" else BATCH

    def estimate(self, question: str, passages: Sequence[Passage]) -> int:
        """Count the tokens of the pairs, cut to what the model reads."""
        encoded = self._model.tokenizer(
            [question] * len(passages), [_text(passage) for passage in passages], verbose=False
        )
        most = self._model.max_seq_length or max(map(len, encoded["input_ids"]))
        return sum(min(len(ids), most) for ids in encoded["input_ids"])

    def judge(
        self,
        question: str,
        passages: Sequence[Passage],
        seconds: float | None,
        salt: str | None = None,
    ) -> Verdicts:
        """Read passages with the question, batch by batch."""

        def score(batch: Sequence[Passage]) -> tuple[list[float], int]:
            found = self._model.predict(
                [(question, _text(passage)) for passage in batch],
                batch_size=len(batch),
                show_progress_bar=False,
                activation_fn=self._raw,
            )
            return list(map(float, found)), self.estimate(question, batch)

        return judged(passages, self._batch, seconds, score)

    def close(self) -> None:
        """Keep the model, which has no engine to stop."""


def load_cross_encoder(name: str) -> CrossEncoderJudge:
    """Load a cross-encoder from a folder, or from a hub by its name.

    Raises
    ------
    InputError
        There is no such model, it is not a cross-encoder, or it gives more than one score.
    OfflineError
        It would have to be fetched and the network is switched off.
    MissingExtraError
        A package is not installed; the message holds the pip line.
    """
    library = require("sentence_transformers", _PURPOSE)
    errors = require("safetensors", _PURPOSE)
    folder, _ = locate(EncoderConfig(model=name))
    try:
        if not _ranks(folder):
            raise InputError(
                f"reranker.model: {name} is not a cross-encoder: it would score with a head drawn "
                "at random; name one, or train it with sentence_transformers.CrossEncoder"
            )
        with quiet():
            model = library.CrossEncoder(
                str(folder), local_files_only=True, model_kwargs={"use_safetensors": True}
            )
    except (OSError, ValueError, RuntimeError, errors.SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"reranker.model: {name} cannot be loaded: {reason}") from None
    if model.num_labels != 1:
        raise InputError(
            f"reranker.model: {name} gives {model.num_labels} scores a pair; name a model that "
            "was trained to rank, which gives one"
        )
    return CrossEncoderJudge(model)


def _ranks(folder: Path) -> bool:
    """Say whether a folder says of itself that it holds a head to score pairs with."""

    def read(name: str) -> dict[str, Any]:
        path = folder / name
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    if read("config_sentence_transformers.json").get("model_type") == "CrossEncoder":
        return True
    kinds = ("ForSequenceClassification", "ForCausalLM")
    return any(str(name).endswith(kinds) for name in read("config.json").get("architectures") or ())


def _text(passage: Passage) -> str:
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text
