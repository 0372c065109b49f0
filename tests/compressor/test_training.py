from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from training_records import NAMES, THINGS, passage, record, write

from ragib.cli.main import cli
from ragib.compressor.model import EvidenceModel, Outputs, from_base, load
from ragib.compressor.registry import load_compressor
from ragib.compressor.training.bottleneck import (
    Bottleneck,
    BottleneckLoss,
    bernoulli_kl,
    binary_concrete,
    sentence_probabilities,
)
from ragib.compressor.training.calibrate import logistic_regression
from ragib.compressor.training.cloze import cloze_questions
from ragib.compressor.training.compose import compose, describe
from ragib.compressor.training.data import Corpus, Example, Mix, evidence_sentences, make_examples
from ragib.compressor.training.loop import Schedule, batches, train
from ragib.compressor.training.mean import load_mean
from ragib.compressor.training.records import Record, read_records
from ragib.compressor.training.run import Plan, train_compressor
from ragib.compressor.training.silver import candidate_sets, label
from ragib.compressor.training.warm_start import mean_loss, supervised, warm_start_loss
from ragib.compressor.windows import collate
from ragib.config import CompressorConfig
from ragib.errors import CorpusError, InputError, RagibError
from ragib.types import Passage, Question

RECORDS = [record(number) for number in range(40)]


@pytest.fixture
def model(tiny_encoder_dir: Path) -> EvidenceModel:
    torch.manual_seed(0)
    made = from_base(str(tiny_encoder_dir))
    made.freeze_words()
    return made


def examples_of(model: EvidenceModel, records: list[Record], mix: Mix | None = None):
    corpus = Corpus(model.tokenizer, records)
    return make_examples(records, corpus, model.special, mix or Mix(max_tokens=128), seed=0)


def text_of(model: EvidenceModel, example: Example, marked: np.ndarray) -> str:
    return str(model.tokenizer.decode(example.pair.ids[marked]))


def test_labels_of_an_example_are_its_sentence_and_its_answer(model: EvidenceModel) -> None:
    examples = examples_of(
        model, RECORDS[:10], Mix(second=0, excerpts=0, caps=(128,), max_tokens=128)
    )
    gold, noise = examples[0], examples[1]
    assert gold.relevant
    kept = text_of(model, gold, gold.keep == 1)
    assert kept == "the book of moon was built by paris ."
    assert text_of(model, gold, np.arange(gold.start, gold.end + 1)) == "paris"
    assert not noise.relevant
    assert (noise.start, noise.end) == (0, 0)
    assert not (noise.keep == 1).any()
    assert gold.sentence[gold.keep == 1].tolist() == [1] * int((gold.keep == 1).sum())


def test_windows_of_a_long_passage_hold_the_answer(model: EvidenceModel) -> None:
    text = "A dog was red. " * 40 + "It was built by Rome. " + "A cat was old. " * 40
    long = replace(RECORDS[0], passages=(passage("g", text, "Rome", gold=True),))
    for seed in range(8):
        corpus = Corpus(model.tokenizer, [long])
        mix = Mix(max_tokens=128, caps=(48,))
        [example] = make_examples([long], corpus, model.special, mix, seed)
        assert text_of(model, example, np.arange(example.start, example.end + 1)) == "rome"
        assert len(example.pair.ids) <= 128


def test_second_readings_are_shown_evidence_in_the_first_segment(model: EvidenceModel) -> None:
    always = examples_of(model, RECORDS[:10], Mix(second=1.0, max_tokens=128))
    never = examples_of(model, RECORDS[:10], Mix(second=0.0, max_tokens=128))
    assert sum(e.pair.segment for e in always) > sum(e.pair.segment for e in never)


def test_evidence_without_answers_is_what_overlaps_most() -> None:
    text = "One dog. Two cats were here. Three fish."
    labelled = replace(passage("p", text, gold=True), evidence=((9, 28),))
    assert evidence_sentences(labelled) == [(9, 28)]


@pytest.mark.parametrize(
    ("question", "description"),
    [
        ("Who wrote Hamlet?", "the person who wrote Hamlet"),
        ("Who was the king of France?", "the king of France"),
        ("What is the capital of Peru?", "the capital of Peru"),
        ("Which river flows through Rome?", "the river that flows through Rome"),
        ("Where was Chopin born?", "the place where was Chopin born"),
        ("In what year did it end?", "in what year did it end"),
    ],
)
def test_a_question_becomes_a_description(question: str, description: str) -> None:
    assert describe(question) == description


def test_two_questions_become_one_of_two_hops() -> None:
    first = replace(RECORDS[0], answers=("Paris",), question="Who built the old tower?")
    second = replace(RECORDS[11], answers=("1889",), question="When was Paris born?", id="second")
    [made] = [r for r in compose([first, second], seed=0) if r.id.endswith("+second")]
    assert made.question == "When was the person who built the old tower born?"
    assert made.answers == ("1889",)
    by_id = {p.id: p for p in made.passages}
    assert by_id["g0"].answers == ()
    assert by_id["g0"].evidence
    assert by_id["g11"].answers == second.passages[0].answers


def test_names_are_not_joined_over_one_passage() -> None:
    first = replace(RECORDS[0], answers=("Paris",))
    second = replace(RECORDS[0], id="x", question="When was Paris born?", answers=("1889",))
    assert compose([first, second], seed=0) == []


WIKI = [
    replace(
        record(number),
        passages=(
            passage(
                f"w{number}",
                f"{name} Tower was built in the year of the {thing}. It is near {other} Tower. "
                f"In spring the old {name} Tower is cold.",
            ),
        ),
    )
    for number, (name, thing, other) in enumerate(
        zip(NAMES, THINGS, [*NAMES[1:], NAMES[0]], strict=True)
    )
]


def test_cloze_questions_rest_on_two_passages_named_by_their_subject() -> None:
    made = cloze_questions(WIKI, seed=0, count=12)
    assert len(made) == 12
    assert made == cloze_questions(WIKI, seed=0, count=12)
    for asked in made:
        gold = [p for p in asked.passages if p.gold]
        assert len(gold) == 2
        assert len(asked.passages) > 2
        for found in asked.passages:
            assert found.text.startswith(found.title)
            assert bool(found.evidence) == found.gold
            assert all(0 <= s < e <= len(found.text) for s, e in found.evidence)


def test_texts_without_names_give_no_cloze_questions() -> None:
    plain = [replace(RECORDS[0], passages=(passage("p", "it is cold. a dog ran."),))]
    assert cloze_questions(plain, seed=0, count=5) == []
    assert cloze_questions([], seed=0, count=5) == []


def test_evidence_of_an_unknown_answer_teaches_no_span(model: EvidenceModel) -> None:
    unknown = replace(
        RECORDS[0],
        answers=(),
        passages=(replace(RECORDS[0].passages[0], answers=(), evidence=((25, 61),)),),
    )
    [example] = examples_of(model, [unknown], Mix(second=0, max_tokens=128))
    assert (example.start, example.end) == (-1, -1)
    losses = supervised(outputs((1, len(example.pair.ids))), [example])
    assert float(losses["span"]) == 0.0
    assert float(losses["keep"]) > 0.0


def outputs(shape: tuple[int, int]) -> Outputs:
    return Outputs(*(torch.zeros(s) for s in ((shape[0],), shape, shape, shape)))


def test_supervised_losses_by_hand(model: EvidenceModel) -> None:
    examples = examples_of(model, RECORDS[:1], Mix(second=0, max_tokens=128))
    width = max(len(e.pair.ids) for e in examples)
    losses = supervised(outputs((2, width)), examples)
    assert float(losses["keep"]) == pytest.approx(np.log(2))
    assert float(losses["relevance"]) == pytest.approx(np.log(2))
    assert float(losses["span"]) == pytest.approx(np.log(width))


def test_kl_of_bernoullis_by_hand() -> None:
    found = bernoulli_kl(torch.tensor([0.1, 0.5, 1.0]), 0.1)
    expected = [0.0, 0.5 * np.log(5) + 0.5 * np.log(0.5 / 0.9), np.log(10)]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_masks_are_binary_follow_theta_and_pass_gradients() -> None:
    torch.manual_seed(0)
    theta = torch.full((4, 5000), 0.9, requires_grad=True)
    mask = binary_concrete(theta, 0.5)
    torch.testing.assert_close(mask, mask.round())
    assert float(mask.detach().mean()) == pytest.approx(0.9, abs=0.02)
    mask.sum().backward()
    assert theta.grad is not None
    assert (theta.grad > 0).any()


def test_sentence_probabilities_by_hand() -> None:
    keep = torch.tensor([[9.0, 0.0, 0.0, -40.0]])
    theta, length = sentence_probabilities(keep, torch.tensor([[-1, 0, 1, 1]]))
    np.testing.assert_allclose(theta, [[0.5, 0.25]])
    np.testing.assert_allclose(length, [[1, 2]])


def test_gate_hides_and_shows(model: EvidenceModel) -> None:
    batch = collate([e.pair for e in examples_of(model, RECORDS[:2])], model.special.pad)
    plain = model.forward(batch)
    shown = model.forward(batch, torch.ones(batch.ids.shape))
    hidden = model.forward(batch, torch.zeros(batch.ids.shape))
    torch.testing.assert_close(plain.keep, shown.keep)
    masked = replace(batch, ids=np.full_like(batch.ids, model.special.mask))
    torch.testing.assert_close(model.forward(masked).keep, hidden.keep)


def test_beta_rises_while_too_much_is_kept(model: EvidenceModel) -> None:
    examples = examples_of(model, RECORDS[:4])
    loss = BottleneckLoss(Bottleneck(target=0.01, rate=1.0))
    value, parts = loss(model, examples)
    assert loss.beta == pytest.approx(parts["kept"] - 0.01)
    value.backward()
    assert all(
        p.grad is not None and torch.isfinite(p.grad).all()
        for n, p in model.modules.named_parameters()
        if p.requires_grad
    )
    strict = BottleneckLoss(Bottleneck(target=0.999, rate=1.0), beta=0.0)
    strict(model, examples)
    assert strict.beta == 0.0


def test_the_bottleneck_reaches_its_rate(model: EvidenceModel, tmp_path: Path) -> None:
    examples = examples_of(model, RECORDS)
    loss = BottleneckLoss(Bottleneck(target=0.15, rate=0.2, supervision=0.0))
    log = train(
        model,
        lambda _: examples,
        loss,
        Schedule(steps=60, batch_size=16, micro_batch=16, rate=3e-3, save_every=60),
        tmp_path,
    )
    with torch.inference_mode():
        theta = [
            float(torch.sigmoid(model.forward(collate([e.pair], 0)).keep[0, e.pair.body :]).mean())
            for e in examples
        ]
    assert log[-1]["beta"] > 0
    assert np.mean(theta) < 0.25


def test_training_learns_and_keeps_the_word_embeddings(
    model: EvidenceModel, tmp_path: Path
) -> None:
    examples = examples_of(model, RECORDS)
    words = model.modules["encoder"].get_input_embeddings().weight.clone()
    schedule = Schedule(steps=60, batch_size=16, micro_batch=8, rate=3e-3, save_every=60)
    before = mean_loss(model, examples, 16)
    train(model, lambda _: examples, warm_start_loss, schedule, tmp_path)
    assert mean_loss(model, examples, 16) < 0.5 * before
    torch.testing.assert_close(model.modules["encoder"].get_input_embeddings().weight, words)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def run(folder: Path, stop_after: int | None) -> EvidenceModel:
        torch.manual_seed(1)
        made = from_base(str(tiny_encoder_dir))
        made.freeze_words()
        examples = examples_of(made, RECORDS[:16])

        def watch(stage: str, done: int, total: int | None) -> None:
            if stop_after is not None and done == stop_after * 8:
                raise Stop

        schedule = Schedule(steps=12, batch_size=8, micro_batch=8, rate=1e-3, save_every=4)
        train(made, lambda _: examples, warm_start_loss, schedule, folder, progress=watch)
        return made

    whole = run(tmp_path / "whole", None)
    with pytest.raises(Stop):
        run(tmp_path / "parts", 6)
    resumed = run(tmp_path / "parts", None)
    for a, b in zip(whole.modules.parameters(), resumed.modules.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert [p.name for p in (tmp_path / "parts").glob("checkpoint-*")] == [
        "checkpoint-12.safetensors"
    ]


def test_early_stopping_returns_the_best_model(model: EvidenceModel, tmp_path: Path) -> None:
    examples = examples_of(model, RECORDS[:16])
    scores = iter([3.0, 2.0, 1.0, 0.0])
    kept: list[torch.Tensor] = []

    def evaluate(trained: EvidenceModel) -> float:
        kept.append(trained.modules["tokens"].weight.detach().clone())
        return next(scores)

    schedule = Schedule(steps=8, batch_size=8, micro_batch=8, rate=1e-2, save_every=2, patience=2)
    log = train(model, lambda _: examples, warm_start_loss, schedule, tmp_path, evaluate=evaluate)
    assert [e["dev"] for e in log if "dev" in e] == [3.0, 2.0, 1.0]
    torch.testing.assert_close(model.modules["tokens"].weight, kept[0])


def test_a_loss_that_is_no_number_is_an_error(model: EvidenceModel, tmp_path: Path) -> None:
    def broken(trained: EvidenceModel, examples: object) -> tuple[torch.Tensor, dict[str, float]]:
        return trained.modules["tokens"].weight.sum() * float("nan"), {}

    examples = examples_of(model, RECORDS[:8])
    with pytest.raises(RagibError, match="not a number"):
        train(model, lambda _: examples, broken, Schedule(steps=1), tmp_path)


def test_batches_hold_every_example_once(model: EvidenceModel) -> None:
    examples = examples_of(model, RECORDS)
    found = batches(examples, 7, seed=3)
    assert sorted(id(e) for b in found for e in b) == sorted(map(id, examples))
    assert batches(examples, 7, seed=3)[0][0] is found[0][0]


def test_learning_rate_rises_stays_and_falls() -> None:
    schedule = Schedule(steps=100, warmup=0.1, decay=0.5)
    factors = [schedule.factor(step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[30] == 1.0
    assert factors[-1] == pytest.approx(0.02)


def test_logistic_regression_finds_the_weights() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20000, 2))
    wanted = rng.random(20000) < 1 / (1 + np.exp(-(x @ [2.0, -1.0] - 0.5)))
    np.testing.assert_allclose(logistic_regression(x, wanted), [-0.5, 2.0, -1.0], atol=0.1)


def test_silver_label_is_the_candidate_with_the_best_score() -> None:
    text = "Rome is old. The king built Rome in spring. A dog ran."
    first = passage("p", text, "Rome", gold=True)
    both = replace(first, answers=((0, 4), (28, 32)))
    asked = replace(RECORDS[0], question="who built it?", answers=("Rome",), passages=(both,))
    sets = candidate_sets(asked)
    assert ((0, (0, 12)),) in sets
    assert ((0, (0, 12)), (0, (13, 43))) in sets

    def prefers_built(_: Sequence[Record], kept: Sequence[Sequence[str]]) -> list[float]:
        return [len(texts) - 5 * any("built" in sentence for sentence in texts) for texts in kept]

    unknown = replace(asked, answers=())
    labelled, same = label([asked, unknown], prefers_built)
    assert same is unknown
    assert labelled.passages[0].evidence == ((13, 43),)
    assert labelled.passages[0].answers == ((28, 32),)


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = write(RECORDS, tmp_path / "train.jsonl")
    assert list(read_records(path)) == RECORDS
    assert [r.source for r in read_records(path, ["b"])] == ["b"] * 20
    marked = tmp_path / "marked.jsonl"
    marked.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(read_records(marked)) == RECORDS
    zipped = tmp_path / "train.jsonl.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert list(read_records(zipped)) == RECORDS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":2: not a record"),
        ('{"id": 1}', ":2: lacks the key 'passages'"),
        ("3", ":2: not a record"),
        ('{"answers": "Rome", "passages": []}', "put it into a list"),
        (
            json.dumps(
                {
                    "id": 1,
                    "question": "q",
                    "answers": [],
                    "passages": [{"id": 1, "text": "abc", "gold": True, "evidence": [[0, 9]]}],
                }
            ),
            r":2: not a record: span \[0, 9\)",
        ),
    ],
)
def test_bad_records_name_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = write(RECORDS[:1], tmp_path / "bad.jsonl")
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(CorpusError, match=message):
        list(read_records(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no\.jsonl"):
        list(read_records(tmp_path / "no.jsonl"))


def test_command_trains_a_compressor_that_works(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    many = [record(number) for number in range(120)]
    held = [replace(r, source="a", id=f"x{r.id}") for r in many]
    data = write([*many, *held], tmp_path / "train.jsonl")
    out = tmp_path / "weights"
    arguments = [
        "train", "compressor", "--data", str(data), "--dev", str(data), "--out", str(out),
        "--base", str(tiny_encoder_dir), "--steps", "120", "--bottleneck-steps", "2",
        "--batch-size", "16", "--rate", "3e-3", "--held-out", "0.3", "--save-every", "120",
        "--times", "a", "2",
    ]  # fmt: skip
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    compressor = load_compressor(CompressorConfig(name=str(out), keep=0.5))
    asked = many[0]
    passages = tuple(Passage(p.id, p.id, p.text, p.title) for p in asked.passages)
    [kept] = compressor.compress([Question("q", asked.question, passages)])
    assert NAMES[0] in " ".join(e.text for e in kept.evidence)
    written = json.loads((out / "training.json").read_text())
    assert {"warm-start", "bottleneck"} == written["logs"].keys()
    assert written["plan"]["times"] == {"a": 2}


def test_an_excerpt_holds_all_evidence_and_is_short(model: EvidenceModel) -> None:
    examples = examples_of(model, RECORDS[:10], Mix(second=0, excerpts=1, max_tokens=128))
    shown = set()
    for record_, gold in zip(RECORDS[:10], examples[::2], strict=True):
        [sentence] = evidence_sentences(record_.passages[0])
        tokens = model.tokenizer(record_.passages[0].text[slice(*sentence)]).input_ids[1:-1]
        assert gold.pair.ids[gold.keep == 1].tolist() == tokens
        answer = model.tokenizer(record_.answers[0]).input_ids[1:-1]
        assert gold.pair.ids[gold.start : gold.end + 1].tolist() == answer
        shown.add(len(gold.pair.ids))
    assert len(shown) > 1
    assert not any(noise.relevant for noise in examples[1::2])


def test_one_seed_gives_one_result(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    data = write(RECORDS, tmp_path / "train.jsonl")

    def weights(name: str, seed: int) -> bytes:
        schedule = Schedule(steps=2, batch_size=8, micro_batch=8, seed=seed)
        plan = Plan(schedule, base=str(tiny_encoder_dir), held_out=0.5, bottleneck_steps=1)
        train_compressor([data], tmp_path / name, replace(plan, mix=Mix(max_tokens=128)))
        return (tmp_path / name / "model.safetensors").read_bytes()

    first = weights("first", 3)
    torch.rand(5)
    assert weights("again", 3) == first
    assert weights("other", 4) != first


def test_training_goes_on_from_trained_weights(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    data = write(RECORDS, tmp_path / "train.jsonl")
    common = dict(held_out=0.5, cloze=0, joined=0, mix=Mix(max_tokens=128))
    first, second = tmp_path / "first", tmp_path / "second"
    schedule = Schedule(steps=2, batch_size=8, micro_batch=8)
    train_compressor([data], first, Plan(schedule, base=str(tiny_encoder_dir), **common))
    onwards = Plan(
        replace(schedule, steps=0), start=(first,), silver_steps=1, bottleneck_steps=1, **common
    )
    train_compressor([data], second, onwards)
    logs = json.loads((second / "training.json").read_text())["logs"]
    assert list(logs) == ["silver", "bottleneck"]
    before, after = (load(folder).modules["tokens"].weight for folder in (first, second))
    torch.testing.assert_close(before, after, atol=1e-3, rtol=0.1)
    assert not torch.equal(before, after)
    mean = load_mean([first, second]).modules["tokens"].weight
    torch.testing.assert_close(mean, (before + after) / 2)
    settings = json.loads((second / "evidence.json").read_text())
    (second / "evidence.json").write_text(json.dumps(settings | {"max_tokens": 64}))
    with pytest.raises(InputError, match=r"second: cannot be averaged with .*first"):
        load_mean([first, second])


def test_command_refuses_too_little_data(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    data = write(RECORDS[:1], tmp_path / "train.jsonl")
    result = CliRunner().invoke(
        cli,
        [
            "train",
            "compressor",
            "--data",
            str(data),
            "--out",
            str(tmp_path / "w"),
            "--base",
            str(tiny_encoder_dir),
        ],
    )
    assert result.exit_code == 2
    assert "too few" in result.output
    assert isinstance(result.exception, SystemExit)


def test_unknown_source_is_too_few_questions(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    data = write(RECORDS, tmp_path / "train.jsonl")
    plan = Plan(Schedule(steps=1), base=str(tiny_encoder_dir), sources=("nowhere",))
    with pytest.raises(InputError, match="0 questions"):
        train_compressor([data], tmp_path / "out", plan)
