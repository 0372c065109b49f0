"""Trained projections: their file, and indexes that use one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ragib.config import EncoderConfig, IndexConfig, MultiVectorConfig
from ragib.encoders import Encoder, load_encoder
from ragib.errors import InputError
from ragib.indexes import token_head
from ragib.indexes.index import Index
from ragib.indexes.plan import plan_index
from ragib.indexes.pooling import normalised
from ragib.indexes.store import manifest_path, read_current
from ragib.indexes.token_head import NAME, head_for, read_head, write_head
from ragib.types import Document
from tests.oracle.maxsim import maxsim as slow

TEXTS = ["the old tower in paris", "a river of iron and gold", "the king built a bridge"]
DOCUMENTS = [Document(str(number), text) for number, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return load_encoder(EncoderConfig(model=str(tiny_encoder_dir), device="cpu"))


@pytest.fixture
def matrix() -> np.ndarray:
    rows = np.random.default_rng(3).standard_normal((32, 8)).astype(np.float16)
    return rows.astype(np.float32)


def config(encoder: Encoder, **values: object) -> IndexConfig:
    return IndexConfig(
        kinds=("multivector",),
        encoder=EncoderConfig(model=encoder.name, device="cpu"),
        multivector=MultiVectorConfig(**{"dim": 8, "pool_factor": 1, **values}),
    )


def test_a_head_is_read_as_it_was_written(
    encoder: Encoder, matrix: np.ndarray, tmp_path: Path
) -> None:
    write_head(matrix, encoder, tmp_path / "new" / NAME)
    for path in (tmp_path / "new", tmp_path / "new" / NAME):
        head = read_head(path)
        np.testing.assert_array_equal(head.projection, matrix)
        assert (head.encoder, head.revision) == (encoder.name, encoder.revision)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [NAME]
    for _ in range(16):  # a head is told from another by the hash of its file
        write_head(matrix, encoder, tmp_path / "again" / NAME)
        assert read_head(tmp_path / "again").sha256 == head.sha256


def test_what_is_no_head_is_refused(tmp_path: Path) -> None:
    of = {"model": json.dumps({"encoder": "e", "revision": "r"})}
    junk, bare, other, wide = (tmp_path / name for name in ("junk", "bare", "other", "wide"))
    junk.write_bytes(b"\xff" * 40)
    save_file({"projection": np.ones((4, 2), np.float16)}, bare)
    save_file({"matrix": np.ones((4, 2), np.float16)}, other, of)
    save_file({"projection": np.full((4, 2), np.inf, np.float16)}, wide, of)
    with pytest.raises(InputError, match="no token head"):
        read_head(tmp_path)
    for path in (junk, bare, other, wide):
        with pytest.raises(InputError, match=f"{path}: not a token head"):
            read_head(path)


def test_an_index_projects_with_the_head_that_is_named(
    encoder: Encoder, matrix: np.ndarray, tmp_path: Path
) -> None:
    write_head(matrix, encoder, tmp_path / NAME)
    settings = config(encoder, projection=str(tmp_path))
    index = Index.build(DOCUMENTS[:2], tmp_path / "idx", settings, encoder=encoder)
    (tmp_path / NAME).unlink()  # the index has its own copy
    index.add(DOCUMENTS[2:])
    passages = encoder.passages([("", text) for text in TEXTS], dense=False, tokens=True).tokens
    queries = encoder.queries(["who built it"], dense=False, tokens=True).tokens
    assert passages is not None and queries is not None
    expected = slow(
        [normalised(entry.vectors @ matrix) for entry in passages],
        normalised(queries[0].vectors @ matrix),
    )
    found = {hit.passage.doc_id: hit.score for hit in index.search("who built it", k=3)}
    np.testing.assert_allclose([found[d.id] for d in DOCUMENTS], expected, atol=0.05)
    digest = index.info()["projection_kind"]
    assert digest.startswith("trained head ")
    assert "seconds" in index.info()


def test_without_a_head_the_projection_is_fitted(encoder: Encoder, tmp_path: Path) -> None:
    found = []
    for projection in ("auto", "svd"):
        settings = config(encoder, projection=projection)
        with Index.build(DOCUMENTS, tmp_path / projection, settings, encoder=encoder) as index:
            found.append((index.info()["projection_kind"], index.info()["projection"]))
    assert found[0] == found[1]
    assert found[0][0] == "svd of a sample"
    with Index.build(
        DOCUMENTS, tmp_path / "wide", config(encoder, dim=32), encoder=encoder
    ) as index:
        assert index.info()["projection_kind"] is None


def test_the_shipped_head_is_for_its_encoder_and_dimensions(
    encoder: Encoder, matrix: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_head, "SHIPPED", tmp_path / NAME)
    write_head(matrix, encoder, tmp_path / NAME)
    head = head_for(config(encoder), encoder)
    assert head is not None
    np.testing.assert_array_equal(head.projection, matrix)
    assert head_for(config(encoder, projection="svd"), encoder) is None
    assert head_for(config(encoder, dim=16), encoder) is None
    assert head_for(IndexConfig(kinds=("sparse",)), None) is None

    class Other:
        name, revision = "other", "0000"
        token_dim, trained_projection = 32, False

    assert head_for(config(encoder), Other()) is None


def test_a_named_head_that_does_not_fit_is_an_error(
    encoder: Encoder, matrix: np.ndarray, tmp_path: Path
) -> None:
    write_head(matrix, encoder, tmp_path / NAME)
    with pytest.raises(InputError, match=r"set index\.multivector\.dim=8"):
        head_for(config(encoder, projection=str(tmp_path), dim=16), encoder)

    class Other:
        name, revision = "other", "0000"
        token_dim, trained_projection = 32, False

    with pytest.raises(InputError, match="the encoder is other at 0000"):
        head_for(config(encoder, projection=str(tmp_path)), Other())
    with pytest.raises(InputError, match="no token head"):
        Index.build(DOCUMENTS, tmp_path / "i", config(encoder, projection="nowhere"))
    assert not (tmp_path / "i").exists()


def test_a_plan_fits_nothing_where_there_is_a_head(
    encoder: Encoder, matrix: np.ndarray, tmp_path: Path
) -> None:
    write_head(matrix, encoder, tmp_path / NAME)
    taken = [
        plan_index(
            tmp_path / "idx",
            DOCUMENTS,
            config(encoder, projection=projection),
            encoder=encoder,
            progress=lambda stage, done, total: None,
        ).seconds["project"]
        for projection in (str(tmp_path), "svd")
    ]
    assert taken[0] == 0
    assert not (tmp_path / "idx").exists()


def test_an_index_of_before_there_were_heads(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "idx"
    with Index.build(DOCUMENTS, path, config(encoder), encoder=encoder) as index:
        before = index.search("king bridge", k=3)
    generation = read_current(path).generation
    values = json.loads(manifest_path(path, generation).read_bytes())
    del values["projection_kind"], values["config"]["multivector"]["projection"]
    data = json.dumps(values).encode()
    manifest_path(path, generation).write_bytes(data)
    (path / "CURRENT").write_text(f"{generation:06d} {hashlib.sha256(data).hexdigest()}\n")
    with Index.open(path, encoder=encoder) as index:
        assert index.info()["projection_kind"] == "svd of a sample"
        assert index.search("king bridge", k=3) == before
        index.add([Document("3", "a cat and a dog")])
        assert index.info()["documents"] == 4
