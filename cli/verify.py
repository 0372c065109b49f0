"""`ragib verify`: whether every byte is what it was."""

from __future__ import annotations

from pathlib import Path

import click

from ragib.cli.common import echo_json, example, index_argument, json_option


@click.command(epilog=example("ragib verify idx"))
@index_argument
@json_option
@click.pass_context
def verify(ctx: click.Context, directory: Path, as_json: bool) -> None:
    """Reread every file of an index and check it.

    Every file is compared with the SHA-256 in the manifest. Exits with 1 if anything is wrong.
    """
    from ragib.indexes.verify import verify as check

    problems = check(directory)
    if as_json:
        echo_json({"ok": not problems, "problems": problems})
    else:
        for problem in problems:
            click.echo(problem)
        click.echo(f"{len(problems)} problems" if problems else "all files are as written")
    ctx.exit(1 if problems else 0)
