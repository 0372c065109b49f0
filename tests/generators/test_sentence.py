import asyncio
import sys

import pytest

from ragib.config import GeneratorConfig
from ragib.errors import ConfigError, MissingExtraError, OfflineError
from ragib.generators.base import Quote, Request
from ragib.generators.registry import load_generator
from ragib.generators.sentence import SentenceGenerator
from ragib.types import Evidence


def evidence(text, score):
    return Evidence("p", 0, len(text), text, score)


def read(question, *pieces):
    return SentenceGenerator().generate([Request(question, pieces)])[0]


def test_the_best_evidence_answers_word_for_word():
    got = read("Who wrote it?", evidence("Bob read it.", 0.2), evidence("Ada wrote it.", 0.9))
    assert (got.text, got.quotes, got.confidence) == (
        "Ada wrote it.", (Quote(1, "Ada wrote it."),), 0.9,
    )  # fmt: skip
    assert not got.abstained


def test_within_one_piece_the_sentence_nearest_to_the_question_answers():
    text = "The city is old. The bridge was built in 1901. It rains."
    got = read("When was the bridge built?", evidence(text, 1.0))
    assert got.text == "The bridge was built in 1901."


def test_a_heading_answers_only_where_there_is_nothing_else():
    heading, text = evidence("# Bridges", 0.9), evidence("The bridge opened in 1937.", 0.4)
    assert read("When did the bridge open?", heading, text).text == "The bridge opened in 1937."
    assert read("When did the bridge open?", heading).text == "# Bridges"
    short = evidence("Ada built it.", 0.9)
    assert read("Who built the bridge?", short, text).text == "Ada built it."


def test_without_evidence_it_abstains():
    for pieces in ((), (evidence("  \n", 1.0),)):
        got = read("Who?", *pieces)
        assert (got.text, got.quotes, got.abstained) == ("", (), True)


def test_streaming_gives_the_same():
    async def collect(request):
        return [part async for part in SentenceGenerator().stream(request)]

    request = Request("Who?", (evidence("Ada.", 1.0),))
    assert asyncio.run(collect(request)) == ["Ada.", SentenceGenerator().generate([request])[0]]
    empty = Request("Who?", ())
    assert asyncio.run(collect(empty)) == SentenceGenerator().generate([empty])


def test_generators_load_by_name():
    assert load_generator(GeneratorConfig()).name == "reader"
    openai = load_generator(GeneratorConfig(name="openai", model="m"))
    assert openai.name == "openai"


def test_what_is_not_installed_is_named_with_its_pip_line(monkeypatch, tmp_path):
    for name, module in (("vllm", "vllm"), ("openai", "httpx"), ("transformers", "transformers")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtraError, match=rf"{module}.*pip install 'ragib\["):
            load_generator(GeneratorConfig(name=name, model=str(tmp_path)))


def test_code_that_comes_with_a_model_is_never_run(tmp_path):
    config = GeneratorConfig(
        name="vllm", model=str(tmp_path), engine_args={"trust_remote_code": True}
    )
    with pytest.raises(ConfigError, match="trust_remote_code"):
        load_generator(config)


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'transformers'"):
        load_generator(GeneratorConfig.model_construct(name="transformer"))


@pytest.mark.parametrize("name", ["vllm", "openai", "transformers"])
def test_a_language_model_must_be_named(name):
    with pytest.raises(ConfigError, match=r"generator\.model"):
        load_generator(GeneratorConfig(name=name))


def test_offline_only_what_is_on_this_machine_loads(monkeypatch):
    monkeypatch.setenv("RAGIB_OFFLINE", "1")
    load_generator(GeneratorConfig(name="openai", model="m", base_url="http://localhost:1/v1"))
    for config in (
        GeneratorConfig(name="openai", model="m", base_url="https://api.example.com/v1"),
        GeneratorConfig(name="openai", model="m", base_url="http://127.evil.example/v1"),
        GeneratorConfig(name="transformers", model="someone/model"),
    ):
        with pytest.raises(OfflineError):
            load_generator(config)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://x/v1", "http://", "http://x:y/", "http://[x"]
)
def test_a_base_url_must_be_an_address(url):
    with pytest.raises(ConfigError, match="base_url"):
        load_generator(GeneratorConfig(name="openai", model="m", base_url=url))
