"""`ragib train compressor --form generative`: which options are its own, and the training."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from ragib.cli.common import echo_json, output, progress_bar

_OWN = ("judge", "judge_url", "outcome", "preference_steps")
_SHARED = (
    "base", "sources", "max_tokens", "steps", "batch_size", "micro_batch", "rate", "seed",
    "save_every",
)  # fmt: skip
_ALWAYS = ("form", "data", "out", "as_json")


def train_language_model(
    context: click.Context, data: tuple[str, ...], out: Path, as_json: bool
) -> None:
    """Train with the options of the command line; those not given have the defaults of the plan.

    Raises
    ------
    UsageError
        An option of the other form is given, or no base.
    """
    from ragib.compressor.training.generative import GenerativePlan, train_generative
    from ragib.eval.answers import em_squad2, f1_squad2

    fields = {"lora": "rank"} | {name: name for name in (*_OWN, *_SHARED)}
    given = _given(context)
    if wrong := sorted(given - {*fields, *_ALWAYS}):
        raise click.UsageError(f"{_option(context, wrong[0])} belongs to --form extractive")
    if "base" not in given:
        raise click.UsageError("--form generative needs --base, a causal language model")
    values = {fields[name]: context.params[name] for name in given & set(fields)}
    with progress_bar() as progress:
        summary = train_generative(
            data,
            out,
            GenerativePlan(**values),
            lambda answer, right: em_squad2(answer, right) + f1_squad2(answer, right),
            progress,
        )
    if as_json:
        echo_json({"out": str(out), **summary})
        return
    cost = summary["judge"]
    judged = f"; the judge read {cost['tokens']:,} tokens in {cost['seconds']} s" if cost else ""
    output().print(
        f"weights written to {out}, trained on {summary['tasks']} texts and "
        f"{summary['pairs']} preferences{judged}",
        markup=False,
    )


def refuse_generative(context: click.Context) -> None:
    """Raise `UsageError` if an option is given that only the generative form has."""
    if wrong := sorted(_given(context) & set(_OWN)):
        raise click.UsageError(f"{_option(context, wrong[0])} belongs to --form generative")


def _given(context: click.Context) -> set[str]:
    """Return the names of the parameters that stand on the command line."""
    source = context.get_parameter_source
    return {name for name in context.params if source(name) is not ParameterSource.DEFAULT}


def _option(context: click.Context, name: str) -> str:
    return next(p.opts[0] for p in context.command.params if p.name == name)
