"""Read an evaluation set, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from ragib.corpus import BadRecords, read_corpus
from ragib.corpus.hub import HUB
from ragib.errors import InputError, did_you_mean
from ragib.eval.datasets import Qrels, plain_or_gz, read_qrels, read_queries
from ragib.eval.evalset import EvalQuery, EvalSet, draw
from ragib.eval.hub import read_hub
from ragib.eval.lines import json_lines, numbered_lines
from ragib.eval.qa import flashrag_queries, qa_documents, read_qa
from ragib.eval.trec import read_topics, read_trec_qrels
from ragib.types import Document


def read_eval_set(
    path: str | Path,
    *,
    corpus: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> EvalSet:
    """Read an evaluation set; what it is is told by its content, and any file may be gzip'd.

    - QA records, JSON lines of `id, question, answers, answerable, passages`: the passages of all
      records are the documents.
    - A BEIR folder: `corpus.jsonl`, `queries.jsonl`, `qrels/{split}.tsv`.
    - FlashRAG questions, JSON lines of `id, question, golden_answers`, with a `corpus`.
    - TREC: a folder with one `topics*` and one `qrels*` file (or the topics file, with the qrels
      beside it), with a `corpus`.
    - `hub:OWNER/NAME[/CONFIG][:SPLIT]`: a data set of a hub (extra `train`), with the
      columns of FlashRAG, which needs a `corpus`, or of SQuAD.

    Of judged sets, only the queries with a judgement are taken.

    Parameters
    ----------
    path
        A file, a folder, or a name on a hub.
    corpus
        The documents (all that `read_corpus` reads), where the set brings none.
    split
        Which part: the name of a qrels file of BEIR (default: `test`, or the only one), a word in
        the names of the TREC files, or a split of a hub data set (default `test`).
    limit
        Take so many of the queries, drawn with a fixed seed. The documents are always all.

    Raises
    ------
    InputError
        The set cannot be used; the message names file and line.
    OfflineError
        It is on a hub, and the network is switched off.
    MissingExtraError
        It is on a hub, and the package that reads those is not installed.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}, expected 1 or more")
    if str(path).startswith(HUB):
        found = _hub(str(path), corpus, split or "test")
    elif Path(path).is_dir():
        found = _folder(Path(path), corpus, split)
    else:
        found = _file(Path(path), corpus, split)
    if not found.queries:
        raise InputError(f"{path}: holds no question")
    return _noted(replace(found, queries=draw(found.queries, limit)))


def _hub(path: str, corpus: str | Path | None, split: str) -> EvalSet:
    name = path.removeprefix(HUB)
    queries, documents = read_hub(path, split)
    if documents:
        return EvalSet(name, queries, partial(iter, documents))
    return _over(EvalSet(name, queries, _no_documents), _needed(path, corpus))


def _folder(folder: Path, corpus: str | Path | None, split: str | None) -> EvalSet:
    queries = plain_or_gz(folder / "queries.jsonl")
    if queries.exists():
        own = plain_or_gz(folder / "corpus.jsonl")
        source = own if own.exists() and corpus is None else _needed(folder, corpus)
        qrels = _beir_split(folder / "qrels", split)
        asked, judged = (queries, read_queries(queries)), (qrels, read_qrels(qrels))
        return _judged(folder.resolve().name, asked, judged, source)
    return _trec(folder, _one(folder, "topics", split), corpus, split)


def _file(path: Path, corpus: str | Path | None, split: str | None) -> EvalSet:
    if not path.exists():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(f"{path}: no such file or folder{did_you_mean(path.name, siblings)}")
    first = next(numbered_lines(path), None)
    if first is None:
        raise InputError(f"{path}: the file is empty")
    line = first[1].lstrip()
    if line.startswith("<") or ("\t" in line and not line.startswith("{")):
        return _trec(path.parent, path, corpus, split)
    if split is not None:
        raise InputError(f"{path}: a file of questions has no splits, so no {split!r}")
    where, record = next(json_lines(path))
    name = path.name.partition(".")[0]
    if "passages" in record:
        if corpus is not None:
            raise InputError(f"{path}: QA records bring their own documents; leave out the corpus")
        queries, notes = read_qa(path)
        return EvalSet(name, tuple(queries), partial(qa_documents, path), tuple(notes), (path,))
    if "golden_answers" in record:
        asked = tuple(flashrag_queries(json_lines(path)))
        return _over(EvalSet(name, asked, _no_documents, (), (path,)), _needed(path, corpus))
    raise InputError(
        f"{where}: expected 'passages' (QA records) or 'golden_answers' (FlashRAG), found "
        f"{', '.join(record)}; of a BEIR set name the folder"
    )


def _trec(folder: Path, topics: Path, corpus: str | Path | None, split: str | None) -> EvalSet:
    qrels = _one(folder, "qrels", split)
    source = _needed(topics, corpus)
    asked, judged = (topics, read_topics(topics)), (qrels, read_trec_qrels(qrels))
    return _judged(topics.name.partition(".")[0], asked, judged, source)


def _judged(
    name: str,
    asked: tuple[Path, Mapping[str, str]],
    judged: tuple[Path, Qrels],
    corpus: Path,
) -> EvalSet:
    (path, texts), (qrels_path, qrels) = asked, judged
    if not qrels:
        raise InputError(f"{qrels_path}: holds no judgement")
    untold = [query for query in qrels if query not in texts]
    if untold:
        raise InputError(f"{path}: {len(untold)} judged queries have no text, as {untold[0]!r}")
    queries = tuple(
        EvalQuery(query, texts[query], judged=grades, cluster=_only(grades))
        for query, grades in qrels.items()
    )
    return _over(EvalSet(name, queries, _no_documents, (), (path, qrels_path)), corpus)


def _only(grades: Mapping[str, int]) -> str:
    """Name the document a question is about, if just one is relevant."""
    relevant = [document for document, grade in grades.items() if grade > 0]
    return relevant[0] if len(relevant) == 1 else ""


def _over(data: EvalSet, corpus: Path) -> EvalSet:
    """Put documents to questions; says which records and judgements are of no use."""
    bad = BadRecords()
    missing = {document for query in data.queries for document in query.judged}
    for document in read_corpus(corpus, bad=bad):
        missing.discard(document.id)
    notes = []
    if bad.count:
        where, why = bad.first[0]
        notes.append(f"{bad.count} records of the corpus are left out, as {where}: {why}")
    if missing:
        judgements = sum(len(missing & query.judged.keys()) for query in data.queries)
        notes.append(
            f"{judgements} judgements are of {len(missing)} documents that the corpus does not "
            f"hold, as {min(missing)!r}: they count as not found"
        )
    source = partial(_documents, corpus)
    return replace(data, source=source, notes=(*data.notes, *notes), files=(*data.files, corpus))


def _documents(corpus: Path) -> Iterator[Document]:
    return read_corpus(corpus, bad=BadRecords())


def _no_documents() -> Iterator[Document]:
    return iter(())


def _needed(path: str | Path, corpus: str | Path | None) -> Path:
    if corpus is None:
        raise InputError(f"{path}: these questions come without documents; name a corpus as well")
    return Path(corpus)


def _beir_split(folder: Path, split: str | None) -> Path:
    names = sorted(path.name.partition(".")[0] for path in folder.glob("*.tsv*"))
    if split is None:
        split = "test" if "test" in names else names[0] if len(names) == 1 else None
    if split is None:
        found = ", ".join(names) or "none"
        raise InputError(f"{folder}: name a split; there are: {found}")
    return plain_or_gz(folder / f"{split}.tsv")


def _one(folder: Path, what: str, split: str | None) -> Path:
    """Find the one file of a TREC set whose name begins with `what` and holds the split's name."""
    names = [path.name for path in folder.iterdir() if path.is_file()]
    found = sorted(n for n in names if n.lower().startswith(what) and (split or "") in n)
    if len(found) != 1:
        raise InputError(
            f"{folder}: expected one file {what}*{f' of {split}' if split else ''}, found "
            f"{', '.join(found) or 'none'}; a folder is a BEIR set (queries.jsonl) or a TREC set "
            "(topics*, qrels*)"
        )
    return folder / found[0]


def _noted(data: EvalSet) -> EvalSet:
    unjudged = sum(query.answerable is None for query in data.queries)
    if unjudged == len(data.queries):
        note = "no question has answers: measures of answers are left out"
    elif unjudged:
        note = f"{unjudged} questions are said to have answers but list none: not judged"
    else:
        return data
    return replace(data, notes=(*data.notes, note))
