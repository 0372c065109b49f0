"""Stages: each question worked on once, whoever asks, and a failure bears no company."""

import errno
import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.compressor.registry import WEIGHTS
from ragib.config import Config, parse_config
from ragib.errors import MissingExtraError
from ragib.eval.cache import Cache
from ragib.eval.stages import (
    Failure,
    Stages,
    compress,
    generate,
    generator_folder,
    generator_settings,
)
from ragib.generators.base import Generation, Quote, Request
from ragib.types import Compressed, Dropped, Evidence, Passage, Question

KEYS = st.lists(st.integers(0, 12), max_size=12)


@settings(deadline=None, max_examples=30)
@given(st.lists(KEYS, max_size=4), st.sets(st.integers(0, 12)), st.integers(0, 4))
def test_against_one_after_the_other(tmp_path_factory, batches, bad, again):
    folder = tmp_path_factory.mktemp("cache")
    worked = []

    def stage(stages, batch):
        def work(places):
            if any(batch[i] in bad for i in places):
                raise ValueError(f"bad: {next(batch[i] for i in places if batch[i] in bad)}")
            worked.extend(batch[i] for i in places)
            return [batch[i] ** 2 for i in places]

        return stages("square", [str(key) for key in batch], work)

    earlier: set[int] = set()
    for part in (batches[:again], batches[again:]):  # two runs over one cache
        with Cache(folder) as cache:
            stages = Stages(cache)
            for batch in part:
                made = stage(stages, batch)
                for key, one in zip(batch, made, strict=True):
                    if key in bad:
                        assert one.value == Failure(f"ValueError: bad: {key}")
                    else:
                        assert one.value == key**2
                    assert one.cached == (key in earlier)
        earlier |= {key for batch in part for key in batch} - bad
    assert sorted(worked) == sorted(set(worked)) == sorted(earlier)


def test_a_failure_is_not_tried_again_in_a_run(tmp_path):
    calls = []

    def work(places):
        calls.append(list(places))
        raise ValueError("no")

    with Cache(tmp_path) as cache:
        stages = Stages(cache)
        for _ in range(3):
            assert isinstance(stages("s", ["k"], work)[0].value, Failure)
        assert calls == [[0]]
        Stages(cache)("s", ["k"], work)
        assert calls == [[0], [0]]


@pytest.mark.parametrize(
    "error", [MissingExtraError("no torch"), MemoryError(), OSError(errno.ENOSPC, "full")]
)
def test_what_concerns_all_ends_the_run(tmp_path, error):
    def work(places):
        raise error

    with Cache(tmp_path) as cache, pytest.raises(type(error)):
        Stages(cache)("s", ["a", "b"], work)


def test_too_few_results_are_a_failure_of_each(tmp_path):
    class Short:
        name = "short"

        def generate(self, requests):
            return [Generation("a")] * (len(requests) - 1)

    requests = [Request("q", ()), Request("r", ())]
    with Cache(tmp_path) as cache:
        made = generate(Stages(cache), Short(), "short", requests)
    assert all(isinstance(one.value, Failure) for one in made)


def test_what_is_read_back_is_what_was_made(tmp_path):
    passage = Passage("p#0", "p", "The moon. The sun.", "Sky", 10, 28)
    question = Question("1", "what shines?", (passage,))
    kept = Evidence("p#0", 10, 18, "The sun.", 0.75)
    result = Compressed("1", (kept,), (Dropped("p#0", 0, 9, 0.1, "low"),), 4, 2)
    generation = Generation("sun", (Quote(0, "sun"),), usage={"prompt_tokens": 3}, confidence=0.5)

    class Fixed:
        name = "fixed"

        def compress(self, questions):
            return [result] * len(questions)

        def generate(self, requests):
            return [generation] * len(requests)

    class Broken:
        name = "broken"

    for machine in (Fixed(), Broken()):  # the second time nobody is asked
        with Cache(tmp_path) as cache:
            stages = Stages(cache)
            [one] = compress(stages, machine, "settings", [question])
            assert one.value.evidence == result.evidence
            assert (one.value.words_in, one.value.words_kept, one.value.abstained) == (4, 2, False)
            [two] = generate(stages, machine, "settings", [Request("q", one.value.evidence)])
            assert two.value == generation
            assert one.cached == two.cached == isinstance(machine, Broken)


def test_what_decides_an_answer_is_in_its_key(tmp_path):
    piece = Evidence("p#0", 0, 3, "sun", 0.5)
    asked = [
        Request("q", (piece,)),
        Request("r", (piece,)),
        Request("q", (Evidence("p#0", 0, 3, "sun", 0.6),)),
        Request("q", (Evidence("p#0", 0, 3, "son", 0.5),)),
        Request("q", (piece,), {"p#0": "Sky"}),
        Request("q", (piece, piece)),
        Request("q", ()),
    ]

    class Counter:
        name = "counter"

        def generate(self, requests):
            return [Generation(str(asked.index(request))) for request in requests]

    with Cache(tmp_path) as cache:
        made = generate(Stages(cache), Counter(), "s", asked)
    assert [one.value.text for one in made] == [str(i) for i in range(len(asked))]


def test_settings_of_a_generator(tmp_path):
    def config(**generator) -> Config:
        return parse_config({"generator": generator}, "test")

    plain = generator_settings(config(name="sentence"))
    assert generator_settings(config(name="sentence", timeout=5, concurrency=2)) == plain
    assert generator_settings(config(name="sentence", seed=1)) != plain
    before = generator_settings(config(name="reader", model=str(tmp_path)))
    (tmp_path / "model.safetensors").write_text("other weights")
    assert generator_settings(config(name="reader", model=str(tmp_path))) != before


def test_the_precision_of_the_compressor_is_that_of_a_reader_without_weights_of_its_own(tmp_path):
    def settings(precision: str, **generator) -> str:
        values = {"generator": generator, "compressor": {"precision": precision}}
        return generator_settings(parse_config(values, "test"))

    own = {"name": "reader", "model": str(tmp_path)}
    assert settings("int8", name="reader") != settings("auto", name="reader")
    assert settings("int8", **own) == settings("auto", **own)
    assert settings("int8", name="sentence") == settings("auto", name="sentence")


def test_the_reader_reads_with_the_weights_of_the_compressor(tmp_path):
    values = {"generator": {"name": "reader"}, "compressor": {"name": str(tmp_path)}}
    assert generator_folder(parse_config(values, "test")) == tmp_path
    values["compressor"] = {"name": "none"}
    assert generator_folder(parse_config(values, "test")) == WEIGHTS
    values["generator"] = {"name": "sentence"}
    assert generator_folder(parse_config(values, "test")) is None


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from ragib.eval.cache import Cache
    from ragib.eval.stages import Stages

    def work(places):
        if places[0] + start == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        print(places[0] + start, flush=True)
        return [i + start for i in places]

    stages = Stages(Cache(Path(sys.argv[1])))
    for start in range(0, 40, 4):
        keys = [str(start + i) for i in range(4)]
        assert [one.value for one in stages("s", keys, work)] == [start + i for i in range(4)]
"""


def test_a_killed_run_loses_one_batch_at_most(tmp_path):
    done = []
    for death in (8, 24, 99):
        process = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), str(death)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert process.returncode == (0 if death == 99 else -9), process.stderr
        done += [int(line) for line in process.stdout.split()]
    assert done == list(range(0, 40, 4))
