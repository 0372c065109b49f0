import asyncio
import re
from dataclasses import dataclass, field

import pytest

from ragib.config import Config, IndexConfig
from ragib.errors import GenerationError, InputError
from ragib.generators.base import Generation, Quote, Request
from ragib.generators.sentence import SentenceGenerator
from ragib.indexes.index import Index
from ragib.pipeline import RAG
from ragib.types import Answer, Citation, Compressed, Document, Evidence, Hit, Passage

RIVER = Passage("d#1", "d", "The river is old. It runs to the sea.", "River", 50, 87)
TOWER = Passage("t#0", "t", "The tower is new.", "", 0, 17)


@dataclass
class FakeRetriever:
    """Finds both passages, or none when nothing is allowed."""

    asked: list = field(default_factory=list)

    def retrieve(self, questions, *, where=None, allow=("public",)):
        self.asked.append((tuple(questions), where, tuple(allow)))
        found = [Hit(RIVER, 1.0), Hit(TOWER, 0.5)] if allow else []
        return [list(found) for _ in questions]


class FirstSentence:
    """Keeps the first sentence of every passage; abstains on questions about the moon."""

    name = "first-sentence"

    def compress(self, questions):
        return [self._one(question) for question in questions]

    def _one(self, question):
        kept = []
        for passage in question.passages:
            end = passage.text.index(".") + 1
            kept.append(Evidence(passage.id, 0, end, passage.text[:end], 1.0 / (1 + len(kept))))
        words = sum(len(passage.text.split()) for passage in question.passages)
        abstained = "moon" in question.text or not kept
        evidence = () if abstained else tuple(kept)
        left = sum(len(piece.text.split()) for piece in evidence)
        return Compressed(question.id, evidence, (), words, left, abstained)


@dataclass
class Scripted:
    """Cites as told and fails on questions about failure."""

    quotes: tuple = (Quote(0, "river is"), Quote(8))
    seen: list = field(default_factory=list)
    name = "scripted"

    def generate(self, requests):
        self.seen += requests
        return [
            Generation("", error="no luck")
            if "fail" in request.question
            else Generation("Old.", self.quotes, usage={"prompt_tokens": 9})
            for request in requests
        ]

    async def agenerate(self, request):
        return self.generate([request])[0]

    async def stream(self, request):
        generation = self.generate([request])[0]
        if generation.error:
            yield "Ol"
            raise GenerationError(generation.error)
        yield "Ol"
        yield "d."
        yield generation


@pytest.fixture
def rag():
    return RAG(FakeRetriever(), FirstSentence(), Scripted())


def test_an_answer_carries_all_that_led_to_it(rag):
    answer = rag.ask("How old is the river?", where={"year": 1900}, allow=("staff",))
    assert rag.retriever.asked == [(("How old is the river?",), {"year": 1900}, ("staff",))]
    assert answer.text == "Old."
    assert answer.citations == (Citation("d", "d#1", 54, 62, "river is"),)
    assert answer.flags == ("unverified-citation",)
    assert [hit.passage for hit in answer.hits] == [RIVER, TOWER]
    assert [piece.text for piece in answer.evidence] == ["The river is old.", "The tower is new."]
    assert answer.usage == {"words_in": 13, "words_kept": 8, "prompt_tokens": 9}
    assert set(answer.timings) == {"retrieve", "compress", "generate", "total"}
    stages = sum(value for stage, value in answer.timings.items() if stage != "total")
    assert answer.timings["total"] == pytest.approx(stages)
    assert not answer.abstained


def test_the_generator_sees_the_evidence_and_titles_only(rag):
    answer = rag.ask("How old is the river?")
    (request,) = rag.generator.seen
    assert request == Request("How old is the river?", answer.evidence, {"d#1": "River"})


def test_access_groups_share_no_salt(rag):
    asked = [("public",), ("staff",), ("a", "b"), ("b", "a", "b"), ("a",), ("staff", "public")]
    for allow in asked:
        rag.ask("How old is the river?", allow=allow)
    public, staff, both, again, one, wide = (request.salt for request in rag.generator.seen)
    assert public is None
    assert both == again
    assert len({staff, both, one, wide}) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", salt) for salt in (staff, both, one, wide))


def test_nothing_found_or_kept_is_abstention_without_a_call(rag):
    for answer in (rag.ask("What is the moon?"), rag.ask("How old is it?", allow=())):
        assert (answer.text, answer.abstained, answer.citations) == ("", True, ())
        assert answer.usage["completion_tokens"] == 0
    assert rag.generator.seen == []


def test_a_batch_keeps_its_order_and_shows_its_failures(rag):
    questions = ["river?", "fail?", "moon?", "tower?"]
    answers = rag.ask_batch(questions)
    assert [answer.question for answer in answers] == questions
    assert [answer.text for answer in answers] == ["Old.", "", "", "Old."]
    assert [answer.abstained for answer in answers] == [False, False, True, False]
    assert answers[1].flags == ("generation-failed: no luck",)
    assert len(rag.retriever.asked) == 1
    assert rag.ask_batch([]) == []


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused_by_every_way_of_asking(rag, question):
    for ask in (
        lambda: rag.ask(question),
        lambda: rag.ask_batch(["fine?", question]),
        lambda: asyncio.run(rag.aask(question)),
        lambda: list(rag.stream(question)),
    ):
        with pytest.raises(InputError, match="empty"):
            ask()
    assert rag.retriever.asked == []


def test_a_failed_single_question_raises(rag):
    for ask in (
        lambda: rag.ask("fail?"),
        lambda: asyncio.run(rag.aask("fail?")),
        lambda: list(rag.stream("fail?")),
    ):
        with pytest.raises(GenerationError, match="no luck"):
            ask()


def without_timings(answer):
    return answer.text, answer.citations, answer.evidence, answer.usage, answer.flags


def test_every_way_of_asking_gives_the_same_answer(rag):
    answer = rag.ask("river?")
    assert without_timings(asyncio.run(rag.aask("river?"))) == without_timings(answer)
    *pieces, streamed = rag.stream("river?")
    assert pieces == ["Ol", "d."]
    assert isinstance(streamed, Answer)
    assert without_timings(streamed) == without_timings(answer)


def test_streaming_an_abstention_yields_only_the_answer(rag):
    (answer,) = rag.stream("moon?")
    assert answer.abstained


def test_asking_works_inside_a_running_loop(rag):
    async def notebook():
        return rag.ask("river?"), list(rag.stream("river?"))

    answer, streamed = asyncio.run(notebook())
    assert answer.text == "".join(streamed[:-1]) == "Old."


def test_many_questions_at_once():
    rag = RAG(FakeRetriever(), FirstSentence(), SentenceGenerator())

    async def crowd():
        return await asyncio.gather(*(rag.aask(f"river {n}?") for n in range(20)))

    answers = asyncio.run(crowd())
    assert [answer.question for answer in answers] == [f"river {n}?" for n in range(20)]
    assert {answer.text for answer in answers} == {"The river is old."}


def test_the_reader_cites_what_it_says():
    answer = RAG(FakeRetriever(), FirstSentence(), SentenceGenerator()).ask("How old is the river?")
    assert answer.text == "The river is old."
    assert answer.citations == (Citation("d", "d#1", 50, 67, "The river is old."),)
    assert answer.confidence == 1.0
    assert answer.flags == ()


def test_one_string_is_not_a_batch(rag):
    with pytest.raises(InputError, match="one string"):
        rag.ask_batch("Who?")


@pytest.fixture(scope="module")
def index(tmp_path_factory, tiny_encoder_dir):
    documents = [
        Document("bridge", "The old bridge is of stone. The king built it.", "Bridge"),
        Document("tower", "The new tower is of iron. It stands in Paris.", "Tower"),
        Document("secret", "The queen is in the tower.", "Secret", access=("staff",)),
    ]
    config = IndexConfig.model_validate(
        {"encoder": {"model": str(tiny_encoder_dir)}, "multivector": {"dim": 32}}
    )
    with Index.build(documents, tmp_path_factory.mktemp("rag") / "idx", config) as built:
        yield built


def test_the_real_parts_work_together(index, tmp_path):
    file = tmp_path / "rag.yaml"
    file.write_text(
        "retriever: {k: 2, using: sparse}\ncompressor: {keep: 0.5}\ngenerator: {name: sentence}\n"
    )
    rag = RAG.from_config(file, index=index, overrides=["compressor.name=bm25-sentence"])
    answers = rag.ask_batch(["Of what is the bridge?", "Where is the iron tower?"])
    assert [answer.text for answer in answers] == [
        "The old bridge is of stone.",
        "The new tower is of iron.",
    ]
    for answer in answers:
        (citation,) = answer.citations
        text = {"bridge": "The old bridge is of stone. The king built it."}.get(
            citation.doc_id, "The new tower is of iron. It stands in Paris."
        )
        assert text[citation.start : citation.end] == citation.text == answer.text
        assert answer.flags == ()
        assert "secret" not in {hit.passage.doc_id for hit in answer.hits}
    staff = rag.ask("Where is the queen?", allow=("staff",))
    assert {citation.doc_id for citation in staff.citations} == {"secret"}
    assert rag.ask("Where is the queen?", where={}).abstained
    rag.close()


def test_the_compressor_uses_the_encoder_of_the_index(index):
    names = Config.model_validate(
        {"compressor": {"name": "embedding-sentence"}, "generator": {"name": "sentence"}}
    )
    rag = RAG.from_config(names, index=index)
    assert rag.compressor.encoder is index.encoder
    answer = rag.ask("Who built the bridge?")
    assert answer.text
    assert answer.citations


def test_overrides_need_a_file():
    with pytest.raises(InputError, match="overrides"):
        RAG.from_config(Config(), index=None, overrides=["retriever.k=2"])
