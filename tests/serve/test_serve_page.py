"""The page in a real Chromium: a person asks with the keyboard and sees what happened, and why."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from ragib.generators.prompt import NO_ANSWER
from ragib.serve.page import POLICY
from tests.eval.chromium import BINARY, chromium
from tests.eval.test_report_browser import CONTRAST
from tests.serve.pipelines import (
    BREAKING,
    EVIL,
    FAILING,
    GOOD,
    HANGING,
    RIVER,
    TOWER,
    app_of,
    call,
    pipeline,
    serving,
)

pytestmark = pytest.mark.skipif(BINARY is None, reason="no chromium on the PATH")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as one:
        yield one


@contextmanager
def page(browser, rag, *, width=1000, dark=False, **settings):
    """Open the page of a pipeline."""
    with serving(rag, **settings) as (url, server):
        browser.events.clear()
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                     deviceScaleFactor=1, mobile=False)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.call("Emulation.setEmulatedMedia", features=[scheme])
        browser.call("Page.navigate", url=url + "/")
        until(browser, "document.readyState === 'complete' && location.protocol === 'http:'")
        yield url, server
        browser.call("Page.navigate", url="about:blank")


def until(browser, expression, seconds=60.0):
    """Wait until an expression is true in the page."""
    end = time.monotonic() + seconds
    while not browser.run(expression):
        assert time.monotonic() < end, browser.run("document.body.innerText")
        time.sleep(0.02)


def ask(browser, question, then="Done."):
    """Type a question, press Enter, and wait for the end."""
    browser.run("document.getElementById('question').focus()")
    browser.run("document.getElementById('question').value = ''")
    browser.call("Input.insertText", text=question)
    browser.press("Enter")
    until(browser, f"document.getElementById('status').textContent.startsWith({then!r})")


def text(browser, selector):
    return browser.run(f"document.querySelector('{selector}').textContent")


def texts(browser, selector):
    return browser.run(f"[...document.querySelectorAll('{selector}')].map((n) => n.textContent)")


def screenshot(browser, name):
    """Save what is seen, where somebody wants to look at it."""
    folder = os.environ.get("RAGIB_SCREENSHOTS")
    if folder:
        browser.screenshot(Path(folder) / f"{name}.png", whole=True)


def test_a_question_shows_its_answer_its_passages_and_its_time(browser):
    with page(browser, pipeline()) as (url, _):
        assert browser.run("document.activeElement.id") == "question"
        ask(browser, "How old is the river?")
        assert text(browser, "#answer") == "Old."
        [citation] = texts(browser, "#citations li")
        assert citation == "river is d:54-62"
        kept = [RIVER.text[:17], TOWER.text[:17]]
        assert texts(browser, "#passages mark") == kept
        assert browser.run("document.querySelectorAll('mark.cited').length") == 1
        rest = [RIVER.text[18:], TOWER.text[18:]]
        reason = "below the threshold of 0.5"
        assert texts(browser, "#passages .dropped") == [f"{one} {reason}" for one in rest]
        titles = browser.run("[...document.querySelectorAll('.dropped[title]')].map(n => n.title)")
        assert titles == [f"dropped: {reason}"] * 2
        assert texts(browser, "#stages dt") == ["retrieve", "compress", "generate", "total"]
        assert all(one.endswith(" ms") for one in texts(browser, "#stages .number"))
        assert text(browser, "#share") == "8 of 17 words kept (47 %), 53 % removed."
        assert texts(browser, "#passages p") == [
            f"{RIVER.text} {reason}",
            f"{TOWER.text} {reason}",
        ]
        assert browser.complaints() == []
        assert all(one.startswith(url) for one in browser.requests())
        screenshot(browser, "answer")


def test_pieces_show_before_the_end_and_escape_stops(browser):
    rag = pipeline(HANGING)
    with page(browser, rag) as (_, server):
        ask(browser, "How old is the river?", then="Answering")
        until(browser, "document.getElementById('answer').textContent === 'Ol'")
        assert texts(browser, "#passages mark")
        assert not browser.run("document.getElementById('stop').disabled")
        browser.press("Escape")
        until(browser, "document.getElementById('status').textContent === 'Stopped.'")
        assert browser.run("document.getElementById('stop').disabled")
        end = time.monotonic() + 20
        while server._service.gate.working:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert rag.generator.ended == ["cancelled"]


def test_a_new_question_takes_the_place_of_the_old_one(browser):
    rag = pipeline(HANGING)
    with page(browser, rag):
        ask(browser, "How old is the river?", then="Answering")
        rag.generator.script = GOOD
        ask(browser, "And the tower?")
        assert text(browser, "#answer") == "Old."
        assert len(texts(browser, "#passages article")) == 2


def test_hostile_text_is_shown_as_written(browser):
    with page(browser, pipeline(GOOD, EVIL, RIVER)):
        ask(browser, "<script>document.title = 'asked'</script> river?")
        assert browser.run("document.title") == "Ask ragib"
        assert EVIL.text in text(browser, "#passages article p")
        assert EVIL.title in text(browser, "#passages h3")
        assert browser.run("document.querySelectorAll('main script, main img, main b').length") == 0
        assert browser.complaints() == []
        screenshot(browser, "hostile")


def test_the_policy_stops_what_would_get_past_that(browser):
    with page(browser, pipeline()):
        browser.run("document.body.append(Object.assign(document.createElement('script'),"
                    " {textContent: 'document.title = 2'}))")  # fmt: skip
        image = '<img src=https://example.com/x.png onerror="document.title=1">'
        browser.run(f"document.body.insertAdjacentHTML('beforeend', '{image}')")
        assert browser.run("document.title") == "Ask ragib"
        assert browser.complaints()
    assert call(app_of(), path="/").headers["content-security-policy"] == POLICY


@pytest.mark.parametrize(
    ("script", "status"),
    [(FAILING, "Failed: the generator failed: no luck"), (BREAKING, "Failed: the generator")],
)
def test_a_failure_is_told(browser, script, status):
    with page(browser, pipeline(script)):
        ask(browser, "How old is the river?", then=status)
        assert browser.run("document.getElementById('status').classList.contains('failed')")
        screenshot(browser, "failed")


def test_abstention_is_told(browser):
    with page(browser, pipeline()):
        ask(browser, "Where is the moon?")
        assert text(browser, "#answer") == NO_ANSWER
        assert text(browser, "#facts") == "abstained"
        assert texts(browser, "#passages mark") == []
        assert "nothing answers" in text(browser, "#passages article")
        screenshot(browser, "abstained")


def test_a_key_and_groups_can_be_given(browser):
    with page(browser, pipeline(), keys=("right",)):
        ask(browser, "How old is the river?", then="Failed: no API key")
        assert browser.run("document.activeElement.id") == "key"
        browser.call("Input.insertText", text="right")
        browser.run("document.getElementById('groups').value = 'crown'")
        ask(browser, "How old is the river?")
        assert len(texts(browser, "#passages article")) == 3


def test_the_keyboard_reaches_everything(browser):
    with page(browser, pipeline()):
        ask(browser, "How old is the river?")
        reached = []
        browser.run("document.activeElement.blur()")
        for _ in range(6):
            browser.press("Tab")
            reached.append(
                browser.run("document.activeElement.id || document.activeElement.tagName")
            )
        assert {"question", "ask", "SUMMARY", "A"} <= set(reached)
        browser.run("document.querySelector('#citations a').focus()")
        browser.press("Enter")
        assert browser.run("location.hash") == "#passage-1"
        browser.run("document.activeElement.blur()")
        browser.press("/")
        assert browser.run("document.activeElement.id") == "question"
        assert text(browser, "#answer") == "Old."


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1000, True)])
def test_it_fits_and_every_text_stands_out(browser, width, dark):
    long = "x" * 300
    with page(browser, pipeline(GOOD, EVIL, RIVER, TOWER), width=width, dark=dark):
        ask(browser, f"river {long}")
        browser.run("document.getElementById('access').open = true")
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run(CONTRAST) == []
        screenshot(browser, f"at-{width}-{'dark' if dark else 'light'}")
