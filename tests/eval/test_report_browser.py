"""The page in a real Chromium: what it does, and that it asks nobody for anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragib.eval.report.page import write_report
from tests.eval.chromium import BINARY, Browser, chromium
from tests.eval.synthetic_run import write_run

pytestmark = pytest.mark.skipif(BINARY is None, reason="no chromium on the PATH")

QUERIES = 24


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, 8, QUERIES)
    write_report(folder, folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def page(browser, report) -> Browser:
    browser.open(report)
    return browser


def choose(page: Browser, selector: str, value: object) -> None:
    page.run(
        f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
        f"one.value = {json.dumps(str(value))}; one.dispatchEvent(new Event('change')); }})()"
    )


def embedded(report: Path) -> dict[str, Any]:
    """Read the value that the page holds."""
    text = report.read_text(encoding="utf-8")
    return json.loads(text.partition('id="data">')[2].partition("</script>")[0])


def place(page: Browser) -> str:
    return page.run("document.getElementById('place').textContent")


def column(page: Browser, number: int) -> list[str]:
    return page.run(
        "[...document.querySelectorAll('#verdict tbody tr')]"
        f".map((row) => row.cells[{number}].dataset.v)"
    )


def test_no_complaint_and_no_request(page, report):
    for _ in range(QUERIES):
        page.click("#next")
    assert page.run("document.title") == "Evaluation report"
    assert page.complaints() == []
    assert page.requests() == [report.as_uri()]


def test_the_policy_stops_what_would_get_past_the_escaping(page):
    page.run("document.body.insertAdjacentHTML('beforeend',"
             " '<img src=https://example.com/x.png onerror=\"document.title=1\">')")  # fmt: skip
    page.run("document.body.append(Object.assign(document.createElement('script'),"
             " {textContent: 'document.title = 2'}))")  # fmt: skip
    assert page.run("document.title") == "Evaluation report"
    assert page.complaints()


def test_keys_go_to_the_next_query_and_back(page):
    page.run("document.getElementById('browser').focus()")
    assert place(page) == f"1 of {QUERIES}"
    first = page.run("document.getElementById('question').textContent")
    for key, then in [("j", 2), ("ArrowRight", 3), ("k", 2), ("ArrowLeft", 1), ("k", 1)]:
        page.press(key)
        assert place(page) == f"{then} of {QUERIES}"
    assert page.run("document.getElementById('question').textContent") == first
    page.run("document.getElementById('filter').focus()")
    page.press("ArrowRight")
    page.run("document.querySelector('nav a').focus()")
    page.press("j")
    assert place(page).startswith("1 of ")


def test_filters_keep_what_they_say(page, report):
    data = embedded(report)
    choose(page, "#side-a", 0)
    choose(page, "#side-b", 4)
    pairs = [(query, query["by"][0], query["by"][4]) for query in data["queries"]]
    wanted = {
        "all": pairs,
        "better": [one for one in pairs if one[2]["s"] > one[1]["s"]],
        "worse": [one for one in pairs if one[2]["s"] < one[1]["s"]],
        "answers": [one for one in pairs if one[2]["a"] != one[1]["a"]],
        "errors": [one for one in pairs if "x" in one[1] or "x" in one[2]],
    }
    assert all(wanted[kind] for kind in ("better", "worse", "answers"))
    for kind, queries in wanted.items():
        choose(page, "#filter", kind)
        shown = []
        for _ in queries:
            shown.append(page.run("document.querySelector('#view dd').textContent"))
            page.click("#next")
        assert shown == [query["id"] for query, _, _ in queries]
        assert page.run(f"[...document.querySelectorAll('#filter option')]"
                        f".find((one) => one.value === '{kind}').textContent"
                        ).endswith(f"({len(queries)})")  # fmt: skip


def test_marks_are_the_kept_spans_whatever_the_letters(page, report):
    data = embedded(report)
    choose(page, "#side-a", 2)
    choose(page, "#filter", "all")
    for query in data["queries"]:
        row = query["by"][2]
        kept = {
            data["passages"][n][2].encode("utf-16-le")[2 * a : 2 * b].decode("utf-16-le")
            for n, a, b in row["e"]
        }
        shown = page.run("[...document.querySelectorAll('.side:first-child mark')]"
                         ".map((mark) => mark.textContent)")  # fmt: skip
        assert set(shown) == kept - {""}
        page.click("#next")
    assert any(query["by"][2]["e"] for query in data["queries"])


def test_hostile_questions_are_shown_as_written(page):
    shown = []
    for _ in range(QUERIES):
        shown.append(page.run("document.getElementById('question').textContent"))
        page.click("#next")
    assert any("</script><script>" in question for question in shown)
    assert page.run("document.querySelectorAll('#view script, #view img').length") == 0


@pytest.mark.parametrize("by", ["click", "keyboard"])
def test_the_verdict_sorts_by_a_column(page, by):
    head = "#verdict thead th:nth-child(3)"

    def sort() -> None:
        if by == "click":
            page.click(f"{head} button")
        else:
            page.run(f"document.querySelector('{head} button').focus()")
            page.press("Enter")

    numbers = [float(value) for value in column(page, 2)]
    sort()
    assert [float(value) for value in column(page, 2)] == sorted(numbers, reverse=True)
    assert page.run(f"document.querySelector('{head}').getAttribute('aria-sort')") == "descending"
    sort()
    assert [float(value) for value in column(page, 2)] == sorted(numbers)
    page.click("#verdict thead th:nth-child(1) button")
    assert column(page, 0) == [str(i + 1) for i in range(8)]
    assert page.run("document.querySelectorAll('#verdict [aria-sort]').length") == 1


def test_a_pipeline_is_brought_out_in_every_chart(page):
    choose(page, "#timing-emphasis", 5)
    picked = page.run("[...document.querySelectorAll('.picked')].map((one) => one.dataset.p)")
    others = page.run(
        "[...document.querySelectorAll('[data-p]:not(.picked)')].map((one) => one.dataset.p)"
    )
    assert picked
    assert all("5" in one.split() for one in picked)
    assert not any("5" in one.split() for one in others)
    charts = page.run("[...document.querySelectorAll('svg')]"
                      ".filter((one) => one.querySelector('.picked')).length")  # fmt: skip
    assert charts >= 6
    assert page.run("document.getElementById('curves-emphasis').value") == "5"
    choose(page, "#timing-emphasis", "")
    assert page.run("document.querySelectorAll('.picked').length") == 0


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_sticks_out_of_the_window(browser, report, width):
    browser.open(report, width=width)
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.run("document.documentElement.scrollWidth") <= width


CONTRAST = """
(() => {
  const parse = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (rgb) => rgb.map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!/rgba\\(0, 0, 0, 0\\)|transparent/.test(colour)) return parse(colour);
    }
    return parse(getComputedStyle(document.body).backgroundColor);
  };
  const low = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    if (!own || !node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    const ink = node instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(parse(ink)), light(behind(node))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push(`${node.tagName} ${node.className} ${ink}`);
  }
  return [...new Set(low)];
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out_from_what_is_behind_it(browser, report, dark):
    browser.open(report, dark=dark)
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") is not dark
    choose(browser, "#side-a", 2)
    assert browser.run(CONTRAST) == []


def test_without_scripts_the_figures_are_there_and_nothing_empty(browser, report):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(report)
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    shown = browser.run(
        "['#verdict', 'svg', '#browser', 'select.emphasis', 'noscript']"
        ".map((one) => document.querySelector(one).getClientRects().length > 0)"
    )
    assert shown == [True, True, False, False, True]


def test_the_page_can_be_printed(browser, report):
    browser.open(report, dark=True)
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 20_000


def test_half_a_run_is_shown_without_complaint(browser, tmp_path):
    for number, (pipelines, queries, answers) in enumerate(
        [(1, 3, True), (2, 0, True), (3, 4, False)]
    ):
        folder = tmp_path / str(number)
        write_run(folder, pipelines, queries, answers=answers)
        write_report(folder, folder / "report.html")
        browser.open(folder / "report.html")
        assert browser.complaints() == []
        assert browser.run("document.querySelectorAll('#view .side').length") == (
            0 if not queries else min(pipelines, 2)
        )
