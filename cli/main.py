"""The `ragib` command: loads a verb when it is called, and turns errors into exit codes.

Exit codes: 0 done, 1 failed, 2 the input or the command line is wrong, 3 (`compare`) the second run
is worse, 130 interrupted.
"""

from __future__ import annotations

import os
import traceback
from importlib import import_module
from typing import IO, Any

import click

import ragib
from ragib.errors import RagibError, did_you_mean
from ragib.extras import go_offline, offline

VERBS = {
    "index": "Build the indexes of a corpus.",
    "add": "Add documents to an index, or replace them.",
    "delete": "Delete documents from an index.",
    "compact": "Merge what additions and deletions left behind.",
    "push": "Write an index to a Qdrant server.",
    "verify": "Reread every file of an index and check it.",
    "info": "Describe an index.",
    "search": "Find the passages that best match a question.",
    "ask": "Answer a question from an index, with citations.",
    "serve": "Serve an index over HTTP, for programs and for a browser.",
    "compress": "Keep the sentences of passages that carry the answer.",
    "train": "Train the compressor, or a token head, on your own questions.",
    "eval": "Evaluate a grid of pipelines on a data set.",
    "compare": "Compare two runs of `ragib eval`, question by question.",
    "report": "Make one HTML file of an evaluation run.",
    "doctor": "Say what is installed, which devices there are, and what is missing.",
    "demo": "Index this Python's own documentation and ask it three questions.",
}
"""Verb -> its line in `ragib --help`. Verb `x` is the command object `x` of `ragib.cli.x`."""

_MODULES = {"eval": "evaluate"}
"""Verbs that are words of Python, and what their module and command object are called."""

RESUMABLE = frozenset({"index", "add", "push", "compress", "demo", "eval"})
"""Verbs that keep finished work when they are interrupted."""


class Failure(click.ClickException):
    """An error as the user sees it: one line and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line on stderr."""
        click.echo(f"ragib: {self.message}", file=file, err=True)


class Verbs(click.Group):
    """The verbs, imported on use so that `ragib --help` and usage errors come at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the verbs in the order in which a user meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb; `None` if there is no such verb."""
        if cmd_name not in VERBS:
            return None
        name = _MODULES.get(cmd_name, cmd_name)
        command: click.Command = getattr(import_module(f"ragib.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb of a command line, or suggest the nearest one."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(f"no verb {args[0]!r}{did_you_mean(args[0], VERBS)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """Run the verb; every error becomes a `Failure` here and nowhere else."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if os.environ.get("RAGIB_TRACEBACK", "") not in ("", "0"):
                traceback.print_exc()
            raise _failure(error, ctx.invoked_subcommand) from error


def _failure(error: BaseException, verb: str | None) -> Failure:
    match error:
        case KeyboardInterrupt():
            hint = "; rerun the same command to resume" if verb in RESUMABLE else ""
            return Failure(f"interrupted{hint}", 130)
        case RagibError():
            return Failure(str(error), error.exit_code)
        case MemoryError():
            return Failure("out of memory; a smaller index.encoder.batch_size needs less", 1)
        case OSError(strerror=str(reason)):
            where = f"{error.filename}: " if error.filename else ""
            return Failure(f"{where}{reason}", 1)
    return Failure(
        f"{type(error).__name__}: {error}; this is a bug in ragib, please report it "
        "(RAGIB_TRACEBACK=1 shows the traceback)",
        1,
    )


def _set_offline(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value or offline():
        go_offline()


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExample:\n  ragib index docs/ --out idx\n  ragib ask idx 'who wrote it?'",
)
@click.option(
    "--offline",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_set_offline,
    help="Make every use of the network an error (also RAGIB_OFFLINE=1).",
)
@click.version_option(ragib.__version__, prog_name="ragib")
def cli() -> None:
    """Retrieval-augmented generation with an information-bottleneck filter.

    Index a corpus, retrieve passages, keep only the sentences that carry the answer, and generate
    from those, with citations.
    """


def main() -> None:
    """Run the command line of this process and exit."""
    cli(prog_name="ragib")
