from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from published_models import make_open_provence
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from ragib.compressor import token_classifier
from ragib.compressor.open_provence import OpenProvence, load_open_provence
from ragib.compressor.registry import load_compressor
from ragib.compressor.selection import sentence_spans
from ragib.config import CompressorConfig
from ragib.errors import ConfigError, InputError, OfflineError
from ragib.types import Compressed, Passage, Question

KINDS = ("modernbert", "xlm-roberta", "bert")
TEXT = (
    "The old tower was built by a king. Moon-light, star-light! Who wrote it? (A dog.) It is red."
)
ASKS = "who built the tower?"


def question(*texts: str, asks: str = ASKS, title: str = "") -> Question:
    passages = (Passage(f"p{i}", f"p{i}", t, title) for i, t in enumerate(texts))
    return Question("q", asks, tuple(passages))


@pytest.fixture(scope="module")
def folders(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("open-provence")
    return {kind: make_open_provence(kind, tiny_encoder_dir, root / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> dict[str, OpenProvence]:
    return {kind: load_open_provence(str(f), threshold=0.0) for kind, f in folders.items()}


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_classifier, "half_precision", lambda device: nullcontext())


def last_layer(ranker: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return what the last layer puts out, caught on the way."""
    layers = ranker.base_model.layers if hasattr(ranker.base_model, "layers") else None
    caught: list[Any] = []
    module = (layers if layers is not None else ranker.base_model.encoder.layer)[-1]
    handle = module.register_forward_hook(lambda module, given, output: caught.append(output))
    with torch.no_grad():
        ranker(**inputs)
    handle.remove()
    return caught[0][0] if isinstance(caught[0], tuple) else caught[0]


def slow_scores(folder: Path, tokenizer: Any, title: str = "") -> dict[tuple[int, int], float]:
    """Score the sentences of `TEXT` through the tokenizer's own pairs, sentence by sentence."""
    values = json.loads((folder / "config.json").read_text())["base_model_config"]
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    ranker = AutoModelForSequenceClassification.from_config(config).eval()
    tensors = load_file(folder / "model.safetensors")
    head = {n.rpartition(".")[2]: tensors.pop(n) for n in [*tensors] if "pruning_head" in n}
    ranker.load_state_dict({n.partition(".")[2]: t for n, t in tensors.items()})
    encoded = tokenizer(ASKS, TEXT, return_offsets_mapping=True, return_token_type_ids=True)
    begin = encoded.sequence_ids(0).index(1)
    front = tokenizer(f"{title}\n", add_special_tokens=False).input_ids if title else []
    ids = [*encoded["input_ids"][:begin], *front, *encoded["input_ids"][begin:]]
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids))}
    if folder.name == "bert":
        inputs["token_type_ids"] = torch.tensor([[0] * begin + [1] * (len(ids) - begin)])
    states = last_layer(ranker, inputs)[0, begin + len(front) :]
    keep = torch.softmax(states @ head["weight"].T + head["bias"], dim=-1)[:, 1].tolist()
    spans = encoded["offset_mapping"][begin:]
    scores = {}
    for start, end in sentence_spans(TEXT):
        inside = [p for p, (a, b) in zip(keep, spans, strict=True) if b > start and a < end]
        scores[start, end] = sum(inside) / len(inside)
    return scores


@pytest.mark.parametrize("title", ["", "The river"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_slow_way(
    kind: str, title: str, folders: dict[str, Path], loaded: dict[str, OpenProvence], exact: None
) -> None:
    [result] = loaded[kind].compress([question(TEXT, title=title)])
    expected = slow_scores(folders[kind], loaded[kind].classifier.tokenizer, title)
    assert {(e.start, e.end) for e in result.evidence} == expected.keys()
    for item in result.evidence:
        assert item.score == pytest.approx(expected[item.start, item.end], abs=1e-5)
    values = list(expected.values())
    assert max(values) - min(values) > 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_questions_and_batches_do_not_disturb_each_other(
    kind: str, loaded: dict[str, OpenProvence], exact: None
) -> None:
    asked = [question(TEXT, "A dog."), question(TEXT * 3, asks="what is red?"), question()]
    together = loaded[kind].compress(asked)
    for one, result in zip(asked, together, strict=True):
        [alone] = loaded[kind].compress([one])
        assert [(e.passage_id, e.start) for e in result.evidence] == [
            (e.passage_id, e.start) for e in alone.evidence
        ]
        for a, b in zip(result.evidence, alone.evidence, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_question_and_title_change_the_scores(kind: str, loaded: dict[str, OpenProvence]) -> None:
    def scores(**given: str) -> list[float]:
        [result] = loaded[kind].compress([question(TEXT, **given)])
        return [item.score for item in result.evidence]

    assert len({tuple(s) for s in (scores(), scores(asks="a dog?"), scores(title="Moon"))}) == 3


def test_the_threshold_of_the_checkpoint_is_the_default(
    tiny_encoder_dir: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    assert load_open_provence(str(folders["bert"])).threshold == 0.1
    folder = make_open_provence("bert", tiny_encoder_dir, tmp_path, default_threadshold=0.25)
    assert load_open_provence(str(folder)).threshold == 0.25
    assert load_open_provence(str(folder), keep=0.5).threshold is None


def test_limits(folders: dict[str, Path]) -> None:
    def compressed(**limits: float) -> Compressed:
        config = CompressorConfig(name="open-provence", model=str(folders["bert"]), **limits)
        [result] = load_compressor(config).compress([question(TEXT)])
        return result

    assert 0 < compressed(keep=0.3).words_kept <= 0.3 * compressed().words_in
    assert compressed(threshold=1.0).abstained
    tokenizer = load_open_provence(str(folders["bert"])).classifier.tokenizer
    kept = compressed(budget=20).evidence
    assert kept
    assert sum(len(tokenizer(e.text, add_special_tokens=False).input_ids) for e in kept) <= 20
    with pytest.raises(ConfigError, match=r"only a trained compressor .ib. is calibrated"):
        compressed(risk=0.1)


def test_no_passages_and_empty_passages(loaded: dict[str, OpenProvence]) -> None:
    for asked in (question(), question(""), question("", " \n", "")):
        assert loaded["modernbert"].compress([asked]) == [
            Compressed("q", (), (), 0, 0, abstained=True)
        ]
    assert loaded["modernbert"].compress([]) == []


@pytest.mark.parametrize("asks", [ASKS, "who " * 500, "谁"])
def test_a_passage_of_5000_words_is_read_in_windows(asks: str, folders: dict[str, Path]) -> None:
    text = " ".join(f"The tower number {i} is old." for i in range(834))
    compressor = load_open_provence(str(folders["modernbert"]), keep=0.1)
    [result] = compressor.compress([question(text, asks=asks, title="A title " * 80)])
    assert result.words_in == 5004
    assert 0.09 * result.words_in < result.words_kept <= 0.1 * result.words_in
    assert all(0 < item.score < 1 for item in (*result.evidence, *result.dropped))


def test_other_scripts(loaded: dict[str, OpenProvence]) -> None:
    texts = (
        "谁建造了塔。国王。",
        "من بنى البرج؟ الملك.",
        "मीनार किसने बनाई? राजा ने।",
        "🗼👑",
        "\x00\x01",
    )
    for compressor in loaded.values():
        [result] = compressor.compress([question(*texts)])
        by_id = dict(zip([f"p{i}" for i in range(5)], texts, strict=True))
        assert all(by_id[e.passage_id][e.start : e.end] == e.text for e in result.evidence)
        assert {e.passage_id for e in result.evidence} >= {"p0", "p1", "p2", "p3"}


def test_weights_without_the_prefix_of_the_ranking_model(
    tiny_encoder_dir: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    old = make_open_provence("modernbert", tiny_encoder_dir, tmp_path, prefix="")
    [before] = load_open_provence(str(old)).compress([question(TEXT)])
    [after] = load_open_provence(str(folders["modernbert"])).compress([question(TEXT)])
    assert before == after


def test_code_beside_the_weights_is_never_run(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    name = "modeling_open_provence_standalone"
    folder = make_open_provence(
        "bert", tiny_encoder_dir, tmp_path, auto_map={"AutoConfig": f"{name}.OpenProvenceConfig"}
    )
    ran = tmp_path / "ran"
    (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    [result] = load_open_provence(str(folder), keep=0.5).compress([question(TEXT)])
    assert result.evidence
    assert not ran.exists()


def test_a_missing_model_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        load_open_provence(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"no \.safetensors weights"):
        load_open_provence(str(tmp_path))
    monkeypatch.setenv("RAGIB_OFFLINE", "1")
    with pytest.raises(OfflineError, match="needs the network"):
        load_open_provence("hotchpotch/open-provence-none-such")


def test_another_model_is_refused(tiny_encoder_dir: Path) -> None:
    with pytest.raises(InputError, match="no OpenProvence checkpoint: its model_type is 'bert'"):
        load_open_provence(str(tiny_encoder_dir.parent / "bare"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_model_config": None}, "base_model_config names no model_type"),
        ({"base_model_config": {"model_type": "no-such"}}, "cannot be loaded"),
        ({"max_length": 8}, "reads 8 tokens at once"),
        ({"max_length": "long"}, "no OpenProvence checkpoint: invalid literal"),
        ({"num_labels": 2}, "cannot be loaded: .*size mismatch"),
    ],
)
def test_a_wrong_config_is_refused(
    tiny_encoder_dir: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = make_open_provence("bert", tiny_encoder_dir, tmp_path, **change)
    with pytest.raises(InputError, match=message):
        load_open_provence(str(folder))


def test_damaged_files_are_refused(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = make_open_provence("bert", tiny_encoder_dir, tmp_path)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    save_file({n: t for n, t in tensors.items() if "pruning" not in n}, weights)
    with pytest.raises(InputError, match=r"cannot be loaded: .*Missing key"):
        load_open_provence(str(folder))
    weights.write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_open_provence(str(folder))
    (folder / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"no 'model_type' in config\.json"):
        load_open_provence(str(folder))
