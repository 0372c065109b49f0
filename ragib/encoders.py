"""Encoders: text in, one vector and (on request) the token vectors of every text out.

Dense and multi-vector indexes of the same model share one forward pass.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from ragib.config import EncoderConfig
from ragib.errors import InputError
from ragib.extras import require
from ragib.models import locate, quiet

if TYPE_CHECKING:
    import torch

_PURPOSE = "turning text into vectors"


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """The tokens of one text.

    `vectors` is `(t, d)` float32, rows of unit length. `spans` is `(t, 2)` int32: the characters
    of the passage's text each token covers; `(-1, -1)` for tokens of the title and special tokens.
    """

    vectors: NDArray[np.float32]
    spans: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What an encoder made of `n` texts.

    `dense` is `(n, d)` float32, `tokens` has `n` entries; either is `None` if not asked for.
    """

    dense: NDArray[np.float32] | None
    tokens: Sequence[TokenVectors] | None


class Encoder(Protocol):
    """Text to vectors.

    `name` and `revision` say which weights. `dense_dim` is the length of a text's vector, `None`
    for a model that has none; `token_dim` that of a token vector. `trained_projection` says that
    the token vectors were trained to be compared as they are, so that an index does not reduce
    them.
    """

    name: str
    revision: str
    dense_dim: int | None
    token_dim: int
    trained_projection: bool

    def passages(self, texts: Sequence[tuple[str, str]], *, dense: bool, tokens: bool) -> Encoded:
        """Encode `(title, text)` pairs; the title is read in front of the text."""
        ...

    def queries(self, texts: Sequence[str], *, dense: bool, tokens: bool) -> Encoded:
        """Encode questions."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text, without special tokens."""
        ...


class TransformerEncoder:
    """A sentence-transformers model: `SentenceTransformer`, or `MultiVectorEncoder` if `late`.

    A late-interaction model decides itself which of its tokens count. Of any other model the
    states of all tokens of a query are taken, and of a passage those of all but the special
    tokens: on Cranfield this gave the best MaxSim nDCG@10 of the nine combinations of keeping
    all, none, or only the first.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        name: str,
        revision: str,
        config: EncoderConfig,
        *,
        late: bool,
    ) -> None:
        self.name = name
        self.revision = revision
        self.trained_projection = late
        self._model = model
        # Small batches of like length stay in the caches of a CPU and fill a GPU poorly.
        self._batch_size = config.batch_size or (128 if model.device.type == "cuda" else 8)
        limit = model.max_seq_length
        model.max_seq_length = min(config.max_tokens, limit) if limit else config.max_tokens
        probe = self._encode(["a"], [0], "document", dense=not late, tokens=True)
        assert probe.tokens is not None
        self.token_dim: int = probe.tokens[0].vectors.shape[1]
        self.dense_dim: int | None = None if probe.dense is None else probe.dense.shape[1]

    def passages(self, texts: Sequence[tuple[str, str]], *, dense: bool, tokens: bool) -> Encoded:
        """Encode `(title, text)` pairs; the title is read in front of the text, on its own line.

        Raises
        ------
        InputError
            Dense vectors were asked of a late-interaction model.
        """
        heads = [f"{title}\n" if title else "" for title, _ in texts]
        joined = [head + text for head, (_, text) in zip(heads, texts, strict=True)]
        return self._encode(joined, [len(h) for h in heads], "document", dense=dense, tokens=tokens)

    def queries(self, texts: Sequence[str], *, dense: bool, tokens: bool) -> Encoded:
        """Encode questions; raises as `passages` does."""
        return self._encode(list(texts), [0] * len(texts), "query", dense=dense, tokens=tokens)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text, without special tokens and without any limit."""
        if not texts:
            return []
        ids = self._model.tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return [len(row) for row in ids]

    def _encode(
        self, texts: list[str], heads: list[int], task: str, *, dense: bool, tokens: bool
    ) -> Encoded:
        if dense and self.trained_projection:
            raise InputError(
                f"{self.name} is a late-interaction model and has no single vector a text; "
                "take 'dense' out of index.kinds, or name another model"
            )
        if not texts:
            return Encoded(np.zeros((0, self.dense_dim or 0), np.float32) if dense else None, [])
        prompt = _prompt(self._model.prompts, task)
        # Texts of like length share a batch, so that little is spent on padding.
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        vectors: list[NDArray[np.float32]] = []
        entries: list[TokenVectors] = []
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            batch = [texts[i] for i in rows]
            skips = [heads[i] + len(prompt) for i in rows]
            output, offsets, special = self._forward(batch, prompt, task)
            if dense:
                vectors.append(_unit(output["sentence_embedding"]))
            if tokens:
                keep = output["attention_mask"].bool().cpu()
                if task == "document" and not self.trained_projection:
                    keep &= ~special
                entries += _split(output["token_embeddings"], offsets, keep, skips)
        back = np.argsort(order)
        return Encoded(
            dense=np.concatenate(vectors)[back] if dense else None,
            tokens=[entries[i] for i in back] if tokens else None,
        )

    def _forward(
        self, batch: list[str], prompt: str, task: str
    ) -> tuple[dict[str, Any], torch.Tensor, torch.Tensor]:
        torch = require("torch", _PURPOSE)
        features = self._model.preprocess(
            batch,
            prompt=prompt or None,
            task=task,
            processing_kwargs={
                "text": {"return_offsets_mapping": True, "return_special_tokens_mask": True}
            },
        )
        offsets = features.pop("offset_mapping")
        special = features.pop("special_tokens_mask").bool()
        device = self._model.device
        moved = {
            key: value.to(device) if isinstance(value, torch.Tensor) else value
            for key, value in features.items()
        }
        with torch.inference_mode():
            output: dict[str, Any] = self._model(moved, task=task)
        return output, offsets, special


def load_encoder(config: EncoderConfig) -> Encoder:
    """Load the model that a configuration names.

    Parameters
    ----------
    config
        `model` is `embedded`, a folder, or a hub name, which is fetched unless it is in the local
        cache. `revision` is checked against what is found; of a hub model it selects the commit.

    Raises
    ------
    InputError
        There is no such model, its weights are not safetensors, or it is another revision.
    OfflineError
        The model would have to be fetched and the network is switched off.
    MissingExtraError
        A package is not installed; the message holds the pip line.
    """
    library = require("sentence_transformers", _PURPOSE)
    folder, revision = locate(config)
    late = _is_late_interaction(folder)
    with quiet():
        try:
            model = (library.MultiVectorEncoder if late else library.SentenceTransformer)(
                str(folder),
                device=None if config.device == "auto" else config.device,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"model {config.model}: cannot be loaded: {reason}") from None
    torch = require("torch", _PURPOSE)
    if late:
        # The index pools token vectors itself, and keeps which tokens went where.
        pooling = require("sentence_transformers.multi_vector_encoder.modules", _PURPOSE)
        for i in reversed(range(len(model))):
            if isinstance(model[i], pooling.BaseTokenPooling):
                del model[i]
    dtype = config.dtype
    if dtype == "auto":
        dtype = "bfloat16" if model.device.type == "cuda" else "float32"
    model.to(getattr(torch, dtype)).eval()
    return TransformerEncoder(model, config.model, revision, config, late=late)


def _is_late_interaction(folder: Path) -> bool:
    def read(name: str) -> dict[str, Any]:
        path = folder / name
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    kind = read("config_sentence_transformers.json").get("model_type")
    architectures = read("config.json").get("architectures") or []
    return kind in ("MultiVectorEncoder", "ColBERT") or "HF_ColBERT" in architectures


def _prompt(prompts: dict[str, str | None], task: str) -> str:
    names = ("query",) if task == "query" else ("document", "passage", "corpus")
    return next((prompts[name] or "" for name in names if prompts.get(name)), "")


def _unit(vectors: torch.Tensor) -> NDArray[np.float32]:
    torch = require("torch", _PURPOSE)
    rows: NDArray[np.float32] = torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
    return rows


def _split(
    states: torch.Tensor, offsets: torch.Tensor, keep: torch.Tensor, skips: list[int]
) -> list[TokenVectors]:
    """Cut a padded batch into texts: states `(b, t, d)`, offsets `(b, t', 2)`, keep `(b, t)`."""
    vectors = _unit(states[keep.to(states.device)])
    spans = np.full((*keep.shape, 2), -1, np.int32)
    ends = np.asarray(offsets, np.int32) - np.asarray(skips, np.int32)[:, None, None]
    # Tokens that lie in the prompt or title, and special tokens, which are empty, have no place.
    real = (ends[..., 0] >= 0) & (ends[..., 1] > ends[..., 0])
    spans[:, : ends.shape[1]][real] = ends[real]
    mask = keep.numpy()
    cuts = np.cumsum(mask.sum(axis=1))[:-1]
    return [
        TokenVectors(v, s)
        for v, s in zip(np.split(vectors, cuts), np.split(spans[mask], cuts), strict=True)
    ]
