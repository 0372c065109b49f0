"""Axes, the front, and labels that do not lie on each other."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragib.eval.report.axis import cost_axis, linear_axis, log_axis, short
from ragib.eval.report.chart import LINE, WIDTH, Series, lines, spread
from ragib.eval.report.scatter import Point, front, scatter

VALUES = st.lists(st.floats(-1e9, 1e9).map(lambda x: round(x, 6)), max_size=20)
POSITIVE = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=20)
PLACES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14)


@given(VALUES, st.booleans())
@example([0.0002], False)
def test_a_linear_axis_covers_its_values_with_a_few_even_ticks(values, zero):
    axis = linear_axis(values, 10.0, 110.0, zero=zero)
    assert 2 <= len(axis.ticks) <= 9
    steps = [b - a for a, b in itertools.pairwise(axis.ticks)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-3)
    room = 1e-4 * (axis.high - axis.low)
    assert all(axis.low - room <= value <= axis.high + room for value in values)
    assert not zero or axis.low <= 0 <= axis.high
    assert axis.at(axis.low) == 10.0
    assert axis.at(axis.high) == 110.0


@pytest.mark.parametrize(("value", "low"), [(0.0, 0.0), (1.0, 0.8), (-2.0, -2.4)])
def test_one_value_has_room_around_it_but_not_below_zero(value, low):
    axis = linear_axis([value], 0.0, 1.0)
    assert axis.low == pytest.approx(low)
    assert axis.high > value


@given(POSITIVE)
def test_an_axis_of_costs_is_logarithmic_past_a_decade(values):
    axis = cost_axis(values, 0.0, 100.0)
    assert axis.log == (max(values) > 10 * min(values))
    assert len(axis.ticks) >= 2 or axis.log
    assert all(-1e-6 <= axis.at(value) <= 100 + 1e-6 for value in values)
    ordered = sorted(values)
    assert [axis.at(v) for v in ordered] == sorted(axis.at(v) for v in ordered)


def test_a_decade_is_as_long_as_any_other():
    axis = log_axis([1, 1000], 0.0, 1.0)
    assert axis.at(100) - axis.at(10) == pytest.approx(axis.at(1000) - axis.at(100))
    assert set(axis.ticks) == {1, 10, 100, 1000}


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (0.25, "0.25"), (1500, "1,500"), (20_000, "20k"), (3e6, "3M"), (2.5e9, "2.5G"),
     (0.1 + 0.2, "0.3"), (-4, "-4")],
)  # fmt: skip
def test_ticks_are_short(value, said):
    assert short(value) == said


@given(PLACES)
def test_the_front_is_what_nothing_beats(points):
    def beaten(i: int) -> bool:
        x, y = points[i]
        return any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)

    found = front(points)
    assert sorted(found) == [i for i in range(len(points)) if not beaten(i)]
    assert [points[i][0] for i in found] == sorted(points[i][0] for i in found)


@given(st.lists(st.floats(0, 200), max_size=10))
def test_places_move_apart_in_order_and_stay_inside(wanted):
    places = spread(wanted, LINE, 0.0, 200.0)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    gaps = [places[b] - places[a] for a, b in itertools.pairwise(order)]
    assert all(gap >= LINE - 1e-6 for gap in gaps)
    assert all(-1e-6 <= place <= 200 + 1e-6 for place in places)
    if all(wanted[b] - wanted[a] >= LINE for a, b in itertools.pairwise(order)):
        assert places == pytest.approx(wanted)


def points(places: list[tuple[int, int]]) -> list[Point]:
    return [
        Point(
            f"{i + 1} pipeline called <{i}>", x + 1, y / 10, y / 10 - 0.1, y / 10 + 0.1, i, "said"
        )
        for i, (x, y) in enumerate(places)
    ]


@given(PLACES)
def test_a_pareto_plot_has_every_point_and_no_number_that_is_none(places):
    shown = points(places)
    x = cost_axis([p.x for p in shown], 58.0, WIDTH - 16)
    y = linear_axis([bound for p in shown for bound in (p.low, p.high)], 296.0, 14.0)
    drawn = scatter(shown, x, y)
    assert "nan" not in drawn
    best = front([(p.x, p.y) for p in shown])
    assert drawn.count("mark best") == len(best)
    assert drawn.count("mark other") == len(places) - len(best)
    assert drawn.count('class="base"') == (1 if places else 0)
    assert drawn.count("<title>") == len(places)


@given(PLACES)
def test_labels_of_the_front_do_not_overlap(places):
    shown = points(places)
    x = cost_axis([p.x for p in shown], 58.0, WIDTH - 16)
    y = linear_axis([bound for p in shown for bound in (p.low, p.high)], 296.0, 14.0)
    found = re.findall(
        r'<text x="([\d.]+)" y="([\d.]+)" class="label halo">([^<]*)', scatter(shown, x, y)
    )
    boxes = [(float(a), float(b), 5 * len(text.replace("&lt;", "<").replace("&gt;", ">")))
             for a, b, text in found]  # fmt: skip
    for (ax, ay, aw), (bx, by, bw) in itertools.combinations(boxes, 2):
        assert abs(ay - by) >= LINE - 0.1 or ax + aw <= bx or bx + bw <= ax


def test_grey_lines_lie_below_and_have_no_label():
    axis = linear_axis([0, 1], 0.0, 300.0)
    drawn = lines(
        [Series("front", [(0, 0), (1, 1)], 2, (0, 3)), Series("else", [(0, 1)], None, (1,))],
        axis,
        axis,
    )
    assert drawn.index('class="mark other" data-p="1"') < drawn.index(
        'class="mark c2" data-p="0 3"'
    )
    assert re.findall(r'class="label">([^<]*)<', drawn) == ["front"]
    assert math.isclose(drawn.count("<circle"), 3)
