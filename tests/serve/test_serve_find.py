"""`/search`, `/compress` and `/metrics`."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.config import GeneratorConfig
from ragib.rerankers.base import Verdicts
from ragib.rerankers.budgeted import Budgeted
from ragib.serve.app import build_app
from ragib.serve.settings import Settings, default_concurrency
from ragib.serve.values import encoded
from ragib.types import Passage
from tests.serve.pipelines import FAILING, RIVER, app_of, call, chat, pipeline


def post(app, path, **body):
    headers = {"X-Ragib-Groups": body.pop("groups")} if "groups" in body else {}
    return call(app, "POST", path, json=body, headers=headers)


def test_search_returns_hits_without_their_groups():
    rag = pipeline()
    body = post(build_app(rag, Settings()), "/search", question="river?", k=1).json()
    assert body["question"] == "river?"
    [hit] = body["hits"]
    assert hit["score"] == 1.0
    assert hit["ranks"] == {"sparse": 1}
    assert hit["passage"] == {
        "id": "d#1", "doc_id": "d", "title": "River", "start": 50, "end": 87,
        "text": RIVER.text, "metadata": {"year": 9},
    }  # fmt: skip


def test_search_overrides_the_configuration_for_one_request():
    rag = pipeline()
    app = build_app(rag, Settings())
    post(app, "/search", question="q", k=7, using="dense", where={"a": 1}, groups="crown")
    post(app, "/search", question="q")
    (_, first, where, allow), (_, second, none, public) = rag.retriever.index.asked
    assert (first.k, first.using) == (7, "dense")
    assert (where, allow) == ({"a": 1}, ("public", "crown"))
    assert second == rag.retriever.config
    assert (none, public) == (None, ("public",))


class TowersFirst:
    """Judges passages by whether they are about a tower."""

    name = "towers"
    unit = 1

    def estimate(self, question, passages):
        return 1

    def judge(self, question, passages, seconds, salt=None):
        return Verdicts([float("tower" in p.text.casefold()) for p in passages], 1, 9)

    def close(self):
        pass


def test_hits_are_reranked_where_the_pipeline_does():
    rag = replace(pipeline(), reranker=Budgeted(TowersFirst(), 3))
    app = build_app(rag, Settings())
    hits = post(app, "/search", question="q", k=2, using="dense")
    assert [hit["passage"]["id"] for hit in hits.json()["hits"]] == ["t#0", "d#1"]
    assert hits.json()["hits"][0]["scores"]["towers"] == 1.0
    ((_, config, *_),) = rag.retriever.index.asked
    assert (config.k, config.using) == (3, "dense")
    kept = post(app, "/compress", question="q", k=1).json()
    assert [passage["id"] for passage in kept["passages"]] == ["t#0"]
    answer = chat(app).json()["ragib"]
    assert set(answer["timings"]) == {"retrieve", "rerank", "compress", "generate", "total"}


def test_compress_takes_passages():
    passages = [
        "The river is old. It is long.",
        {"id": "x", "text": "A tower. A bridge.", "title": "T"},
    ]
    body = post(app_of(), "/compress", question="river?", passages=passages).json()
    kept = [(e["passage_id"], e["text"]) for e in body["evidence"]]
    assert kept == [("1", "The river is old."), ("x", "A tower.")]
    assert [(d["passage_id"], d["text"]) for d in body["dropped"]] == [
        ("1", "It is long."),
        ("x", "A bridge."),
    ]
    assert all(out["reason"] for out in body["dropped"])
    assert (body["words_in"], body["words_kept"], body["abstained"]) == (11, 6, False)


def test_compress_takes_hits_of_the_index():
    body = post(app_of(), "/compress", question="river?", groups="crown").json()
    assert [passage["id"] for passage in body["passages"]] == ["d#1", "t#0", "c#0"]
    body = post(app_of(), "/compress", question="river?", k=1).json()
    assert [passage["text"] for passage in body["passages"]] == [RIVER.text]
    texts = {passage["id"]: passage["text"] for passage in body["passages"]}
    for piece in body["evidence"] + body["dropped"]:
        assert texts[piece["passage_id"]][piece["start"] : piece["end"]] == piece["text"]


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/search", {}, "question"),
        ("/search", {"question": " "}, "word"),
        ("/search", {"question": 3}, "question"),
        ("/search", {"question": "q", "k": 0}, "k"),
        ("/search", {"question": "q", "k": 100_000}, "k"),
        ("/search", {"question": "q", "k": "3"}, "k"),
        ("/search", {"question": "q", "using": "magic"}, "using"),
        ("/search", {"question": "q", "kk": 3}, "kk"),
        ("/search", [], "dictionary"),
        ("/compress", {"question": "q", "passages": []}, "passages"),
        ("/compress", {"question": "q", "passages": ["a"] * 201}, "passages"),
        ("/compress", {"question": "q", "passages": [{"txt": "a"}]}, "passages.0.text"),
        ("/compress", {"question": "q", "passages": ["a"], "k": 3}, "drop"),
        ("/compress", {"question": "q", "passages": ["a", {"id": "1", "text": "b"}]}, "'1'"),
    ],
)
def test_what_cannot_be_used_is_named(path, body, word):
    response = call(app_of(), "POST", path, json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert word in f"{error['param']} {error['message']}"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/search", 405), ("POST", "/v1/models", 405), ("GET", "/v1/chat", 404)],
)
def test_wrong_paths_and_methods_have_the_shape_too(method, path, status):
    response = call(app_of(), method, path)
    assert response.status_code == status
    assert response.json()["error"]["message"]
    assert (response.headers.get("allow") is not None) == (status == 405)


def metric(app, name, **labels):
    text = call(app, path="/metrics").text
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    full = re.escape(f"{name}{{{inside}}}" if labels else name)
    found = re.search(rf"^{full} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_metrics_count_what_happened():
    app = app_of()
    chat(app)
    chat(app, stream=True)
    chat(app, question="moon?")
    post(app, "/search", question="river?")
    post(app, "/search", question="")
    call(app, path="/random-1")
    call(app, path="/random-2")
    assert metric(app, "ragib_requests_total", route="/v1/chat/completions", status=200) == 3
    assert metric(app, "ragib_requests_total", route="/search", status=200) == 1
    assert metric(app, "ragib_requests_total", route="/search", status=400) == 1
    assert metric(app, "ragib_requests_total", route="other", status=404) == 2
    assert metric(app, "ragib_abstentions_total") == 1
    for stage in ("retrieve", "compress", "generate", "total"):
        assert metric(app, "ragib_stage_seconds_count", stage=stage) == 3
    assert metric(app, "ragib_stage_seconds_count", stage="queue") == 4
    assert metric(app, "ragib_kept_share_count") == 3
    assert metric(app, "ragib_kept_share_sum") == pytest.approx(2 * 8 / 17)
    assert metric(app, "ragib_in_flight") == 1
    assert metric(app, "ragib_working") == metric(app, "ragib_queue") == 0


def test_failures_are_counted_by_their_status():
    app = app_of(FAILING)
    chat(app)
    assert metric(app, "ragib_requests_total", route="/v1/chat/completions", status=503) == 1
    assert metric(app, "ragib_stage_seconds_count", stage="total") == 0


def test_text_that_utf8_has_no_room_for_is_served_all_the_same():
    odd = Passage("\ud800", "doc", "A \udfff tower. \x00\u2028 end", "", 0, 20, {"n": float("nan")})
    body = json.dumps({"question": "\ud83d tower?"})
    response = call(app_of((), odd), "POST", "/search", content=body)
    assert response.status_code == 200
    passage = response.json()["hits"][0]["passage"]
    assert response.json()["question"] == "? tower?"
    assert passage["text"] == odd.text.replace("\udfff", "?")
    assert passage["metadata"] == {"n": None}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    )
)
def test_any_value_is_one_line_of_json_that_reads_back(value):
    data = encoded(value)
    assert b"\n" not in data
    assert b"\r" not in data

    def same(one, other):
        if isinstance(one, float) and not np.isfinite(one):
            return other is None
        if isinstance(one, list):
            return len(one) == len(other) and all(map(same, one, other))
        if isinstance(one, dict):
            return all(same(item, other[key.encode("utf-8", "replace").decode()])
                       for key, item in one.items())  # fmt: skip
        if isinstance(one, str):
            return len(one) == len(other) and all(
                a == b or (b == "?" and "\ud800" <= a <= "\udfff")
                for a, b in zip(one, other, strict=True)
            )
        return one == other

    assert same(value, json.loads(data))


def test_numbers_of_numpy_are_numbers():
    assert encoded({"a": np.float32(0.5), "b": np.int64(3)}) == b'{"a":0.5,"b":3}'


def test_the_default_concurrency_follows_who_generates():
    cores = default_concurrency(GeneratorConfig())
    assert cores >= 1
    remote = GeneratorConfig(name="openai", model="m", concurrency=1000)
    assert default_concurrency(remote) == 1000
    assert default_concurrency(GeneratorConfig(name="sentence", concurrency=1000)) == cores
