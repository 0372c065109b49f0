from __future__ import annotations

import json
import string
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from published_models import make_llmlingua2, sentence_pieces
from transformers import AutoModelForTokenClassification

from ragib.cli.main import cli
from ragib.compressor import token_classifier
from ragib.compressor.llmlingua2 import LLMLingua2, load_llmlingua2, word_begins, word_mean
from ragib.compressor.registry import load_compressor
from ragib.compressor.selection import sentence_spans
from ragib.compressor.token_classifier import sentence_windows
from ragib.compressor.windows import Tokens
from ragib.config import CompressorConfig
from ragib.errors import ConfigError, InputError, OfflineError
from ragib.types import Compressed, Passage, Question

KINDS = ("bert", "xlm-roberta")
TEXT = (
    "The old tower was built by a king. Moon-light, star-light! Who wrote it? (A dog.) It is red."
)


def question(*texts: str, asks: str = "who built it?") -> Question:
    return Question("q", asks, tuple(Passage(f"p{i}", f"p{i}", t) for i, t in enumerate(texts)))


@pytest.fixture(scope="module")
def folders(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("llmlingua2")
    return {kind: make_llmlingua2(kind, tiny_encoder_dir, root / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> dict[str, LLMLingua2]:
    return {kind: load_llmlingua2(str(folder)) for kind, folder in folders.items()}


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_classifier, "half_precision", lambda device: nullcontext())


def slow_scores(folder: Path, tokenizer: object, text: str) -> dict[tuple[int, int], float]:
    """Score the sentences of a text of one window, word by word and token by token."""
    model = AutoModelForTokenClassification.from_pretrained(folder)
    encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    spans = encoded.pop("offset_mapping")[0].tolist()
    pieces = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0].tolist())
    inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        keep = torch.softmax(model.eval()(**inputs).logits[0], dim=-1)[:, 1].tolist()
    scores = {}
    for start, end in sentence_spans(text):
        words: list[list[float]] = []
        for piece, (first, last), probability in zip(pieces, spans, keep, strict=True):
            if last <= start or first >= end:
                continue
            new = (
                piece.startswith("\u2581") or piece in string.punctuation
                if folder.name == "xlm-roberta"
                else not piece.startswith("##")
            )
            if new or not words:
                words.append([])
            words[-1].append(probability)
        scores[start, end] = float(np.mean([np.mean(word) for word in words]))
    return scores


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_slow_way(
    kind: str, folders: dict[str, Path], loaded: dict[str, LLMLingua2], exact: None
) -> None:
    compressor = loaded[kind]
    [result] = compressor.compress([question(TEXT)])
    expected = slow_scores(folders[kind], compressor.classifier.tokenizer, TEXT)
    assert {(e.start, e.end) for e in result.evidence} == expected.keys()
    for item in result.evidence:
        assert item.score == pytest.approx(expected[item.start, item.end], abs=1e-5)
    values = list(expected.values())
    assert max(values) - min(values) > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_batches_do_not_change_scores(
    kind: str, loaded: dict[str, LLMLingua2], exact: None
) -> None:
    compressor = loaded[kind]
    texts = (TEXT, "A dog.", "The moon was red. " * 3)
    [together] = compressor.compress([question(*texts)])
    alone = [compressor.compress([question(text)])[0] for text in texts]
    for item in together.evidence:
        single = next(e for e in alone[int(item.passage_id[1:])].evidence if e.start == item.start)
        assert item.score == pytest.approx(single.score, abs=1e-5)


def test_the_question_is_not_read(loaded: dict[str, LLMLingua2]) -> None:
    first, second = (
        loaded["bert"].compress([question(TEXT, asks=asks)]) for asks in ("who?", "what " * 900)
    )
    assert first == second


@pytest.mark.parametrize("kind", KINDS)
def test_limits(kind: str, folders: dict[str, Path]) -> None:
    def compressed(**limits: float) -> Compressed:
        config = CompressorConfig(name="llmlingua-2", model=str(folders[kind]), **limits)
        [result] = load_compressor(config).compress([question(TEXT)])
        return result

    assert compressed().words_kept <= 0.3 * compressed().words_in
    assert compressed(keep=0.6).words_kept > compressed(keep=0.2).words_kept
    assert compressed(threshold=1.0).abstained
    tokenizer = load_llmlingua2(str(folders[kind])).classifier.tokenizer
    kept = compressed(budget=20).evidence
    assert kept
    assert sum(len(tokenizer(e.text, add_special_tokens=False).input_ids) for e in kept) <= 20


def test_no_passages_and_empty_passages(loaded: dict[str, LLMLingua2]) -> None:
    for asked in (question(), question(""), question("", " \n", "")):
        assert loaded["bert"].compress([asked]) == [Compressed("q", (), (), 0, 0, abstained=True)]
    assert loaded["bert"].compress([]) == []


def test_a_passage_of_5000_words_is_read_in_windows(
    folders: dict[str, Path], loaded: dict[str, LLMLingua2]
) -> None:
    text = " ".join(f"The tower number {i} is old." for i in range(834))
    compressor = load_llmlingua2(str(folders["bert"]), keep=0.1)
    [result] = compressor.compress([question(text)])
    assert result.words_in == 5004
    assert 0.09 * result.words_in < result.words_kept <= 0.1 * result.words_in
    assert len(result.evidence) + len(result.dropped) == 834
    assert all(0 < item.score < 1 for item in (*result.evidence, *result.dropped))


def test_other_scripts(loaded: dict[str, LLMLingua2]) -> None:
    texts = (
        "谁建造了塔。国王。",
        "من بنى البرج؟ الملك.",
        "मीनार किसने बनाई? राजा ने।",
        "🗼👑",
        "\x00\x01",
    )
    for kind in KINDS:
        [result] = loaded[kind].compress([question(*texts)])
        by_id = dict(zip([f"p{i}" for i in range(5)], texts, strict=True))
        assert all(by_id[e.passage_id][e.start : e.end] == e.text for e in result.evidence)
        assert {e.passage_id for e in result.evidence} >= {"p0", "p1", "p2", "p3"}


def test_words_of_sentence_pieces() -> None:
    tokenizer = sentence_pieces()
    ids = np.array(tokenizer("the tower, xy.z", add_special_tokens=False).input_ids, np.int32)
    assert tokenizer.convert_ids_to_tokens(ids.tolist()) == [
        "\u2581the", "\u2581tower", ",", "\u2581", "x", "y", ".", "z"
    ]  # fmt: skip
    expected = [True, True, True, True, False, False, True, False]
    assert word_begins(tokenizer, ids).tolist() == expected


def test_mean_over_words_by_hand() -> None:
    keep = np.array([0.2, 0.4, 0.9])
    assert word_mean(keep, np.array([True, False, True])) == pytest.approx(0.6)
    assert word_mean(keep, np.array([False, False, True])) == pytest.approx(0.6)
    assert word_mean(keep[:0], np.array([], dtype=bool)) == 0.0


@given(
    st.lists(st.integers(0, 9), max_size=30).map(lambda sizes: [s for s in sizes if s]),
    st.integers(1, 20),
)
def test_windows_hold_every_token_once_and_whole_sentences(sizes: list[int], most: int) -> None:
    ends = np.cumsum(sizes).astype(int).tolist()
    total = ends[-1] if ends else 0
    places = np.arange(total, dtype=np.int32)
    tokens = Tokens(places, np.stack([places, places + 1], axis=1))
    sentences = list(zip([0, *ends[:-1]], ends, strict=True)) if ends else []
    found = sentence_windows(tokens, sentences, most)
    assert [i for first, last in found for i in range(first, last)] == list(range(total))
    assert all(0 < last - first <= most for first, last in found)
    for first, last in found:
        if last not in ends:  # a cut within a sentence, because none ends within reach
            assert not any(first < end <= first + most for end in ends)
        else:  # as many whole sentences as fit
            assert not any(last < end <= first + most for end in ends)


def test_a_missing_model_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        load_llmlingua2(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"no \.safetensors weights"):
        load_llmlingua2(str(tmp_path))
    monkeypatch.setenv("RAGIB_OFFLINE", "1")
    with pytest.raises(OfflineError, match="needs the network"):
        load_llmlingua2("microsoft/llmlingua-2-none-such")


def test_another_model_is_refused(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no token classifier of two labels"):
        load_llmlingua2(str(tiny_encoder_dir.parent / "bare"))
    three = make_llmlingua2("bert", tiny_encoder_dir, tmp_path / "three", labels=3)
    with pytest.raises(InputError, match="labels 3"):
        load_llmlingua2(str(three))


def test_damaged_files_are_refused(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    folder = make_llmlingua2("bert", tiny_encoder_dir, tmp_path)
    tokenizer = folder / "tokenizer.json"
    whole = tokenizer.read_text()
    tokenizer.write_text("{")
    with pytest.raises(InputError, match="its tokenizer"):
        load_llmlingua2(str(folder))
    tokenizer.unlink()
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        load_llmlingua2(str(folder))
    tokenizer.write_text(whole)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 5}))
    with pytest.raises(InputError, match="reads 5 tokens at once"):
        load_llmlingua2(str(folder))
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_llmlingua2(str(folder))


def test_a_model_must_be_named_and_only_here(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"compressor\.model: llmlingua-2 needs weights.*micros"):
        load_compressor(CompressorConfig(name="llmlingua-2"))
    with pytest.raises(ConfigError, match=r"compressor\.model: only llmlingua-2 and open-provence"):
        load_compressor(CompressorConfig(name="truncate", model=str(folders["bert"])))


def test_command_compresses_with_named_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(TEXT)
    arguments = ["compress", "--question", "who?", str(tmp_path / "notes.txt"), "--json"]
    arguments += ["--compressor", "llmlingua-2", "--model", str(folders["bert"]), "--keep", "0.5"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    evidence = json.loads(result.stdout)["evidence"]
    assert evidence
    assert all(TEXT[e["start"] : e["end"]] == e["text"] for e in evidence)
