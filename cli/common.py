"""What the verbs share: options, progress bars and output.

Results go to stdout, everything else to stderr. Text that came out of a corpus is shown through
`printable`, so that it cannot send control sequences to the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ragib.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[str, int, int | None], None]
"""Called with a stage, how much of it is done, and how much there is (`None`: nobody knows)."""

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)

index_argument = click.argument("directory", metavar="DIR", type=PATH)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
verify_option = click.option("--verify", is_flag=True, help="Check every file of the index first.")
skip_bad_option = click.option(
    "--skip-bad", is_flag=True, help="Skip records that cannot be read; count and list them."
)


def config_options(command: F) -> F:
    """Add `--config FILE` and `--set KEY=VALUE`; they arrive as `config_file` and `overrides`."""
    command = click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Override one key, as in retriever.k=10; may be repeated.",
    )(command)
    return click.option(
        "--config", "config_file", metavar="FILE", type=PATH, help="YAML file; see configs/."
    )(command)


def filter_options(command: F) -> F:
    """Add `--where KEY=VALUE` and `--allow GROUP`; they arrive as `where` and `allow`."""
    command = click.option(
        "--allow",
        metavar="GROUP",
        multiple=True,
        help="A group the asker belongs to, besides public; may be repeated.",
    )(command)
    return click.option(
        "--where",
        metavar="KEY=VALUE",
        multiple=True,
        help="Only passages with this metadata; also !=, <, <=, > and >=. May be repeated.",
    )(command)


def example(*lines: str) -> str:
    """Lay out the example that ends the help of a verb."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Give a progress callback that draws one bar a stage on stderr, if that is a terminal.

    A bar shows what is done of how much, how much a second, and the time taken and left.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda stage, done, total: None
        return
    from rich import progress as bars

    tasks: dict[str, bars.TaskID] = {}
    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
        console=console,
    ) as shown:

        def update(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=total, rate="")
            speed = next(task.speed for task in shown.tasks if task.id == tasks[stage])
            rate = f"{speed:,.1f}/s" if speed else ""
            shown.update(tasks[stage], completed=done, total=total, rate=rate)

        yield update


def output() -> Console:
    """Return the console of stdout: colours on a terminal, plain unwrapped lines elsewhere."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def note(message: str) -> None:
    """Tell the user something that is not a result, on stderr."""
    click.echo(f"ragib: {message}", err=True)


def check_question(question: str) -> None:
    """Refuse an empty question before anything is loaded for it."""
    if not question.strip():
        raise InputError("the question is empty; a question needs at least one word")


def printable(text: str) -> str:
    """Put text of unknown origin on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def echo_json(value: object) -> None:
    """Print a value of ragib's types as one JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=_plain))


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")
