"""The compressor in int8: the same reading but for rounding, made once, and never damaged."""

from __future__ import annotations

import json
import logging
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ragib.cli.main import cli
from ragib.compressor import int8
from ragib.compressor.answers import find_answers
from ragib.compressor.calibration import Calibration, save_calibration
from ragib.compressor.ib import IBCompressor
from ragib.compressor.int8 import encode, fingerprint, open_session, to_int8
from ragib.compressor.model import EvidenceModel, from_base, save
from ragib.compressor.onnx_export import export
from ragib.compressor.quantise import BITS_7, BITS_8, largest_integer, quantise, to_integers
from ragib.compressor.registry import load_compressor
from ragib.compressor.windows import Batch, collate, make_pair, make_prefix
from ragib.config import CompressorConfig
from ragib.errors import ConfigError, InputError, MissingExtraError
from ragib.eval.remembering import remember
from ragib.types import Passage, Question

TEXTS = (
    "The tower of Paris was built by a king. It is old. A dog and a cat were by the water.",
    "The moon is cold at night. The sun is a star. 谁建造了塔。\x00",
    "",
    "The old bridge was built in Rome. " * 30,
)
ASKED = Question(
    "q",
    "who built the tower of paris?",
    tuple(Passage(f"p{i}", f"p{i}", text, "Towers") for i, text in enumerate(TEXTS)),
)
TWICE = Calibration(
    first=(0.0, 1.0, 0.1, 0.1), second=(0.0, 1.0, 0.1, 0.1, 0.5, 0.1, 0.1), threshold=0.2
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for all tests of this file, so that the graph is made once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGIB_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def model(tiny_encoder_dir: Path) -> EvidenceModel:
    made = from_base(str(tiny_encoder_dir), device="cpu")
    made.freeze_words()
    made.modules.eval()
    return made


@pytest.fixture(scope="module")
def weights(model: EvidenceModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save(model, folder, half=False)
    save_calibration(TWICE, folder)
    return folder


@pytest.fixture(scope="module")
def graph(model: EvidenceModel) -> Any:
    return export(model.modules["encoder"])


@pytest.fixture(scope="module")
def in_float32(model: EvidenceModel, graph: Any) -> EvidenceModel:
    session = open_session(graph.SerializeToString())
    return EvidenceModel(
        model.modules,
        model.tokenizer,
        model.special,
        model.settings,
        lambda batch: encode(session, batch),
    )


@pytest.fixture(scope="module")
def in_int8(weights: Path, graph: Any) -> EvidenceModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "export", lambda encoder: copied(graph))
        config = CompressorConfig(name=str(weights), keep=0.4, precision="int8")
        compressor = load_compressor(config)
    assert isinstance(compressor, IBCompressor)
    return compressor.model


def copied(graph: Any) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    return copy


def batch_of(model: EvidenceModel, lengths: list[tuple[int, int]], seed: int) -> Batch:
    """Pairs of random words: so many of the question, so many of the passage."""
    rng = np.random.default_rng(seed)
    pairs = []
    for asked, read in lengths:
        question, passage = (
            rng.integers(5, len(model.tokenizer), n).astype(np.int32) for n in (asked, read)
        )
        none = np.zeros(0, np.int32)
        prefix = make_prefix(model.special, model.settings.max_tokens, question, none, none)
        pairs.append(make_pair(model.special, prefix, passage))
    return collate(pairs, model.special.pad)


BATCHES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 100)), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(BATCHES, st.integers(0, 2**32))
def test_the_graph_computes_what_torch_does(
    model: EvidenceModel, in_float32: EvidenceModel, lengths: list[tuple[int, int]], seed: int
) -> None:
    batch = batch_of(model, lengths, seed)
    with torch.inference_mode():
        expected, found = model.forward(batch), in_float32.forward(batch)
    words = torch.from_numpy(batch.mask > 0)
    torch.testing.assert_close(found.relevance, expected.relevance, atol=1e-4, rtol=0)
    for name in ("keep", "start", "end"):
        a, b = (getattr(out, name)[words] for out in (found, expected))
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


@settings(max_examples=25, deadline=None)
@given(BATCHES, st.integers(0, 2**32))
def test_int8_is_near(
    model: EvidenceModel, in_int8: EvidenceModel, lengths: list[tuple[int, int]], seed: int
) -> None:
    batch = batch_of(model, lengths, seed)
    with torch.inference_mode():
        expected, found = model.forward(batch), in_int8.forward(batch)
    words = torch.from_numpy(batch.mask > 0)
    torch.testing.assert_close(found.relevance, expected.relevance, atol=0.01, rtol=0)
    for name in ("keep", "start", "end"):
        a, b = (getattr(out, name)[words] for out in (found, expected))
        torch.testing.assert_close(a, b, atol=0.01, rtol=0)


def test_padding_does_not_change_a_reading(in_float32: EvidenceModel) -> None:
    lengths = [(3, 8), (9, 90)]
    together = in_float32.forward(batch_of(in_float32, lengths, 0))
    alone = in_float32.forward(batch_of(in_float32, lengths[:1], 0))
    width = alone.keep.shape[1]
    torch.testing.assert_close(together.keep[:1, :width], alone.keep, atol=1e-4, rtol=0)
    torch.testing.assert_close(together.relevance[:1], alone.relevance, atol=1e-4, rtol=0)


def test_every_linear_layer_of_the_encoder_is_in_integers(graph: Any) -> None:
    before = [node.op_type for node in graph.graph.node]
    small = copied(graph)
    quantise(small, BITS_8)
    after = [node.op_type for node in small.graph.node]
    assert after.count("MatMulInteger") == 12  # six in each of two layers
    assert after.count("MatMul") == before.count("MatMul") - 12 == 4  # attention
    assert len(small.SerializeToString()) < 0.75 * len(graph.SerializeToString())
    onnx.checker.check_model(small)


def product(x: np.ndarray, w: np.ndarray) -> Any:
    """The graph of one product with a constant matrix, which a second product shares."""
    helper = onnx.helper
    nodes = [helper.make_node("MatMul", ["x", "w"], [name]) for name in ("y", "z")]
    inputs = [helper.make_tensor_value_info("x", 1, x.shape)]
    outputs = [helper.make_tensor_value_info(name, 1, [*x.shape[:-1], w.shape[1]]) for name in "yz"]
    constants = [onnx.numpy_helper.from_array(w, "w")]
    body = helper.make_graph(nodes, "product", inputs, outputs, constants)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


NUMBERS = st.floats(-50, 50, width=32)


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float32, (2, 3, 8), elements=NUMBERS),
    arrays(np.float32, (8, 5), elements=NUMBERS),
    st.sampled_from([BITS_7, BITS_8]),
)
def test_a_product_is_off_by_the_rounding_and_no_more(
    x: np.ndarray, w: np.ndarray, largest: int
) -> None:
    model = product(x, w)
    quantise(model, largest)
    onnx.checker.check_model(model)
    y, z = open_session(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(y, z)
    # One step of the inputs (half for their rounding, half for that of the zero point), half a
    # step of the weights.
    step = (max(x.max(), 0) - min(x.min(), 0)) / 255
    scales = np.abs(w).max(axis=0) / largest
    bound = step * np.abs(w).sum(axis=0) + scales / 2 * (np.abs(x) + step).sum(-1, keepdims=True)
    assert (np.abs(y - x @ w) <= 1.01 * bound + 1e-3).all()


@given(arrays(np.float32, (4, 6), elements=NUMBERS), st.sampled_from([BITS_7, BITS_8]))
def test_weights_are_rounded_to_the_nearest_integer_of_their_column(
    matrix: np.ndarray, largest: int
) -> None:
    integers, scales = to_integers(matrix, largest)
    assert integers.dtype == np.int8
    assert np.abs(integers.astype(int)).max() <= largest
    assert (np.abs(integers * scales - matrix) <= 0.501 * scales).all()
    assert np.isfinite(scales).all()


@pytest.mark.parametrize(
    ("machine", "capabilities", "largest"),
    [
        ("x86_64", {"avx2": True}, BITS_7),
        ("x86_64", {}, BITS_7),
        ("AMD64", {"avx512_vnni": True}, BITS_8),
        ("x86_64", {"avx_vnni": True}, BITS_8),
        ("aarch64", {}, BITS_8),
    ],
)
def test_where_sums_would_overflow_weights_have_seven_bits(
    monkeypatch: pytest.MonkeyPatch, machine: str, capabilities: dict[str, bool], largest: int
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert largest_integer() == largest


@pytest.mark.parametrize("limit", [{"keep": 0.4}, {"budget": 30}, {"threshold": 0.0}, {}])
def test_evidence_is_verbatim_and_scored_as_in_full_precision(
    weights: Path, in_int8: EvidenceModel, limit: dict[str, float]
) -> None:
    found, expected = (
        load_compressor(CompressorConfig(name=str(weights), precision=precision, **limit))
        for precision in ("int8", "auto")
    )
    [result] = found.compress([ASKED])
    assert result.evidence
    for piece in result.evidence:
        passage = TEXTS[int(piece.passage_id[1:])]
        assert passage[piece.start : piece.end] == piece.text
    assert result == found.compress([ASKED])[0]
    assert isinstance(found, IBCompressor)
    assert isinstance(expected, IBCompressor)
    [a], [b] = found.score([ASKED]), expected.score([ASKED])
    np.testing.assert_allclose(a.scores, b.scores, atol=0.02)


def test_the_reader_reads_with_it(weights: Path, in_int8: EvidenceModel) -> None:
    [result] = load_compressor(
        CompressorConfig(name=str(weights), keep=0.5, precision="int8")
    ).compress([ASKED])
    [answer] = find_answers(in_int8, [(ASKED.text, result.evidence)])
    assert answer is not None
    piece = result.evidence[answer.evidence]
    assert piece.text[answer.start : answer.end] == answer.text


def test_a_model_that_remembers_stays_in_int8(weights: Path, in_int8: EvidenceModel) -> None:
    plain = IBCompressor(in_int8, TWICE, keep=0.4)
    again = remember(plain, {})
    assert isinstance(again, IBCompressor)
    assert again.model.encode is in_int8.encode
    assert again.compress([ASKED]) == plain.compress([ASKED])


def test_as_many_threads_as_torch_has(in_int8: EvidenceModel) -> None:
    assert in_int8.encode is not None
    options = in_int8.encode.args[0].get_session_options()  # type: ignore[attr-defined]
    assert options.intra_op_num_threads == torch.get_num_threads()


def test_the_command_line_makes_it_without_a_word_of_its_libraries(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("RAGIB_CACHE", str(tmp_path / "cache"))
    notes = tmp_path / "notes.txt"
    notes.write_text(TEXTS[0])
    line = ["compress", "-q", "who built it?", str(notes), "--compressor", str(weights)]
    line += ["--keep", "0.5", "--precision", "int8", "--json"]
    with caplog.at_level(logging.WARNING):
        result = CliRunner().invoke(cli, line)
    assert result.exit_code == 0
    kept = json.loads(result.stdout)["evidence"]
    assert kept
    assert all(TEXTS[0][e["start"] : e["end"]] == e["text"] for e in kept)
    assert [record.name for record in caplog.records] == ["ragib.compressor"]
    assert result.stderr == ""
    assert capfd.readouterr() == ("", "")
    [made] = (tmp_path / "cache").glob("int8-*.onnx")
    assert CliRunner().invoke(cli, line).stdout == result.stdout
    assert len(caplog.records) == 1
    assert [made] == list((tmp_path / "cache").glob("int8-*.onnx"))


def test_damaged_graphs_are_made_anew(
    model: EvidenceModel, graph: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setenv("RAGIB_CACHE", str(tmp_path))
    monkeypatch.setattr(int8, "export", lambda encoder: made.append(encoder) or copied(graph))
    batch = batch_of(model, [(3, 40)], 1)
    before = to_int8(model).forward(batch)
    [path] = tmp_path.glob("int8-*.onnx")
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:], b""):
        path.write_bytes(damaged)
        torch.testing.assert_close(to_int8(model).forward(batch).keep, before.keep)
        assert path.read_bytes() == whole
    assert len(made) == 4
    to_int8(model)
    assert len(made) == 4


def test_other_weights_are_another_graph(model: EvidenceModel, tiny_encoder_dir: Path) -> None:
    other = from_base(str(tiny_encoder_dir), device="cpu").modules["encoder"]
    before = fingerprint(model.modules["encoder"])
    assert fingerprint(other) == before
    with torch.no_grad():
        next(other.parameters())[0, 0] += 0.01
    assert fingerprint(other) != before


@pytest.mark.parametrize("package", ["onnxruntime", "onnx", "onnxscript"])
def test_what_is_not_installed_is_named_with_its_pip_line(
    model: EvidenceModel, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*pip install 'ragib\[onnx\]'"):
        to_int8(model)


class Undecided(torch.nn.Module):
    """Takes a way that depends on the values it is given."""

    config = type("Config", (), {"type_vocab_size": 0})

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return input_ids * 1.0 if input_ids.sum() > 3 else attention_mask * 1.0


def test_what_has_no_form_in_onnx_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"Undecided cannot be turned into ONNX.*set it to auto"):
        export(Undecided())
    assert capfd.readouterr() == ("", "")


def test_a_compressor_without_a_model_has_no_precision() -> None:
    with pytest.raises(ConfigError, match=r"compressor.precision: only a trained compressor"):
        load_compressor(CompressorConfig(name="bm25-sentence", precision="int8"))
    wrong = CliRunner().invoke(cli, ["compress", "-q", "who?", "-", "--precision", "int4"])
    assert wrong.exit_code == 2
    assert "compressor.precision: Input should be 'auto' or 'int8'" in wrong.stderr
