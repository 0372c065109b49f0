"""Budgets: what comes out is what went in, in the order that the rules give."""

import math

from fake_judges import ScriptedJudge, hits_of, ids
from hypothesis import given
from hypothesis import strategies as st

from ragib.rerankers.budgeted import Budgeted, below

SCORES = st.one_of(st.none(), st.sampled_from([0.0, 5.0, 5.0 + 1e-9, 10.0, math.nan]), st.floats())


def slow_order(scores, reached):
    """State the rules one by one, over places."""
    good = {n: s for n, s in enumerate(scores[:reached]) if s is not None and math.isfinite(s)}
    if not good:
        return list(range(len(scores)))
    order = []
    for place in range(reached):
        if place not in good:
            order.append(place)
            continue
        taken = [n for n in order if n in good]
        left = [n for n in good if n not in taken]
        order.append(max(left, key=lambda n: (good[n], -n)))
    return order + list(range(reached, len(scores)))


@given(
    scores=st.lists(SCORES, max_size=12),
    depth=st.integers(1, 14),
    tokens=st.one_of(st.none(), st.integers(1, 200)),
    cost=st.integers(0, 40),
    unit=st.integers(1, 4),
    late=st.one_of(st.none(), st.integers(0, 12)),
)
def test_every_hit_comes_out_once_and_by_the_rules(scores, depth, tokens, cost, unit, late):
    hits = hits_of([f"text {n}" for n in range(len(scores))])
    judge = ScriptedJudge({f"text {n}": s for n, s in enumerate(scores)}, cost, unit, late)
    budget_ms = None if late is None else 1e9
    ranked = Budgeted(judge, depth, tokens, budget_ms).rerank("why?", hits)

    assert sorted(ids(ranked.hits)) == sorted(ids(hits))
    reached = len(judge.seen)
    assert [passage.id for passage in judge.seen] == ids(hits)[:reached]
    assert reached <= min(depth, len(hits))
    if late is None:
        assert ids(ranked.hits) == [f"p{n}" for n in slow_order(scores, reached)]
    falling = [hit.score for hit in ranked.hits]
    assert falling == sorted(falling, reverse=True)
    assert ranked.judged == 0 or len(set(falling)) == len(falling)

    told = [hit for hit in ranked.hits if "scripted" in hit.scores]
    assert len(told) == ranked.judged
    for hit in told:
        assert hit.scores["scripted"] == scores[int(hit.passage.id[1:])]
    assert ranked.tokens == cost * reached
    if tokens is not None and cost <= 15:
        assert ranked.tokens <= tokens
    assert (ranked.spent is None) == (reached == min(depth, len(hits)))


def test_what_is_not_reached_comes_below_and_what_is_not_read_keeps_its_place():
    hits = hits_of(["a", "b", "c", "d", "e"])
    judge = ScriptedJudge({"a": 1.0, "b": None, "c": 3.0, "d": 9.0, "e": 9.0})
    ranked = Budgeted(judge, depth=4, tokens=44).rerank("why?", hits)
    assert ids(ranked.hits) == ["p2", "p1", "p0", "p3", "p4"]
    assert (ranked.judged, ranked.unread, ranked.spent) == (2, 1, "budget_tokens")
    assert (ranked.calls, ranked.tokens) == (3, 30)
    assert ranked.hits[0].ranks == {"sparse": 3}


def test_tokens_that_were_estimated_too_high_are_spent_after_all():
    hits = hits_of([f"text {n}" for n in range(10)])
    judge = ScriptedJudge({hit.passage.text: 1.0 for hit in hits}, cost=1)
    ranked = Budgeted(judge, depth=10, tokens=24).rerank("why?", hits)
    assert (ranked.judged, ranked.tokens, ranked.spent) == (10, 10, None)


def test_without_any_verdict_hits_stay_as_they_are():
    hits = hits_of(["a", "b"])
    for judge, limits in ((ScriptedJudge({}), {}), (ScriptedJudge({"a": 1.0}), {"tokens": 1})):
        ranked = Budgeted(judge, depth=5, **limits).rerank("why?", hits)
        assert ranked.hits == tuple(hits)
        assert ranked.judged == 0
    assert Budgeted(ScriptedJudge({}), depth=5).rerank("why?", []).hits == ()


@given(st.lists(st.floats(-50, 50), max_size=6), st.lists(st.floats(-50, 50), max_size=6))
def test_others_are_put_below_by_score_too(first, others):
    top = hits_of([str(n) for n in range(len(first))])
    rest = hits_of([str(n) for n in range(len(others))])
    found = below(top, rest)
    assert [hit.passage for hit in found] == [hit.passage for hit in [*top, *rest]]
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)
