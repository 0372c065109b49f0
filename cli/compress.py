"""`ragib compress`: keep the sentences that carry the answer, of a few files or of a data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import ragib
from ragib.cli.common import (
    PATH,
    echo_json,
    example,
    json_option,
    note,
    output,
    printable,
    progress_bar,
    skip_bad_option,
)
from ragib.config import CompressorConfig, parse_config
from ragib.errors import InputError

if TYPE_CHECKING:
    from ragib.compressor.io import Summary
    from ragib.corpus.records import BadRecords
    from ragib.types import Compressed, Passage

SHOWN_BAD = 10
"""Bad records that are listed; the others are counted."""


@click.command(
    epilog=example(
        "ragib compress --question 'who built it?' notes.txt --keep 0.2",
        "ragib compress --input qa.jsonl.gz --output kept.jsonl --budget 300",
    )
)
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--question", "-q", help="What the sentences must help to answer.")
@click.option("--input", "source", metavar="QA.jsonl", type=PATH, help="Questions with passages.")
@click.option("--output", "target", metavar="OUT.jsonl", type=PATH, help="One result a question.")
@click.option(
    "--compressor",
    metavar="NAME",
    help="none, truncate, bm25-sentence, embedding-sentence, ib, llmlingua-2, open-provence, "
    "generative, or a folder with weights.",
)
@click.option(
    "--model",
    metavar="NAME",
    help="Weights for llmlingua-2, open-provence or generative: folder or hub name.",
)
@click.option(
    "--keep",
    metavar="SHARE",
    type=float,
    help="Share of the words of all passages of a question.",
)
@click.option("--budget", metavar="TOKENS", type=int, help="Tokens kept a question, at most.")
@click.option(
    "--risk", metavar="ALPHA", type=float, help="Probability of losing evidence (ib only)."
)
@click.option("--threshold", metavar="SCORE", type=float, help="Lowest score that is kept.")
@click.option(
    "--precision",
    metavar="NAME",
    help="auto, or int8: 8-bit integers on the CPU (ib only; needs ragib[onnx]).",
)
@click.option("--show-dropped", is_flag=True, help="List what was dropped, and why.")
@skip_bad_option
@json_option
def compress(
    files: tuple[str, ...],
    question: str | None,
    source: Path | None,
    target: Path | None,
    compressor: str | None,
    model: str | None,
    keep: float | None,
    budget: int | None,
    risk: float | None,
    threshold: float | None,
    precision: str | None,
    show_dropped: bool,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Keep the sentences of passages that carry the answer to a question.

    Either of text FILEs, each of them one passage ("-" is standard input), for one --question; or
    of a file of questions with their passages, one JSON object a line. Without --compressor it is
    ib, the trained one that comes with ragib.
    """
    given = {
        "name": compressor,
        "model": model,
        "keep": keep,
        "budget": budget,
        "risk": risk,
        "threshold": threshold,
        "precision": precision,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    config = parse_config({"compressor": chosen}, "ragib compress").compressor
    if source is not None or target is not None:
        if source is None or target is None:
            raise click.UsageError("--input and --output go together")
        if question is not None or files:
            raise click.UsageError("give either --question and FILEs, or --input and --output")
        if show_dropped:
            raise click.UsageError("--show-dropped is for FILEs; the output file has the reasons")
        _compress_file(source, target, config, skip_bad, as_json)
    else:
        if question is None or not files:
            raise click.UsageError("give --question and FILEs, or --input and --output")
        if skip_bad:
            raise click.UsageError("--skip-bad is for --input; every FILE must be readable")
        _compress_texts(question, files, config, as_json, show_dropped)


def _compress_texts(
    question: str,
    files: tuple[str, ...],
    config: CompressorConfig,
    as_json: bool,
    show_dropped: bool,
) -> None:
    from ragib.compressor.records import whole
    from ragib.compressor.registry import load_compressor
    from ragib.types import Question

    if not question.strip():
        raise InputError("--question is empty")
    passages = tuple(_read(name) for name in dict.fromkeys(files))
    compressor = load_compressor(config)
    [result] = compressor.compress([Question("question", whole(question), passages)])
    if as_json:
        echo_json(result)
    else:
        _show(result, {passage.id: passage.text for passage in passages}, show_dropped)


def _read(name: str) -> Passage:
    from ragib.corpus.opening import DAMAGED, damage, decoded, opened
    from ragib.types import Passage

    try:
        if name == "-":
            data = sys.stdin.buffer.read()
        else:
            with opened(Path(name)) as stream:
                data = stream.read()
        text = decoded(data)
    except DAMAGED as error:
        raise InputError(f"{name}: {damage(error)}") from None
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    return Passage(name, name, text)


def _show(result: Compressed, texts: dict[str, str], show_dropped: bool) -> None:
    console = output()
    for item in result.evidence:
        place = _place(item.passage_id, item.start, item.end)
        console.print(f"{place}  {item.score:.2f}  {printable(item.text)}")
    if result.abstained:
        console.print("nothing was kept")
    share = result.words_kept / result.words_in if result.words_in else 0.0
    hint = "" if show_dropped or not result.dropped else "; --show-dropped says why the others went"
    console.print(
        f"kept {result.words_kept:,} of {result.words_in:,} words ({share:.0%}), "
        f"{len(result.evidence):,} of {len(result.evidence) + len(result.dropped):,} spans{hint}"
    )
    for out in result.dropped if show_dropped else ():
        place = _place(out.passage_id, out.start, out.end)
        text = texts[out.passage_id][out.start : out.end]
        console.print(f"dropped {place}  {printable(out.reason)}  {printable(text)}")


def _place(name: str, start: int, end: int) -> str:
    return f"{printable(name)}:{start}-{end}"


def _compress_file(
    source: Path, target: Path, config: CompressorConfig, skip_bad: bool, as_json: bool
) -> None:
    from ragib.compressor.io import compress_file
    from ragib.compressor.registry import load_compressor, settings_of
    from ragib.corpus.records import BadRecords

    compressor = load_compressor(config)
    settings = f"{ragib.__version__} {settings_of(config)}"
    bad = BadRecords() if skip_bad else None
    with progress_bar() as progress:
        summary = compress_file(source, target, compressor, settings, bad=bad, progress=progress)
    if bad is not None:
        _list_bad(bad)
    if as_json:
        echo_json({"summary": summary, "skipped": bad.count if bad else 0, "output": target})
    note(_summarised(summary, bad.count if bad else 0))


def _list_bad(bad: BadRecords) -> None:
    for where, why in bad.first[:SHOWN_BAD]:
        note(f"skipped {printable(where)}: {printable(why)}")
    if bad.count > SHOWN_BAD:
        note(f"skipped {bad.count - SHOWN_BAD:,} more")


def _summarised(summary: Summary, skipped: int) -> str:
    kept = summary.words_kept / summary.words_in if summary.words_in else 0.0
    fresh = summary.questions - summary.resumed
    parts = [
        f"questions {summary.questions:,}",
        f"words in {summary.words_in:,}, kept {summary.words_kept:,} ({kept:.1%}), removed "
        f"{summary.words_in - summary.words_kept:,} ({1 - kept:.1%})",
        f"abstained {summary.abstained:,}",
        f"skipped {skipped:,}",
    ]
    if fresh:
        parts.append(f"{1000 * summary.seconds / fresh:.1f} ms a question")
    if summary.resumed:
        parts.append(f"resumed after {summary.resumed:,}")
    return "; ".join(parts)
