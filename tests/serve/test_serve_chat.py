"""The OpenAI-compatible endpoint."""

from __future__ import annotations

import pytest

from ragib.generators.base import Generation, Quote
from ragib.generators.prompt import NO_ANSWER
from ragib.serve.app import build_app
from ragib.serve.settings import Settings
from ragib.types import Passage
from tests.serve.pipelines import (
    CROWN,
    GOOD,
    RIVER,
    app_of,
    asking,
    call,
    chat,
    events_of,
    pipeline,
    text_of,
)

CITATION = {"doc_id": "d", "passage_id": "d#1", "start": 54, "end": 62, "quote": "river is"}


def test_an_answer_has_the_shape_of_a_chat_completion():
    response = chat(app_of(), model="any-name")
    assert response.status_code == 200
    answer = response.json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "any-name"
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "stop"
    message = choice["message"]
    assert (message["role"], message["content"]) == ("assistant", "Old.")
    [annotation] = message["annotations"]
    assert annotation["type"] == "url_citation"
    assert annotation["citation"] == CITATION
    assert annotation["url_citation"] == {
        "start_index": 0,
        "end_index": 4,
        "title": "River",
        "url": "ragib:d#char=54,62",
    }
    assert answer["usage"] == {
        "words_in": 17,
        "words_kept": 8,
        "prompt_tokens": 9,
        "completion_tokens": 0,
        "total_tokens": 9,
    }
    assert set(answer["ragib"]["timings"]) == {"retrieve", "compress", "generate", "total"}
    assert "trace" not in answer["ragib"]


def test_the_same_answer_as_a_stream():
    whole = chat(app_of()).json()
    response = chat(app_of(), stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    assert text_of(events) == whole["choices"][0]["message"]["content"]
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events}) == 1
    first, *_, last, counted = events
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "Ol"}
    assert last["choices"][0]["finish_reason"] == "stop"
    annotations = last["choices"][0]["delta"]["annotations"]
    assert annotations == whole["choices"][0]["message"]["annotations"]
    assert (counted["choices"], counted["usage"]) == ([], whole["usage"])


def test_no_usage_in_a_stream_that_did_not_ask_for_it():
    events = events_of(chat(app_of(), stream=True).text)
    assert not any("usage" in event for event in events)


@pytest.mark.parametrize("stream", [False, True])
def test_a_trace_tells_what_was_dropped_and_why(stream):
    response = chat(app_of(), stream=stream, trace=True)
    if stream:
        seen = [e["ragib"] for e in events_of(response.text) if "ragib" in e][:-1]
    else:
        seen = response.json()["ragib"]["trace"]
    found, verdict = seen
    assert [passage["id"] for passage in found["passages"]] == ["d#1", "t#0"]
    assert found["passages"][0]["text"] == RIVER.text
    assert verdict["kept"][0] == {"passage_id": "d#1", "start": 0, "end": 17, "score": 1.0}
    assert {out["reason"] for out in verdict["dropped"]} == {"below the threshold of 0.5"}


@pytest.mark.parametrize("stream", [False, True])
def test_abstention_is_said_in_words_and_marked(stream):
    response = chat(app_of(), question="Where is the moon?", stream=stream)
    if stream:
        events = events_of(response.text)
        assert text_of(events) == NO_ANSWER
        about = events[-1]["ragib"]
    else:
        answer = response.json()
        assert answer["choices"][0]["message"]["content"] == NO_ANSWER
        assert answer["choices"][0]["message"]["annotations"] == []
        about = answer["ragib"]
    assert about["abstained"] is True


def test_the_last_message_of_the_user_is_the_question():
    rag = pipeline()
    messages = [
        {"role": "system", "content": "Be nice."},
        {"role": "user", "content": "first?"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "second?"}]},
        {"role": "tool", "content": "none"},
    ]
    body = {"messages": messages, "temperature": 0.3, "user": "me", "max_tokens": 5}
    response = call(build_app(rag, Settings()), "POST", "/v1/chat/completions", json=body)
    assert response.status_code == 200
    assert rag.retriever.index.asked[0][0] == ("second?",)


def test_filters_and_groups_reach_the_index():
    rag = pipeline()
    body = asking(where={"year": {"gte": 3}}, trace=True)
    headers = {"X-Ragib-Groups": "crown, staff,, public"}
    response = call(
        build_app(rag, Settings()), "POST", "/v1/chat/completions", json=body, headers=headers
    )
    [(_, _, where, allow)] = rag.retriever.index.asked
    assert where == {"year": {"gte": 3}}
    assert allow == ("public", "crown", "staff")
    passages = response.json()["ragib"]["trace"][0]["passages"]
    assert CROWN.id in {passage["id"] for passage in passages}
    public = chat(app_of(), trace=True).json()["ragib"]["trace"][0]["passages"]
    assert CROWN.id not in {passage["id"] for passage in public}


@pytest.mark.parametrize(
    ("doc_id", "metadata", "url"),
    [
        ("http://a.example/x#top", {}, "http://a.example/x#char=0,3"),
        ("x.md", {"url": "https://b.example/"}, "https://b.example/#char=0,3"),
        ("x.md", {"url": "javascript:alert(1)"}, "ragib:x.md#char=0,3"),
        ("a b?\ud800", {}, "ragib:a%20b%3F%3F#char=0,3"),
    ],
)
def test_a_citation_links_to_its_document(doc_id, metadata, url):
    passage = Passage("p", doc_id, "Old. x.", "", 0, 7, metadata)
    script = ("Old", Generation("Old", (Quote(0, "Old"),)))
    answer = chat(app_of(script, passage)).json()
    [annotation] = answer["choices"][0]["message"]["annotations"]
    assert annotation["url_citation"]["url"] == url


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x" * 20_000}]}, "messages.0.content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content",
        ),
        (asking(n=2), "n"),
        (asking(stream="yes"), "stream"),
        (asking(where=[1]), "where"),
    ],
)
def test_a_request_that_asks_nothing_is_refused_with_the_field_to_blame(body, param):
    response = call(app_of(), "POST", "/v1/chat/completions", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"messages": NaN}'])
def test_what_is_not_json_is_refused(body):
    response = call(app_of(), "POST", "/v1/chat/completions", content=body)
    assert response.status_code == 400
    assert "not JSON" in response.json()["error"]["message"]


def test_models_lists_the_pipeline():
    listed = call(app_of(), path="/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["ragib"]
    assert chat(app_of()).json()["model"] == "ragib"


def test_streams_share_nothing():
    app = app_of((*GOOD,))
    first, second = chat(app, stream=True), chat(app, stream=True)
    assert events_of(first.text)[0]["id"] != events_of(second.text)[0]["id"]
