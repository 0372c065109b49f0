"""Small records to train on, made of words the tiny tokenizer knows."""

from __future__ import annotations

import json
from pathlib import Path

from ragib.compressor.training.records import LabelledPassage, Record

NAMES = "Paris London Rome Moon Star Sun Tower Bridge Castle Palace".split()
THINGS = "book city river king queen song poem war engine wheel".split()


def passage(name: str, text: str, answer: str = "", gold: bool = False) -> LabelledPassage:
    start = text.find(answer) if answer else -1
    spans = ((start, start + len(answer)),) if start >= 0 else ()
    return LabelledPassage(name, name.title(), text, gold, spans, ())


def record(number: int) -> Record:
    name, thing = NAMES[number % 10], THINGS[(number // 10 + number) % 10]
    other = NAMES[(number + 3) % 10]
    gold = f"It was cold in the night. The {thing} of {other} was built by {name}. A dog was red."
    noise = f"The moon was old. A bird and a fish in {other} by the water."
    return Record(
        id=f"q{number}",
        source="ab"[number % 2],
        question=f"who built the {thing} of {other}?",
        answers=(name,),
        answerable=True,
        evidence_kind="answer-sentence",
        passages=(
            passage(f"g{number}", gold, name, gold=True),
            passage(f"n{number}", noise),
        ),
    )


def write(records: list[Record], path: Path) -> Path:
    lines = [
        {
            "id": r.id,
            "source": r.source,
            "question": r.question,
            "answers": r.answers,
            "passages": [
                {
                    "id": p.id,
                    "title": p.title,
                    "text": p.text,
                    "gold": p.gold,
                    "answer_spans": p.answers,
                    "evidence": p.evidence,
                }
                for p in r.passages
            ],
        }
        for r in records
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
