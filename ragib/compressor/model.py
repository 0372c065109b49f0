"""The evidence model: one encoder reads (question, passage) once and answers three things.

Is the passage relevant (from the first token), which tokens carry evidence (a logit a token), and
where would an answer begin and end (two logits a token, the first token standing for "nowhere").
Reranking, compression and the built-in reader share this forward pass, as in Provence (Chirkova
et al. 2025, arXiv:2501.16214), with the span head added.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragib.compressor.attention import use_plain_attention
from ragib.compressor.windows import Batch, Special, special_ids
from ragib.config import EncoderConfig
from ragib.errors import InputError
from ragib.extras import require
from ragib.models import locate, quiet

if TYPE_CHECKING:
    import torch

_PURPOSE = "the trained compressor"
_WEIGHTS = "model.safetensors"
_SETTINGS = "evidence.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """What a model needs beside its weights.

    `base` is the encoder it was trained from (`embedded`, a folder or a hub name) and
    `base_revision` the digest of its weights, from which the frozen word embeddings are taken
    when the file does not hold them. `max_tokens` is the length of the sequences it reads.
    """

    base: str
    base_revision: str
    max_tokens: int = 256
    overlap: int = 64
    format: int = _FORMAT


@dataclass(frozen=True, slots=True)
class Outputs:
    """Logits of a batch of `b` sequences of `t` tokens, float32.

    `relevance` is `(b,)`; `keep`, `start` and `end` are `(b, t)`, with -inf for `start` and `end`
    at every token that is neither of the passage nor the first one.
    """

    relevance: torch.Tensor
    keep: torch.Tensor
    start: torch.Tensor
    end: torch.Tensor


Encode = Callable[[Batch], "torch.Tensor"]
"""Computes the last hidden states of a batch, `(b, t, h)` float32."""


@dataclass(frozen=True)
class EvidenceModel:
    """An encoder with three heads; `modules` holds `encoder`, `tokens` (3 rows), `passage` (1).

    With `encode`, that stands in for the encoder, and the model can only read.
    """

    modules: torch.nn.ModuleDict
    tokenizer: Any
    special: Special
    settings: Settings
    encode: Encode | None = None

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return next(self.modules.parameters()).device

    def forward(self, batch: Batch, gate: torch.Tensor | None = None) -> Outputs:
        """Read a batch.

        Parameters
        ----------
        batch
            Padded sequences.
        gate
            `(b, t)` in [0, 1]: how much of each token's word is shown; the rest is the mask token.
        """
        torch = require("torch", _PURPOSE)
        modules: Any = self.modules
        states = self._states(batch, gate)
        logits = modules["tokens"](states).float()
        relevance = modules["passage"](states[:, 0]).float().squeeze(-1)
        allowed = torch.from_numpy(batch.passage).to(self.device, copy=True)
        allowed[:, 0] = True
        start, end = (logits[..., column].masked_fill(~allowed, float("-inf")) for column in (1, 2))
        return Outputs(relevance, logits[..., 0], start, end)

    def _states(self, batch: Batch, gate: torch.Tensor | None) -> torch.Tensor:
        if self.encode is not None:
            assert gate is None
            return self.encode(batch)
        library = require("torch", _PURPOSE)
        ids, types, mask = (
            library.from_numpy(part).to(self.device)
            for part in (batch.ids, batch.types, batch.mask)
        )
        modules: Any = self.modules
        encoder = modules["encoder"]
        inputs: dict[str, Any] = {"attention_mask": mask}
        if getattr(encoder.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = types
        if gate is None:
            inputs["input_ids"] = ids
        else:
            words = encoder.get_input_embeddings()
            hidden = words(library.full_like(ids[:1, :1], self.special.mask))
            shown = gate.unsqueeze(-1)
            inputs["inputs_embeds"] = shown * words(ids) + (1 - shown) * hidden
        states: torch.Tensor = encoder(**inputs).last_hidden_state
        return states

    def freeze_words(self) -> None:
        """Keep the word embeddings as they are in the base: half the weights, none of the gain."""
        _words(self).requires_grad_(False)


def from_base(
    base: str, max_tokens: int = 256, device: str | None = None, seed: int = 0
) -> EvidenceModel:
    """Put fresh heads on an encoder.

    Parameters
    ----------
    base
        `embedded`, a folder, or a hub name.
    max_tokens
        Length of the sequences to read; at most what the encoder can.
    device
        Where the weights go; by default a GPU if there is one.
    seed
        Draws the heads.

    Raises
    ------
    InputError
        There is no such encoder, or its tokenizer is a slow one without offsets.
    """
    torch = require("torch", _PURPOSE)
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    encoder, tokenizer, digest = _load_base(base, where)
    size = encoder.config.hidden_size
    heads = {"tokens": torch.nn.Linear(size, 3), "passage": torch.nn.Linear(size, 1)}
    generator = torch.Generator().manual_seed(seed)
    for head in heads.values():
        torch.nn.init.normal_(head.weight, std=0.02, generator=generator)
        torch.nn.init.zeros_(head.bias)
    modules = torch.nn.ModuleDict({"encoder": encoder, **heads}).to(where)
    limit = min(max_tokens, tokenizer.model_max_length, encoder.config.max_position_embeddings)
    settings = Settings(base, digest, limit, limit // 4)
    return EvidenceModel(modules, tokenizer, special_ids(tokenizer), settings)


def save(model: EvidenceModel, folder: Path, half: bool = True) -> None:
    """Write a model into a folder: `model.safetensors` and `evidence.json`.

    Parameters
    ----------
    model
        The model. Frozen word embeddings are left out: loading takes them from the base.
    folder
        Made if need be; files of the same names are replaced.
    half
        Store float16, which changes logits by less than 0.01.
    """
    torch = require("torch", _PURPOSE)
    files = require("safetensors.torch", _PURPOSE)
    left_out = _frozen(model)
    dtype = torch.float16 if half else torch.float32
    tensors = {
        name: tensor.detach().cpu().to(dtype).contiguous()
        for name, tensor in model.modules.state_dict().items()
        if name not in left_out
    }
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{_WEIGHTS}.part"
    files.save_file(tensors, part)
    settings = folder / f"{_SETTINGS}.part"
    settings.write_text(json.dumps(asdict(model.settings), indent=2) + "\n", encoding="utf-8")
    part.replace(folder / _WEIGHTS)
    settings.replace(folder / _SETTINGS)


def load(folder: Path, device: str | None = None) -> EvidenceModel:
    """Read a model that `save` wrote; by default it goes on a GPU if there is one.

    Raises
    ------
    InputError
        The folder holds no model, or it does not fit its base.
    """
    files = require("safetensors.torch", _PURPOSE)
    try:
        settings = _settings(json.loads((folder / _SETTINGS).read_text(encoding="utf-8")))
        tensors = files.load_file(folder / _WEIGHTS)
    except OSError as error:
        raise InputError(f"{folder}: no evidence model: {error.strerror or error}") from None
    except (
        ValueError,
        TypeError,
        RecursionError,
        require("safetensors", _PURPOSE).SafetensorError,
    ) as error:
        raise InputError(f"{folder}: not an evidence model: {error}") from None
    if settings.format != _FORMAT:
        raise InputError(f"{folder}: format {settings.format} is not known; update ragib")
    model = from_base(settings.base, settings.max_tokens, device)
    if model.settings.base_revision != settings.base_revision:
        raise InputError(
            f"{folder}: was trained from other weights of {settings.base}: revision "
            f"{settings.base_revision}, found {model.settings.base_revision}"
        )
    model.freeze_words()
    expected = model.modules.state_dict()
    wrong = (expected.keys() - tensors.keys() - _frozen(model)) | (tensors.keys() - expected.keys())
    wrong |= {n for n in tensors.keys() & expected.keys() if tensors[n].shape != expected[n].shape}
    if wrong:
        raise InputError(f"{folder}: weights do not fit {settings.base}: {min(wrong)}")
    model.modules.load_state_dict({name: t.float() for name, t in tensors.items()}, strict=False)
    model.modules.eval()
    return EvidenceModel(model.modules, model.tokenizer, model.special, settings)


def _settings(values: Any) -> Settings:  # noqa: ANN401
    settings = Settings(**values)
    texts = settings.base, settings.base_revision
    numbers = settings.max_tokens, settings.overlap, settings.format
    if not all(type(value) is str and value.strip() for value in texts):
        raise ValueError(f"{_SETTINGS}: base and base_revision must be texts, got {texts}")
    if not all(type(value) is int and 0 < value < 1 << 20 for value in numbers):
        raise ValueError(f"{_SETTINGS}: max_tokens, overlap and format must be counts: {numbers}")
    return settings


def _frozen(model: EvidenceModel) -> set[str]:
    """Name the word embeddings if they were not trained."""
    words = _words(model)
    if words.requires_grad:
        return set()
    return {name for name, tensor in model.modules.named_parameters() if tensor is words}


def _words(model: EvidenceModel) -> torch.Tensor:
    encoder: Any = model.modules["encoder"]
    weight: torch.Tensor = encoder.get_input_embeddings().weight
    return weight


def _load_base(base: str, device: str) -> tuple[Any, Any, str]:
    """Return encoder, tokenizer and what identifies the weights."""
    on_cpu = device == "cpu"
    library = require("transformers", _PURPOSE)
    folder, revision = locate(EncoderConfig(model=base))
    with quiet():
        encoder = library.AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype="float32",
            attn_implementation="eager" if on_cpu else None,
        )
        tokenizer = library.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, use_fast=True
        )
    if on_cpu:
        use_plain_attention(encoder)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    if not tokenizer.is_fast:
        raise InputError(f"model {base}: its tokenizer does not tell the place of each token")
    return encoder, tokenizer, revision
