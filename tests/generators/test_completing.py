import pytest
from fake_openai import completion

from ragib.config import GeneratorConfig
from ragib.errors import ConfigError
from ragib.generators.base import Request
from ragib.generators.completing import Completion, completer_of, load_completer
from ragib.generators.prompt import chat
from ragib.generators.registry import load_generator
from ragib.types import Evidence

CHATS = [
    [{"role": "system", "content": "Say one word."}, {"role": "user", "content": text}]
    for text in ("Why?", "When was the old bridge built?", "Who?")
]


def over_http(server, **values):
    config = {"name": "openai", "model": "tiny", "base_url": server.url, "retries": 0, **values}
    return load_completer(GeneratorConfig.model_validate(config))


def test_chats_go_to_the_server_as_they_are_and_texts_come_back_as_they_are(server):
    server.then(completion(" 7 [1] \n", prompt_tokens=9, completion_tokens=2))
    found = over_http(server, max_tokens=99, seed=4).complete(CHATS[:1], max_tokens=3)
    assert found == [Completion(" 7 [1] \n", {"prompt_tokens": 9, "completion_tokens": 2})]
    assert server.requests[0][2] == {
        "model": "tiny",
        "messages": CHATS[0],
        "max_tokens": 3,
        "temperature": 0.0,
        "seed": 4,
    }


def test_a_salt_goes_along_unless_the_server_knows_none(server):
    server.then(completion("yes"))
    over_http(server).complete(CHATS[:1], max_tokens=3, salt="ab")
    over_http(server, cache_salt=False).complete(CHATS[:1], max_tokens=3, salt="ab")
    assert [body.get("cache_salt") for _, _, body in server.requests] == ["ab", None]


def test_completions_keep_the_order_of_the_chats_and_the_bound_on_concurrency(server):
    server.then(lambda body: [0.01, completion(body["messages"][1]["content"])])
    found = over_http(server, concurrency=2).complete(CHATS * 3, max_tokens=3)
    assert [one.text for one in found] == [chat[1]["content"] for chat in CHATS * 3]
    assert server.busiest <= 2


def test_a_chat_that_fails_loses_no_other(server):
    server.then(b"no such thing", status=400).then(completion("yes"))
    first, *others = over_http(server, concurrency=1).complete(CHATS, max_tokens=3)
    assert first.text == ""
    assert first.error.startswith(f"{server.url}/chat/completions: status 400: no such thing")
    assert others == [Completion("yes")] * 2


def test_what_a_server_does_not_say_in_time_is_given_up(server):
    server.then(completion("yes")).then([5.0, completion("no")])
    in_time, late = over_http(server, concurrency=1, timeout=9).complete(
        CHATS[:2], max_tokens=3, seconds=0.4
    )
    assert in_time == Completion("yes")
    assert late == Completion("", error="not complete within 0.4 s")


@pytest.fixture(scope="module")
def generator(tiny_llama_dir):
    return load_generator(
        GeneratorConfig(name="transformers", model=str(tiny_llama_dir), max_tokens=5, concurrency=2)
    )


def test_a_batch_of_chats_gives_what_each_gives_alone(generator):
    completer = completer_of(generator)
    together = completer.complete(CHATS, max_tokens=12)
    assert together == [completer.complete([one], max_tokens=12)[0] for one in CHATS]
    assert len({one.text for one in together}) > 1
    for one in together:
        assert one.error is None
        assert one.usage["prompt_tokens"] > 20
        assert 1 <= one.usage["completion_tokens"] <= 12
    assert max(one.usage["completion_tokens"] for one in together) > 5
    assert completer.complete([], max_tokens=12) == []


def test_a_completion_is_what_the_generator_writes_before_it_is_read(generator):
    request = Request("Who?", (Evidence("p", 0, 3, "Ada", 1.0),))
    (answer,) = generator.generate([request])
    (raw,) = completer_of(generator).complete([chat(request)], max_tokens=5)
    assert raw.usage == answer.usage
    assert raw.text.split() != [] or answer.text == ""


def test_a_chat_that_does_not_fit_the_model_says_so_and_the_others_are_completed(generator):
    long = [{"role": "user", "content": "tower " * 3000}]
    first, second = completer_of(generator).complete([long, CHATS[0]], max_tokens=4)
    assert "the model reads 4096" in first.error
    assert second.error is None


@pytest.mark.parametrize("name", ["reader", "sentence"])
def test_a_generator_without_a_language_model_completes_nothing(name):
    with pytest.raises(ConfigError, match=f"generator.name: {name} is no language model; set it"):
        load_completer(GeneratorConfig(name=name))


def test_a_model_stops_when_its_time_is_over(generator):
    completer = completer_of(generator)
    found = completer.complete(CHATS, max_tokens=3000, seconds=1e-6)
    assert [one.error for one in found] == ["not complete within 1e-06 s"] * 3
    assert completer.complete(CHATS, max_tokens=4, seconds=600) == completer.complete(
        CHATS, max_tokens=4
    )
    completer.close()
    assert completer.complete(CHATS[:1], max_tokens=4)[0].error is None
