import asyncio
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ragib.config import GeneratorConfig
from ragib.generators.base import Generation, Quote, Request
from ragib.generators.completing import completer_of
from ragib.generators.ordering import Ordered, PrefixTree, arrange
from ragib.generators.registry import load_generator
from ragib.types import Evidence


def request(letters, salt=None, question="Who?"):
    """Make a request of one-letter pieces."""
    pieces = tuple(Evidence(f"{n}", 0, 1, letter, 1.0) for n, letter in enumerate(letters))
    return Request(question, pieces, salt=salt)


def served(tree, batch):
    """Return the texts of a batch in the order in which they are served and read."""
    return [
        "".join(batch[number].evidence[place].text for place in order)
        for number, order in arrange(tree, batch)
    ]


def shared(first, second):
    """Return the length of the longest common prefix."""
    return next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 99)


sets = st.lists(st.sampled_from("abcdef"), max_size=5, unique=True).map("".join)
texts = st.text("abcdef", max_size=5)
requests = st.builds(request, texts, st.sampled_from([None, "s"]))


@given(st.lists(st.lists(requests, max_size=5), max_size=3))
def test_every_request_and_every_piece_is_there_once(batches):
    tree = PrefixTree()
    for batch in batches:
        placed = arrange(tree, batch)
        assert sorted(number for number, _ in placed) == list(range(len(batch)))
        for number, order in placed:
            assert sorted(order) == list(range(len(batch[number].evidence)))


@given(st.lists(texts, max_size=8), texts)
def test_one_request_goes_on_from_the_best_of_those_before(history, letters):
    tree = PrefixTree()
    past = [served(tree, [request(one)])[0] for one in history]
    (order,) = served(tree, [request(letters)])
    known = ["", *(one[:n] for one in past for n in range(1, len(one) + 1))]
    best = max(len(p) for p in known if all(p.count(x) <= letters.count(x) for x in p))
    assert order[:best] in known
    # What is shared with nobody keeps its order; of equal pieces it does not matter which is which.
    rest = list(letters)
    for letter in order[:best]:
        rest.remove(letter)
    assert sorted(order[best:]) == sorted(rest)
    if len(set(letters)) == len(letters):
        assert order[best:] == "".join(rest)


@given(sets, sets)
def test_two_requests_begin_with_all_they_share(first, second):
    one, other = served(PrefixTree(), [request(first), request(second)])
    common = set(first) & set(second)
    assert set(one[: len(common)]) == common
    assert one[: len(common)] == other[: len(common)]


def test_a_batch_becomes_a_tree_whose_heaviest_branch_comes_first():
    batch = [request(letters) for letters in ("xay", "bq", "zba", "rba", "k")]
    assert served(PrefixTree(), batch) == ["abz", "abr", "axy", "bq", "k"]
    in_order = sum(shared(a, b) for a, b in pairwise("xay bq zba rba k".split()))
    assert in_order == 0


def test_requests_of_unlike_salts_are_not_ordered_after_one_another():
    tree = PrefixTree()
    assert served(tree, [request("ab", "staff")]) == ["ab"]
    assert served(tree, [request("ba")]) == ["ba"]
    assert served(tree, [request("ba", "staff")]) == ["ab"]
    batch = [request("cd"), request("dc", "staff"), request("dc")]
    assert [number for number, _ in arrange(tree, batch)] == [0, 2, 1]


@given(st.lists(sets, max_size=12))
def test_the_tree_holds_the_last_sequences_and_no_others(sequences):
    def counts(node, path=""):
        found = {path: node.passing}
        for step, child in node.children.items():
            found |= counts(child, path + step)
        return found

    tree = PrefixTree(recent=3)
    for sequence in sequences:
        tree.add(tuple(sequence))
    last = sequences[-3:]
    prefixes = {one[:n] for one in last for n in range(1, len(one) + 1)}
    expected = {prefix: sum(one.startswith(prefix) for one in last) for prefix in prefixes}
    assert counts(tree.root) == {"": 0, **expected}


class Quoting:
    """Quotes every piece, in an order of its own, and two that there are not."""

    name = "quoting"
    closed = False

    def generate(self, batch):
        return [self.one(made) for made in batch]

    def one(self, made):
        numbered = sorted(enumerate(made.evidence), key=lambda pair: pair[1].passage_id)
        quotes = [Quote(number, piece.passage_id) for number, piece in numbered]
        nowhere = (Quote(-1, "before"), Quote(len(made.evidence), "behind"))
        return Generation(made.question, (*quotes, *nowhere), usage={"pieces": len(quotes)})

    async def agenerate(self, made):
        return self.one(made)

    async def stream(self, made):
        yield made.question[:1]
        yield made.question[1:]
        yield self.one(made)

    def close(self):
        self.closed = True


@given(st.lists(st.lists(requests, max_size=5), max_size=3))
def test_answers_are_those_without_ordering(batches):
    plain, ordered = Quoting(), Ordered(Quoting())

    async def follow(made):
        return [part async for part in ordered.stream(made)]

    for batch in batches:
        expected = plain.generate(batch)
        assert ordered.generate(batch) == expected
        for made, one in zip(batch, expected, strict=True):
            assert asyncio.run(ordered.agenerate(made)) == one
            assert asyncio.run(follow(made)) == ["W", "ho?", one]


def test_it_comes_by_configuration_and_keeps_what_it_wraps():
    config = {"name": "openai", "model": "m", "ordering": "prefix"}
    generator = load_generator(GeneratorConfig.model_validate(config))
    assert isinstance(generator, Ordered)
    assert generator.name == "openai"
    assert completer_of(generator) is not None
    wrapped = Ordered(Quoting())
    wrapped.close()
    assert wrapped.inner.closed
