import asyncio

import pytest

from ragib.config import GeneratorConfig
from ragib.errors import GenerationError
from ragib.generators.base import Generation, Request
from ragib.generators.registry import load_generator
from ragib.types import Evidence


def request(question, text="Ada wrote it."):
    return Request(question, (Evidence("p", 0, len(text), text, 1.0),))


REQUESTS = [
    request("Who?"),
    request("Why was it written at all?"),
    request("When?", "In 1843. " * 9),
]


SAID = ("king", "queen", "tower", "bridge", "was", "old", "new", "war", "peace")


@pytest.fixture(scope="module")
def generator(tiny_llama_dir):
    config = GeneratorConfig(
        name="transformers", model=str(tiny_llama_dir), max_tokens=24, concurrency=2
    )
    return load_generator(config)


async def collect(generator, one):
    return [part async for part in generator.stream(one)]


def test_a_batch_gives_what_each_request_gives_alone(generator):
    together = generator.generate(REQUESTS)
    assert together == [generator.generate([one])[0] for one in REQUESTS]
    assert len({one.text for one in together}) > 1
    for one in together:
        assert one.usage["prompt_tokens"] > 100
        assert 1 <= one.usage["completion_tokens"] <= 24
        assert one.error is None
    assert generator.generate([]) == []


def test_streaming_and_async_give_the_same(generator):
    for one in REQUESTS:
        expected = generator.generate([one])[0]
        *pieces, streamed = asyncio.run(collect(generator, one))
        assert streamed == expected
        assert "".join(pieces) == expected.text
        assert asyncio.run(generator.agenerate(one)) == expected


def test_an_answer_ends_before_a_stop_string(generator, tiny_llama_dir):
    full = generator.generate(REQUESTS)
    stop = next(word for word in SAID if word in full[0].text)
    values = {"model": str(tiny_llama_dir), "max_tokens": 24, "concurrency": 3, "stop": [stop]}
    stopped = load_generator(GeneratorConfig(name="transformers", **values))
    answers = stopped.generate(REQUESTS)
    assert answers[0].text == full[0].text[: full[0].text.index(stop)].rstrip()
    assert answers[0].usage["completion_tokens"] < full[0].usage["completion_tokens"]
    for answer, one in zip(answers, REQUESTS, strict=True):
        assert stop not in answer.text
        *pieces, streamed = asyncio.run(collect(stopped, one))
        assert streamed == answer
        assert "".join(pieces) == answer.text


def test_leaving_a_stream_early_stops_the_model(generator):
    async def first():
        stream = generator.stream(REQUESTS[0])
        piece = await anext(stream)
        await stream.aclose()
        return piece

    assert isinstance(asyncio.run(first()), str | Generation)
    assert generator.generate(REQUESTS[:1])[0].error is None


def test_one_may_ask_in_the_middle_of_a_stream(generator):
    async def interleave():
        stream = generator.stream(REQUESTS[0])
        first = await anext(stream)
        return await generator.agenerate(REQUESTS[1]), first, [part async for part in stream]

    other, first, (*rest, last) = asyncio.run(interleave())
    assert other == generator.generate([REQUESTS[1]])[0]
    assert "".join([first, *rest]) == last.text == generator.generate([REQUESTS[0]])[0].text


def test_a_prompt_that_does_not_fit_costs_no_other(generator):
    long = request("Who?", "word " * 1000)
    good, bad = generator.generate([REQUESTS[0], long])
    assert good == generator.generate([REQUESTS[0]])[0]
    assert "the model reads 4096" in bad.error
    with pytest.raises(GenerationError, match="the model reads 4096"):
        asyncio.run(collect(generator, long))


def test_sampling_repeats_with_its_seed(tiny_llama_dir):
    def sample(seed):
        config = GeneratorConfig(
            name="transformers",
            model=str(tiny_llama_dir),
            max_tokens=24,
            temperature=1.0,
            seed=seed,
        )
        return load_generator(config).generate(REQUESTS[:1])

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_running_out_of_memory_is_counted_and_not_raised(generator, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("out of\n memory")

    monkeypatch.setattr(generator, "_run", fail)
    assert [one.error for one in generator.generate(REQUESTS)] == [
        "the model failed: out of memory"
    ] * 3
    with pytest.raises(GenerationError, match="the model failed: out of memory"):
        asyncio.run(collect(generator, REQUESTS[0]))


def test_a_closed_generator_loads_again(generator):
    before = generator.generate(REQUESTS[:1])
    generator.close()
    assert generator.generate(REQUESTS[:1]) == before


def test_a_folder_without_a_model_is_a_clear_error(tmp_path):
    generator = load_generator(GeneratorConfig(name="transformers", model=str(tmp_path)))
    with pytest.raises(GenerationError, match="cannot be loaded"):
        generator.generate(REQUESTS)
