"""Training a token head: MaxSim over pooled vectors against torch's own gradients, and the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_records import record, write

from ragib.compressor.model import from_base, save
from ragib.compressor.training import token_states as states_module
from ragib.compressor.training.contrasts import Contrasts, contrasts, relevances
from ragib.compressor.training.head_fit import Cached, HeadPlan, batch_loss, fit, reciprocal_rank
from ragib.compressor.training.late import contrastive, margin_mse, maxsim, pooled, projected
from ragib.compressor.training.loop import Schedule
from ragib.compressor.training.token_head import cached, first_projection, train_head
from ragib.compressor.training.token_states import token_states
from ragib.config import EncoderConfig
from ragib.encoders import Encoder, load_encoder
from ragib.errors import InputError, RagibError
from ragib.indexes.pooling import pool_batch
from ragib.indexes.token_head import NAME, read_head

RECORDS = [record(number) for number in range(40)]


def silent(stage: str, done: int, total: int | None) -> None: ...


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return load_encoder(EncoderConfig(model=str(tiny_encoder_dir), device="cpu"))


@pytest.fixture(scope="module")
def train(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Cached:
    return cached(contrasts(RECORDS, 0), encoder, tmp_path_factory.mktemp("states"), silent)


def units(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    vectors = rng.standard_normal((count, dim)) + 1.5 * rng.standard_normal(dim)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def naive_scores(
    queries: list[np.ndarray], passages: list[np.ndarray], matrix: torch.Tensor, factor: float
) -> torch.Tensor:
    """One pair, one cluster, one token at a time."""

    def project(states: np.ndarray) -> list[torch.Tensor]:
        rows = [torch.from_numpy(row) @ matrix for row in states]
        return [row / row.norm() for row in rows]

    pooled_passages = []
    for states in passages:
        rows = project(states)
        labels = pool_batch([torch.stack(rows).detach().numpy()], factor)[0][1]
        clusters = [
            [row for row, label in zip(rows, labels, strict=True) if label == number]
            for number in range(labels.max() + 1)
        ]
        means = [sum(cluster) / len(cluster) for cluster in clusters]
        pooled_passages.append([mean / mean.norm() for mean in means])
    lines = []
    for states in queries:
        asked = project(states)
        lines.append(
            torch.stack(
                [
                    sum(torch.stack([q @ v for v in vectors]).max() for q in asked)
                    for vectors in pooled_passages
                ]
            )
        )
    return torch.stack(lines)


@given(st.integers(0, 999), st.sampled_from([1.0, 1.5, 2.0, 3.0, 6.0]))
def test_scores_and_gradients_are_those_of_the_definition(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    queries = [units(rng, int(count), 6) for count in rng.integers(1, 4, 2)]
    passages = [units(rng, int(count), 6) for count in rng.integers(1, 9, 3)]
    matrix = rng.standard_normal((6, 4)).astype(np.float32)
    weights = torch.from_numpy(rng.standard_normal((2, 3)).astype(np.float32))
    fast, slow = (torch.tensor(matrix, requires_grad=True) for _ in range(2))
    asked, lengths = projected(queries, fast)
    vectors, counts = pooled(*projected(passages, fast), factor)
    found = maxsim(asked, lengths, vectors, counts)
    expected = naive_scores(queries, passages, slow, factor)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(fast.grad, slow.grad, atol=1e-4, rtol=1e-3)


def test_pooled_vectors_are_those_of_an_index() -> None:
    rng = np.random.default_rng(5)
    passages = [units(rng, count, 6) for count in (1, 2, 9, 30)]
    vectors, counts = pooled(torch.from_numpy(np.concatenate(passages)), [1, 2, 9, 30], 3)
    expected = [means for means, _ in pool_batch(passages, 3)]
    assert counts == [len(means) for means in expected]
    np.testing.assert_allclose(vectors.numpy(), np.concatenate(expected), atol=1e-6)


def test_other_passages_that_answer_are_no_negatives() -> None:
    scores = torch.tensor([[1.0, 9.0, 0.0]])
    both = torch.tensor([[True, True, False]])
    found = contrastive(scores, [0], both)
    torch.testing.assert_close(found, -torch.log_softmax(torch.tensor([1.0, 0.0]), 0)[0])
    one = contrastive(scores, [0], torch.tensor([[True, False, False]]))
    torch.testing.assert_close(one, -torch.log_softmax(scores[0], 0)[0])


def test_margins_of_the_teacher_are_learnt() -> None:
    scores = [torch.tensor([3.0, 1.0, 2.5]), torch.tensor([1.0, 4.0])]
    assert float(margin_mse(scores, [(5.0, 3.0, 4.5), (0.0, 3.0)])) == 0
    # Margins 2, 0.5 and -3 against 0, 0.5 and -3.
    assert float(margin_mse(scores, [(5.0, 5.0, 4.5), (0.0, 3.0)])) == pytest.approx(4 / 3)


def test_contrasts_are_drawn_from_the_record() -> None:
    gold, noise = RECORDS[0].passages
    second = replace(gold, id="h", text="It was built by Rome.")
    many = replace(RECORDS[0], passages=(noise, gold, second, *RECORDS[1].passages[1:]))
    bare = replace(RECORDS[2], passages=RECORDS[2].passages[1:])
    made = contrasts([many, bare, RECORDS[0]], seed=1)
    assert made.questions == [many.question, RECORDS[0].question]
    first = made.items[0]
    assert {made.passages[n] for n in first.golds} == {
        (gold.title, gold.text),
        (second.title, second.text),
    }
    assert first.passages[0] in first.golds
    assert first.golds.isdisjoint(first.passages[1:])
    assert len(set(made.passages)) == len(made.passages)
    assert made == contrasts([many, bare, RECORDS[0]], seed=1)


def test_texts_are_encoded_once(encoder: Encoder, tmp_path: Path) -> None:
    asked: list[str] = []

    def encode(texts):
        asked.extend(texts)
        return encoder.queries(texts, dense=False, tokens=True)

    texts = ["who built it", "the king of rome and the river"]
    for _ in range(2):
        found = token_states(texts, encode, "r", tmp_path / "q.f16", silent)
    assert asked == texts
    expected = encoder.queries(texts, dense=False, tokens=True).tokens
    assert expected is not None
    assert len(found) == 2
    for number, entry in enumerate(expected):
        np.testing.assert_allclose(found[number], entry.vectors, atol=1e-3)
    token_states(texts[:1], encode, "r", tmp_path / "q.f16", silent)
    token_states(texts[:1], encode, "other", tmp_path / "q.f16", silent)
    assert asked == [*texts, *texts[:1], *texts[:1]]


def test_vectors_beyond_the_room_are_refused(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states_module, "ROOM", 100)
    with pytest.raises(InputError, match="train on fewer questions"):
        cached(contrasts(RECORDS, 0), encoder, tmp_path, silent)
    assert not list(tmp_path.iterdir())


def test_a_passage_without_tokens_is_left_out(encoder: Encoder, tmp_path: Path) -> None:
    empty = replace(RECORDS[0].passages[1], text="", title="")
    records = [replace(RECORDS[0], passages=(RECORDS[0].passages[0], empty)), RECORDS[1]]
    found = cached(contrasts(records, 0), encoder, tmp_path, silent)
    assert [item.question for item in found.made.items] == [1]


@pytest.mark.parametrize("factors", [(1.0,), (2.0, 3.0)])
def test_training_brings_questions_nearer_to_their_passages(
    train: Cached, factors: tuple[float, ...]
) -> None:
    plan = HeadPlan(Schedule(30, batch_size=8, rate=1e-2), dim=8, factors=factors)
    start = first_projection(train.passages, 8)
    found, log = fit(train, start, plan, None, silent)
    assert log[-1]["loss"] < log[0]["loss"]
    before, after = (reciprocal_rank(train, matrix, 1.0) for matrix in (start, found))
    assert after > before
    again, _ = fit(train, start, plan, None, silent)
    np.testing.assert_array_equal(found, again)
    reseeded = replace(plan, schedule=replace(plan.schedule, seed=1))
    other, _ = fit(train, start, reseeded, None, silent)
    assert np.abs(found - other).max() > 0


def test_reciprocal_rank_counts_ties_against_us(train: Cached) -> None:
    nothing = np.zeros((32, 8), np.float32)
    count = len(train.passages)
    assert reciprocal_rank(train, nothing, 1.0) == pytest.approx(1 / count)


def test_a_loss_that_is_no_number_stops_the_training(train: Cached) -> None:
    plan = HeadPlan(Schedule(3, batch_size=4), dim=8, scale=float("inf"))
    with pytest.raises(RagibError, match="lower the learning rate"):
        fit(train, first_projection(train.passages, 8), plan, None, silent)


def test_the_teacher_reads_the_passages_of_each_contrast(tiny_encoder_dir: Path) -> None:
    model = from_base(str(tiny_encoder_dir))
    made = contrasts(RECORDS[:5], 0)
    found = relevances(model, RECORDS[:5], made, silent)
    assert [len(line) for line in found] == [2] * 5
    swapped = Contrasts(
        made.questions,
        made.passages,
        [replace(item, passages=item.passages[::-1]) for item in made.items],
    )
    again = relevances(model, RECORDS[:5], swapped, silent)
    np.testing.assert_allclose([line[::-1] for line in again], found, atol=0.02)


def test_a_batch_is_taught_by_margins(train: Cached) -> None:
    matrix = torch.from_numpy(first_projection(train.passages, 8))
    items, one = train.made.items[:3], torch.tensor(1.0)
    scores = []
    for item in items:
        asked = projected([train.questions[item.question]], matrix)
        found = projected([train.passages[n] for n in item.passages], matrix)
        scores.append(tuple(maxsim(*asked, *found)[0].tolist()))
    loss = batch_loss(train, items, matrix, one, 1.0, scores)
    assert float(loss) == pytest.approx(0, abs=1e-8)
    assert float(batch_loss(train, items, matrix, 2 * one, 1.0, scores)) > 0


def test_a_whole_training(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    save(from_base(str(tiny_encoder_dir)), tmp_path / "teacher")
    data = write(RECORDS, tmp_path / "train.jsonl")
    plan = HeadPlan(
        Schedule(4, batch_size=8),
        EncoderConfig(model=str(tiny_encoder_dir), device="cpu"),
        dim=8,
        factors=(2.0,),
        teacher=tmp_path / "teacher",
    )
    found = train_head([data], tmp_path / "head", plan, silent)
    assert [row["factor"] for row in found] == [1.0, 2.0]
    first = read_head(tmp_path / "head")
    assert first.projection.shape == (32, 8)
    notes = json.loads((tmp_path / "head" / "training.json").read_text())
    assert notes["questions"] == 36  # two of each source are held out
    assert notes["held_out"] == found
    # The teacher and the encoder are not asked again, and the result is the same.
    (tmp_path / "teacher" / "evidence.json").unlink()
    (tmp_path / "head" / NAME).unlink()
    assert train_head([data], tmp_path / "head", plan, silent) == found
    assert read_head(tmp_path / "head").sha256 == first.sha256


def test_an_encoder_with_nothing_to_project(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    data = write(RECORDS, tmp_path / "train.jsonl")
    plan = HeadPlan(encoder=EncoderConfig(model=str(tiny_encoder_dir)), dim=32)
    with pytest.raises(InputError, match=r"32 dimensions .* no head to train"):
        train_head([data], tmp_path / "head", plan, silent)


def test_too_few_questions(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    data = write(RECORDS[:1], tmp_path / "train.jsonl")
    plan = HeadPlan(encoder=EncoderConfig(model=str(tiny_encoder_dir)), dim=8)
    with pytest.raises(InputError, match="too few to train on"):
        train_head([data], tmp_path / "head", plan, silent)
