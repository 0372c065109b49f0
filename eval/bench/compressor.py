"""Answer retention: how often what a compressor keeps still holds the answer.

Every compressor scores each sentence once; from the scores the evidence is selected at each share
of words. Of the multi-hop questions those are measured on that no weights were trained on (see
`halves`). `python -m ragib.eval.bench.compressor --data DIR`, where DIR holds the sets below.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import click

from ragib.compressor.base import Compressor
from ragib.compressor.registry import BASELINES, load_compressor
from ragib.compressor.selection import ScoredSentence, Sentence, select, sentences_of
from ragib.compressor.training.data import evidence_sentences
from ragib.compressor.training.records import Record, read_records
from ragib.config import CompressorConfig
from ragib.errors import InputError
from ragib.eval.bench.common import markdown_table, report, run, write_section
from ragib.eval.bench.halves import measured_on
from ragib.eval.evalset import draw
from ragib.eval.retention import judged, retained
from ragib.text import batched
from ragib.types import Compressed, Dropped, Evidence, Passage, Question

SETS = ("dev", "triviaqa_noisy_dev", "multihop_dev")
SHARES = (0.05, 0.10, 0.15, 0.20, 0.30)
SHOWN = 0.15
ORACLE = "best possible"
HEADER = ("set: compressor", *(f"{share:.0%} kept" for share in SHARES), "ms a passage")
_AT_ONCE = 64

Make = Callable[[float], Compressor]
"""Makes a compressor that keeps a share of the words."""


def question_of(record: Record) -> Question:
    """Leave the labels out of a record."""
    passages = tuple(Passage(p.id, p.id, p.text, p.title) for p in record.passages)
    return Question(record.id, record.question, passages)


def named(name: str) -> Make:
    """Return what makes the compressor of a name, or of a folder with weights; `:int8` in int8."""
    plain = name.removesuffix(":int8")
    precision: Literal["auto", "int8"] = "auto" if plain == name else "int8"
    return lambda keep: load_compressor(
        CompressorConfig(name=plain, keep=keep, precision=precision)
    )


def at_shares(
    make: Make, records: Sequence[Record], shares: Sequence[float]
) -> tuple[dict[float, list[Compressed]], float]:
    """Compress records at several shares; returns milliseconds a passage as well."""
    questions = [question_of(record) for record in records]
    compressor = make(1.0)
    if compressor.name == "truncate":
        return {share: make(share).compress(questions) for share in shares}, 0.0
    results: dict[float, list[Compressed]] = {share: [] for share in shares}
    seconds = 0.0
    for batch in batched(questions, _AT_ONCE):
        begun = time.perf_counter()
        scored = compressor.compress(batch)
        seconds += time.perf_counter() - begun
        for question, whole in zip(batch, scored, strict=True):
            pieces = _pieces(question, whole)
            for share in shares:
                results[share].append(select(question, pieces, keep=share))
        click.echo(f"{compressor.name}: {len(results[shares[0]])} of {len(questions)}", err=True)
    return results, 1000 * seconds / max(1, sum(len(q.passages) for q in questions))


def measure(name: str, make: Make, set_name: str, records: Sequence[Record]) -> dict[str, Any]:
    """Measure one compressor on one set."""
    results, milliseconds = at_shares(make, records, SHARES)
    return _row(name, set_name, records, results) | {"ms a passage": milliseconds}


def best_possible(set_name: str, records: Sequence[Record]) -> dict[str, Any]:
    """Measure who knows the sentences with the evidence, and takes the shortest of them first.

    What is lost even so does not fit into the share in whole sentences.
    """
    results: dict[float, list[Compressed]] = {share: [] for share in SHARES}
    for record in records:
        question = question_of(record)
        right = [set(evidence_sentences(passage)) for passage in record.passages]
        pieces = [
            ScoredSentence(s, float(s.start - s.end))
            for s in sentences_of(question)
            if (s.start, s.end) in right[s.passage]
        ]
        for share in SHARES:
            results[share].append(select(question, pieces, keep=share))
    return _row(ORACLE, set_name, records, results) | {"ms a passage": 0.0}


def _row(
    name: str,
    set_name: str,
    records: Sequence[Record],
    results: Mapping[float, Sequence[Compressed]],
) -> dict[str, Any]:
    row: dict[str, Any] = {"set": set_name, "compressor": name, "questions": len(records)}
    for share, kept in results.items():
        hits = [retained(r, k) for r, k in zip(records, kept, strict=True)]
        row[f"{share:.0%}"] = sum(hits) / len(hits)
        words = sum(k.words_kept for k in kept) / max(1, sum(k.words_in for k in kept))
        row[f"kept {share:.0%}"] = words
        if share == SHOWN:
            found: dict[str, list[bool]] = {}
            for record, hit in zip(records, hits, strict=True):
                found.setdefault(record.source, []).append(hit)
            row["sources"] = {source: sum(of) / len(of) for source, of in found.items()}
    return row


def load_set(folder: Path, name: str, limit: int | None) -> list[Record]:
    """Read the judged questions of a set, `limit` of them drawn with a fixed seed."""
    records = [r for r in read_records(folder / f"{name}.jsonl.gz") if judged(r)]
    if name == "multihop_dev":
        records = [r for r in records if measured_on(r)]
    if not records:
        raise InputError(f"{folder / name}: no question whose context holds the answer")
    return list(draw(records, limit))


def _pieces(question: Question, whole: Compressed) -> list[ScoredSentence]:
    place = {passage.id: number for number, passage in enumerate(question.passages)}
    spans: list[Evidence | Dropped] = [*whole.evidence, *whole.dropped]
    return [ScoredSentence(Sentence(place[s.passage_id], s.start, s.end), s.score) for s in spans]


def cells(row: Mapping[str, Any]) -> list[str]:
    """Lay a row out under `HEADER`."""
    return [
        f"{row['set']}: {row['compressor']}",
        *(f"{100 * row[f'{share:.0%}']:.1f}" for share in SHARES),
        f"{row['ms a passage']:.1f}",
    ]


def losses(rows: Sequence[Mapping[str, Any]], name: str = "ib") -> str:
    """Say how much of what `embedding-sentence` loses at `SHOWN` a compressor loses, set by set."""
    kept = {(row["set"], row["compressor"]): row[f"{SHOWN:.0%}"] for row in rows}
    parts = [
        f"{100 * (1 - share) / (1 - kept[key, 'embedding-sentence']):.0f} % on {key}"
        for (key, who), share in kept.items()
        if who == name and kept.get((key, "embedding-sentence"), 1.0) < 1.0
    ]
    if not parts:
        return ""
    return (
        f"At {SHOWN:.0%}, {name} loses, of what embedding-sentence loses: {', '.join(parts)}.\n\n"
    )


def by_source(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out what is retained at `SHOWN`, a row a source of the questions."""
    names = list(dict.fromkeys(row["compressor"] for row in rows))
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        for source, share in row["sources"].items():
            found.setdefault(f"{row['set']}: {source}", {})[row["compressor"]] = share
    lines = [
        [source, *(f"{100 * shares[name]:.1f}" if name in shares else "" for name in names)]
        for source, shares in found.items()
    ]
    return markdown_table([f"at {SHOWN:.0%}", *names], lines)


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out what is retained of `SHOWN` of the words, a column a set."""
    by_name: dict[str, dict[str, float]] = {}
    for row in rows:
        by_name.setdefault(row["compressor"], {})[row["set"]] = row[f"{SHOWN:.0%}"]
    sets = list(dict.fromkeys(row["set"] for row in rows))
    lines = [
        [name, *(f"{100 * found[s]:.1f}" for s in sets if s in found)]
        for name, found in by_name.items()
    ]
    return markdown_table(["compressor", *sets], lines)


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option(
    "--compressor", "names", multiple=True, help="NAME, NAME:int8 or folder; default: all"
)
@click.option("--set", "sets", multiple=True, type=click.Choice(SETS), help="default: all")
@click.option("--limit", type=click.IntRange(min=1), help="questions a set")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
@click.option("--section", default="compressor", show_default=True, help="of the page")
@click.option(
    "--readme",
    "readmes",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="pages for the short form",
)
def main(
    data: Path,
    names: tuple[str, ...],
    sets: tuple[str, ...],
    limit: int | None,
    page: Path | None,
    section: str,
    readmes: tuple[Path, ...],
) -> None:
    """Measure answer retention on the sets in the folder DATA."""
    baselines = [name for name in BASELINES if name != "none"]
    names = names or (*baselines, "ib")
    rows = []
    for set_name in sets or SETS:
        records = load_set(data, set_name, limit)
        rows += [measure(name, named(name), set_name, records) for name in names]
        rows.append(best_possible(set_name, records))
    table = markdown_table(HEADER, map(cells, rows))
    text = (
        "Share of questions (%) whose kept evidence still holds the answer, all supporting "
        f"sentences in multihop_dev. `{ORACLE}` knows which sentences these are.\n\n"
        f"{losses(rows)}{table}\n\n{by_source(rows)}"
    )
    report(section, text, {"rows": rows}, page)
    for readme in readmes:
        write_section(readme, "compressor", summary(rows))


if __name__ == "__main__":
    run(main)
