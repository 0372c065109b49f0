"""QA records of words that name things, so that a sparse index finds each gold passage."""

import gzip
import json
from pathlib import Path

NAMES = "Paris London Rome Moon Star Sun Tower Bridge Castle Palace".split()
THINGS = "book city river king queen song poem war engine wheel".split()


def record(number: int, answerable: bool = True, answers: bool = True) -> dict:
    thing, name = THINGS[number % 10], NAMES[number // 10 % 10]
    gold = f"The {thing} of number{number} was made by {name}. It was a cold night."
    start = gold.index(name)
    passages = [
        {"id": f"g{number}", "title": name, "text": gold, "gold": answerable,
         "answer_spans": [[start, start + len(name)]] if answerable else [], "evidence": []}
    ]  # fmt: skip
    for i in range(4):
        text = f"A {thing} of other{number}x{i} is red."
        passages.append(
            {"id": f"n{number}-{i}", "title": "Noise", "text": text, "gold": False,
             "answer_spans": [], "evidence": []}
        )  # fmt: skip
    return {
        "id": f"q{number}",
        "source": "made",
        "question": f"Who made the {thing} of number{number}?",
        "answers": [name] if answerable and answers else [],
        "answerable": answerable,
        "evidence_kind": "answer-sentence",
        "passages": passages,
    }


def write(path: Path, records: list[dict]) -> Path:
    text = "".join(json.dumps(one) + "\n" for one in records)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path
