"""What the objective is worth: several ways to train, with one encoder, data and budget.

- `filco`: sentences that hold the answer string are the labels, plain cross-entropy over tokens,
  nothing else (Wang et al. 2023, arXiv:2311.08377).
- `recomp`: question and sentence are encoded apart, trained by a contrastive loss
  (Xu et al. 2023, arXiv:2310.04408).
- `warm start`: the evidence model with its three heads, as `ragib train compressor` begins.

`python -m ragib.eval.bench.objectives --data DIR --out DIR`; an interrupted run goes on.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragib.compressor.calibration import save_calibration
from ragib.compressor.embedding_sentence import EmbeddingSentence
from ragib.compressor.model import EvidenceModel, from_base, save
from ragib.compressor.selection import sentence_spans
from ragib.compressor.training.calibrate import calibrate
from ragib.compressor.training.data import (
    Corpus,
    Example,
    Mix,
    answer_sentences,
    make_examples,
)
from ragib.compressor.training.loop import Loss, Schedule, train
from ragib.compressor.training.records import Record, read_records
from ragib.compressor.training.run import split
from ragib.compressor.training.warm_start import supervised, warm_start_loss
from ragib.compressor.windows import collate
from ragib.config import EncoderConfig
from ragib.encoders import load_encoder
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.bench.compressor import HEADER, SETS, Make, cells, load_set, measure, named
from ragib.extras import require
from ragib.models import locate
from ragib.text import batched

if TYPE_CHECKING:
    import torch

SOURCES = ("squad_train", "squadshifts_wiki", "squad2_dev", "fairytaleqa")
_TEMPERATURE = 0.05
_NEGATIVES = 4
_TOGETHER = 32
_HELD_OUT = 0.03
_CALIBRATED_ON = 400


def filco_loss(
    model: EvidenceModel, examples: Sequence[Example]
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the cross-entropy of the token head alone."""
    outputs = model.forward(collate([e.pair for e in examples], model.special.pad))
    keep = supervised(outputs, examples)["keep"]
    return keep, {"keep": float(keep.detach())}


def train_evidence(
    records: Sequence[Record], loss: Loss, mix: Mix, schedule: Schedule, folder: Path
) -> EvidenceModel:
    """Train an evidence model from the embedded base and save it."""
    model = from_base("embedded")
    model.freeze_words()
    corpus = Corpus(model.tokenizer, records)

    def epoch(number: int) -> list[Example]:
        return make_examples(records, corpus, model.special, mix, schedule.seed + number)

    train(model, epoch, loss, schedule, folder / "checkpoints", stage=folder.name)
    save(model, folder)
    return model


@dataclass(frozen=True, slots=True)
class Triple:
    """A question, the sentence with the answer, and other sentences of its passages."""

    question: str
    positive: str
    negatives: tuple[str, ...]


def triples(records: Sequence[Record], seed: int) -> list[Triple]:
    """Draw the sentences to contrast for each question."""
    rng = random.Random(seed)  # noqa: S311
    made = []
    for record in records:
        gold = {p.id: answer_sentences(p) for p in record.passages}
        right = [p.text[s:e] for p in record.passages for s, e in gold[p.id]]
        wrong = [
            p.text[s:e]
            for p in record.passages
            for s, e in sentence_spans(p.text)
            if (s, e) not in gold[p.id]
        ]
        if right and len(wrong) >= _NEGATIVES:
            drawn = tuple(rng.sample(wrong, _NEGATIVES))
            made.append(Triple(record.question, rng.choice(right), drawn))
    rng.shuffle(made)
    return made


def train_recomp(records: Sequence[Record], schedule: Schedule, folder: Path) -> None:
    """Train the embedded sentence encoder by a contrastive loss, in-batch negatives included."""
    torch = require("torch", "training")
    library = require("sentence_transformers", "training")
    torch.manual_seed(schedule.seed)
    source, _ = locate(EncoderConfig())
    model = library.SentenceTransformer(str(source), device="cpu", local_files_only=True)
    model[0].auto_model.get_input_embeddings().weight.requires_grad_(False)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=schedule.rate, weight_decay=schedule.weight_decay)
    drawn = random.Random(schedule.seed).sample(records, len(records))  # noqa: S311
    made = triples(drawn[: 2 * schedule.steps * schedule.batch_size], schedule.seed)
    for step in range(schedule.steps):
        begin = step * schedule.batch_size % max(1, len(made) - schedule.batch_size)
        batch = made[begin : begin + schedule.batch_size]
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate * schedule.factor(step)
        others = [n for t in batch for n in t.negatives]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            asked = _embed(model, [t.question for t in batch])
            found = _embed(model, [*(t.positive for t in batch), *others])
        scores = asked.float() @ found.float().T / _TEMPERATURE
        loss = torch.nn.functional.cross_entropy(scores, torch.arange(len(batch)))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, schedule.clip)
        optimiser.step()
        if (step + 1) % 50 == 0:
            click.echo(f"recomp: {step + 1} of {schedule.steps}, loss {float(loss):.3f}", err=True)
    model.save(str(folder))


def _embed(model: Any, texts: Sequence[str]) -> torch.Tensor:  # noqa: ANN401
    """Embed texts, those of similar length together: one long sentence would pad all others."""
    library = require("torch", "training")
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    parts = [
        model(model.preprocess([texts[i] for i in some]))["sentence_embedding"]
        for some in batched(order, _TOGETHER)
    ]
    back = library.empty(len(texts), dtype=library.int64)
    back[library.tensor(order)] = library.arange(len(texts))
    unit: torch.Tensor = library.nn.functional.normalize(library.cat(parts), dim=-1)[back]
    return unit


def sentence_encoder(folder: Path) -> Make:
    """Return what makes a compressor of a trained sentence encoder."""
    encoder = load_encoder(EncoderConfig(model=str(folder)))
    return lambda keep: EmbeddingSentence(encoder, keep)


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="weights")
@click.option("--steps", type=click.IntRange(min=1), default=600, show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="questions a set")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(data: Path, out: Path, steps: int, limit: int | None, page: Path | None) -> None:
    """Train and measure on the sets in the folder DATA."""
    known, held = split(list(read_records(data / "train.jsonl.gz", SOURCES)), _HELD_OUT)
    schedule = Schedule(steps=steps, save_every=200)
    arms: dict[str, Make] = {"untrained encoder": named("embedding-sentence")}
    folder = out / "recomp"
    if not (folder / "model.safetensors").exists():
        train_recomp(known, schedule, folder)
    arms["recomp"] = sentence_encoder(folder)
    folder = out / "filco"
    if not (folder / "model.safetensors").exists():
        plain = Mix(second=0, second_hops=0, excerpts=0)
        train_evidence(known, filco_loss, plain, schedule, folder)
    arms["filco"] = named(str(folder))
    folder = out / "warm-start"
    if not (folder / "calibration.json").exists():
        model = train_evidence(known, warm_start_loss, Mix(), schedule, folder)
        drawn = random.Random(0).sample(held, min(len(held), _CALIBRATED_ON))  # noqa: S311
        save_calibration(calibrate(model, drawn), folder)
    arms["warm start"] = named(str(folder))
    rows = []
    for set_name in SETS:
        records = load_set(data, set_name, limit)
        rows += [measure(name, make, set_name, records) for name, make in arms.items()]
    text = (
        f"{steps} updates of {schedule.batch_size} examples each, on the one-hop questions alone; "
        f"share of questions (%) whose kept evidence still holds the answer.\n\n"
        f"{markdown_table(HEADER, map(cells, rows))}"
    )
    report("objectives", text, {"steps": steps, "rows": rows}, page)


if __name__ == "__main__":
    run(main)
