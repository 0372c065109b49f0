"""The page: its sections in order, its style and script, and what it is allowed to do.

The Content-Security-Policy allows nothing but the one style and the one script whose hashes it
names, so that text of a corpus could not run or load anything even if it got past the escaping.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import ragib
from ragib.eval.report.cast import Cast, cast
from ragib.eval.report.curves import curves
from ragib.eval.report.differences import differences
from ragib.eval.report.html import Html, embedded, join, tag
from ragib.eval.report.listing import listing
from ragib.eval.report.manifest import headline, manifest, summary
from ragib.eval.report.problems import problems
from ragib.eval.report.reading import Progress, RunData, read_run
from ragib.eval.report.timing import timing
from ragib.eval.report.tradeoffs import NOTE, tradeoffs
from ragib.eval.report.verdict import verdict
from ragib.eval.rundir import write_lines


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: the file, its size, and how much of the run it holds."""

    report: Path
    bytes: int
    pipelines: int
    queries: int
    queries_shown: int
    problems: tuple[str, ...]


def write_report(folder: Path, target: Path, progress: Progress | None = None) -> Written:
    """Write the report of a run directory as one HTML file; an old one is replaced when it is done.

    Raises
    ------
    InputError
        The run cannot be read, or the file not written; the message says which and why.
    RagibError
        The disk is full.
    """
    run = read_run(folder, progress)
    chosen = cast(run)
    shown = differences(run, chosen.quality, chosen.rival)
    text = page(run, chosen, shown)
    write_lines(target, [text])
    return Written(
        target,
        len(text.encode()) + 1,
        len(run.results.pipelines),
        int(shown["total"]),
        len(shown["queries"]),
        tuple(run.problems),
    )


def page(run: RunData, chosen: Cast, shown: dict[str, object]) -> Html:
    """Lay out the page of a run; `shown` are its `differences`."""
    style, script = (
        files(__package__).joinpath(f"report.{kind}").read_text(encoding="utf-8")
        for kind in ("css", "js")
    )
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("meta", name_="generator", content=f"ragib {ragib.__version__}"),
        tag("title", "Evaluation report"),
        tag("style", Html(style)),
    )
    sections = _sections(run, chosen, shown)
    links = [tag("a", title, href=f"#{key}") for key, title, _ in sections]
    body = tag(
        "body",
        tag("a", "Skip to the verdict", href="#verdict-section", class_="skip"),
        tag("header", tag("h1", "Evaluation report"), headline(run)),
        tag("nav", links, aria_label="Sections"),
        tag(
            "main",
            [
                tag("section", tag("h2", title, id=f"{key}-title"), content, id=key,
                    aria_labelledby=f"{key}-title")
                for key, title, content in sections
            ],
        ),
        embedded(shown, id="data"),
        tag("script", Html(script)),
    )  # fmt: skip
    return join(Html("<!doctype html>\n"), tag("html", head, body, lang="en"))


def _sections(run: RunData, chosen: Cast, shown: dict[str, object]) -> list[tuple[str, str, Html]]:
    table = verdict(run) if run.results.pipelines else None
    sections = [("verdict-section", "Verdict", join(summary(run, chosen), table))]
    wrong = problems(run)
    if wrong is not None:
        sections.append(("problems", "Errors", wrong))
    for key, title, note, figures in (
        ("tradeoffs", "Trade-offs", NOTE, tradeoffs(run, chosen)),
        ("timing", "Latency", chosen.note(), timing(run, chosen)),
        ("curves", "Behaviour", chosen.note(), curves(run, chosen)),
    ):
        if figures:
            said = tag("p", note) if note else None
            content = join(said, _emphasis(run, key), tag("div", figures, class_="figures"))
            sections.append((key, title, content))
    sections.append(("differences", "Query by query", _browser(run, shown)))
    if run.results.pipelines:
        sections.append(("figures", "All figures", listing(run)))
    sections.append(("manifest", "Manifest", manifest(run)))
    return sections


def _emphasis(run: RunData, key: str) -> Html | None:
    """Offer to bring one pipeline out in the charts; the script fills in the names."""
    if len(run.results.pipelines) < 2:
        return None
    label = tag("label", "Emphasise ", tag("select", class_="emphasis", id=f"{key}-emphasis"))
    return tag("p", label, class_="tools script")


def _browser(run: RunData, shown: dict[str, object]) -> Html:
    queries = shown["queries"]
    if not isinstance(queries, list) or not queries:
        return tag("p", "The run has no rows of queries to show.")
    left = int(str(shown["total"])) - len(queries)
    note = "All queries of the run."
    if left:
        note = (
            f"The {len(queries):,} queries on which the pipelines differ most; "
            f"{left:,} others are left out of this page and are in the run's folder."
        )
    keys = tag("span", "Keys: j or → next, k or ← previous.", class_="script keys")
    return join(
        tag("p", note, " ", keys),
        tag("noscript", tag("p", "This part needs JavaScript.")),
        tag("div", id="browser", tabindex="0", role="group", aria_label="Query by query",
            class_="script"),
    )  # fmt: skip


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
