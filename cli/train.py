"""`ragib train`: train the evidence model, or the head of an encoder, on your own questions."""

from __future__ import annotations

from pathlib import Path

import click

from ragib.cli.common import PATH, echo_json, example, json_option, output, progress_bar

_data_option = click.option(
    "--data",
    metavar="FILE",
    required=True,
    multiple=True,
    help="Questions: JSON lines, or hub:OWNER/NAME[/CONFIG][:SPLIT].",
)
_source_option = click.option(
    "--source", "sources", multiple=True, help="Take only records of this source."
)


@click.group(epilog=example("ragib train compressor --data train.jsonl.gz --out my-weights"))
def train() -> None:
    """Train the compressor, or a token head, on your own questions."""


@train.command(
    epilog=example(
        "ragib train compressor --data train.jsonl.gz --dev dev.jsonl.gz --out my-weights",
        "ragib train compressor --data hub:rajpurkar/squad --base my/large --lora 16 --out weights",
        "ragib compress --compressor my-weights --input qa.jsonl --output kept.jsonl",
        "ragib train compressor --form generative --base my/llm --data train.jsonl --out llm",
        'ragib compress --compressor generative --model llm --question "Who?" a.txt',
    )
)
@click.option(
    "--form",
    type=click.Choice(["extractive", "generative"]),
    default="extractive",
    show_default=True,
    help="An encoder that scores sentences, or a language model that copies them.",
)
@_data_option
@click.option("--dev", metavar="FILE", type=PATH, help="Questions for early stopping.")
@click.option("--out", metavar="DIR", type=PATH, required=True, help="Weights and checkpoints.")
@click.option(
    "--base",
    default="embedded",
    show_default=True,
    help="Encoder, or causal language model, to start from.",
)
@click.option(
    "--start",
    metavar="DIR",
    type=PATH,
    multiple=True,
    help="Trained weights to go on from, in place of a base; of several, from their mean.",
)
@click.option(
    "--lora",
    metavar="RANK",
    type=click.IntRange(min=1),
    help="Train low-rank adapters in place of the whole encoder; try --rate 1e-3 with them. A "
    "language model always has them, of rank 16.",
)
@_source_option
@click.option(
    "--times",
    type=(str, click.IntRange(min=1)),
    multiple=True,
    metavar="SOURCE N",
    help="See the questions of a source N times an epoch, each time beside other distractors.",
)
@click.option(
    "--two-hop-source", "composed", multiple=True, help="Join only questions of this source."
)
@click.option(
    "--steps",
    type=click.IntRange(min=0),
    default=3000,
    show_default=True,
    help="Updates of the supervised stage.",
)
@click.option(
    "--silver-steps",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Updates on evidence chosen anew by its IB score.",
)
@click.option(
    "--bottleneck-steps",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Updates of the variational stage.",
)
@click.option(
    "--target",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of the tokens that the variational stage aims to keep.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option(
    "--micro-batch", type=click.IntRange(min=1), help="Examples in memory at once; default all."
)
@click.option("--rate", type=float, default=1.5e-4, show_default=True, help="Learning rate.")
@click.option(
    "--held-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.03,
    show_default=True,
    help="Share of the questions of each source kept for the calibration.",
)
@click.option("--max-tokens", type=click.IntRange(min=32), default=256, show_default=True)
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    default=0,
    help="With --dev: checkpoints without a gain before training stops; 0 never stops.",
)
@click.option("--save-every", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--judge",
    metavar="MODEL",
    default="reader",
    show_default=True,
    help="Generative: who gives the IB score, the built-in reader or a causal language model.",
)
@click.option(
    "--judge-url", metavar="URL", help="Generative: the vLLM server that has the judge, as .../v1."
)
@click.option(
    "--outcome",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Generative: what EM + F1 of the reader's answer weigh against the IB score.",
)
@click.option(
    "--preference-steps",
    type=click.IntRange(min=0),
    default=300,
    show_default=True,
    help="Generative: updates of DPO, after the --steps of SFT.",
)
@json_option
@click.pass_context
def compressor(
    context: click.Context,
    form: str,
    data: tuple[str, ...],
    dev: Path | None,
    out: Path,
    base: str,
    start: tuple[Path, ...],
    lora: int | None,
    sources: tuple[str, ...],
    times: tuple[tuple[str, int], ...],
    composed: tuple[str, ...],
    steps: int,
    silver_steps: int,
    bottleneck_steps: int,
    target: float,
    batch_size: int,
    micro_batch: int | None,
    rate: float,
    held_out: float,
    max_tokens: int,
    patience: int,
    save_every: int,
    seed: int,
    judge: str,
    judge_url: str | None,
    outcome: float,
    preference_steps: int,
    as_json: bool,
) -> None:
    """Train the compressor; an interrupted run goes on from its last checkpoint in DIR.

    A line of FILE is {"id", "question", "answers", "passages": [{"id", "title", "text", "gold",
    "answer_spans": [[start, end]], "evidence": [[start, end]]}]}; passages that are not gold are
    distractors. Data sets of a hub may have the columns of SQuAD, whose distractors are then other
    contexts of the same set, or of HotpotQA. The last questions of each source are held out for
    the calibration.

    The generative form needs ragib[train] and a --base. Its own defaults are --steps 1000,
    --micro-batch 4, --rate 2e-4 and --max-tokens 2048; it has no calibration and no --dev.
    """
    from ragib.cli.generative import refuse_generative, train_language_model

    if form == "generative":
        train_language_model(context, data, out, as_json)
        return
    refuse_generative(context)
    from ragib.compressor.training.loop import Schedule
    from ragib.compressor.training.run import Plan, train_compressor

    if patience and dev is None:
        raise click.UsageError("--patience needs --dev")
    schedule = Schedule(
        steps=steps,
        batch_size=batch_size,
        micro_batch=micro_batch or batch_size,
        rate=rate,
        seed=seed,
        save_every=save_every,
        patience=patience,
    )
    plan = Plan(
        schedule=schedule,
        base=base,
        start=start,
        max_tokens=max_tokens,
        held_out=held_out,
        sources=sources,
        times=dict(times),
        composed_sources=composed,
        silver_steps=silver_steps,
        bottleneck_steps=bottleneck_steps,
        target=target,
        lora=lora or 0,
    )
    with progress_bar() as progress:
        calibration = train_compressor(data, out, plan, dev=dev, progress=progress)
    if as_json:
        echo_json({"out": str(out), "threshold": calibration.threshold})
    else:
        output().print(
            f"weights written to {out}; they keep all evidence of 9 in 10 held-out questions "
            f"at threshold {calibration.threshold:.3f}",
            markup=False,
        )


@train.command(
    epilog=example(
        "ragib train encoder --data train.jsonl.gz --out my-head",
        "ragib index docs/ --out idx --set index.multivector.projection=my-head",
    )
)
@_data_option
@click.option("--out", metavar="DIR", type=PATH, required=True, help="The head; token vectors.")
@click.option("--encoder", default="embedded", show_default=True, help="Whose vectors it takes.")
@click.option("--dim", type=click.IntRange(min=8), default=128, show_default=True)
@click.option(
    "--pool-factor",
    "factors",
    type=click.FloatRange(min=1),
    multiple=True,
    default=(1.0, 2.0, 3.0, 6.0),
    show_default=True,
    help="Tokens a pooled vector inside training; one is drawn for every update.",
)
@click.option(
    "--teacher",
    metavar="DIR",
    type=PATH,
    help="A trained compressor whose margins of relevance are learned in place of the contrast.",
)
@_source_option
@click.option("--questions", type=click.IntRange(min=1), default=3000, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=300, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=2), default=32, show_default=True)
@click.option("--rate", type=float, default=1e-3, show_default=True, help="Learning rate.")
@click.option("--seed", type=int, default=0, show_default=True)
@json_option
def encoder(
    data: tuple[str, ...],
    out: Path,
    encoder: str,
    dim: int,
    factors: tuple[float, ...],
    teacher: Path | None,
    sources: tuple[str, ...],
    questions: int,
    steps: int,
    batch_size: int,
    rate: float,
    seed: int,
    as_json: bool,
) -> None:
    """Train the projection of an encoder's token vectors for a multi-vector index.

    The encoder stays as it is, and its vectors are kept in DIR/states, so that a second training
    on the same questions takes minutes. FILE is that of `ragib train compressor`. Printed is how
    well held-out questions find their own passages, before and after.
    """
    from ragib.compressor.training.head_fit import HeadPlan
    from ragib.compressor.training.loop import Schedule
    from ragib.compressor.training.token_head import train_head
    from ragib.config import EncoderConfig

    plan = HeadPlan(
        schedule=Schedule(steps, batch_size, rate=rate, seed=seed),
        encoder=EncoderConfig(model=encoder),
        dim=dim,
        factors=factors,
        questions=questions,
        sources=sources,
        teacher=teacher,
    )
    with progress_bar() as progress:
        found = train_head(data, out, plan, progress)
    if as_json:
        echo_json({"out": str(out), "held_out": found})
        return
    shown = output()
    shown.print(f"head written to {out}; reciprocal rank of the passages of held-out questions:")
    for row in found:
        untrained, trained = row["untrained"], row["trained"]
        shown.print(f"pool factor {row['factor']:g}: {untrained:.3f} untrained, {trained:.3f}")
