"""What the pages show can be run: every `ragib` line parses, every Python block compiles."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ragib.cli.main import VERBS, cli
from ragib.eval.registry import MEASURES, SET_MEASURES

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the language and the content of each fenced block."""
    for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield found[1], found[2]


def calls(text: str) -> Iterator[list[str]]:
    """Yield the arguments of every call of `ragib` in a piece of shell."""
    for line in text.replace("\\\n", " ").splitlines():
        if not re.match(r"\s*(\$ |# )?(echo .*\| *)?ragib ", line):
            continue
        lexer = shlex.shlex(line.replace("$ ", "", 1), posix=True, punctuation_chars="|&;<>")
        lexer.commenters = "#"
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if re.fullmatch(r"[|&;<>]+", word):
                if command[:1] == ["ragib"]:
                    yield command[1:]
                command = []
            else:
                command.append(word)


def check(arguments: list[str]) -> None:
    """Parse the arguments as the command line would, without running anything."""
    command: click.Command = cli
    context = click.Context(cli, info_name="ragib")
    arguments = [word for word in arguments if word != "--offline"]
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)
    if not {"--help", "--version"} & set(arguments):
        command.make_context(context.info_name, arguments, parent=context.parent)


def shown() -> list[tuple[str, list[str]]]:
    """List all calls: of the pages, and of the example of every verb."""
    found = [
        (page.name, call)
        for page in PAGES
        for language, text in blocks(page)
        if language in ("", "bash", "sh", "console", "shell")
        for call in calls(text)
    ]
    for verb in VERBS:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        found += [(f"ragib {verb} --help", call) for call in calls(command.epilog or "")]
    return found


@pytest.mark.parametrize(("where", "call"), shown(), ids=lambda value: " ".join(value)[:60])
def test_shown_call_parses(where: str, call: list[str]) -> None:
    check(call)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_compile(page: Path) -> None:
    for language, text in blocks(page):
        if language in ("python", "py"):
            compile(text, str(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize(
    "line",
    ["ragib serch idx q", "ragib search --jsno idx q", "ragib index corpus", "$ ragib add x"],
)
def test_a_wrong_call_is_found(line: str) -> None:
    (call,) = calls(line)
    with pytest.raises(click.UsageError):
        check(call)


def test_calls_are_cut_at_pipes_and_comments() -> None:
    line = "echo doc | ragib delete idx --ids - && ragib info idx > out.txt  # tells"
    assert list(calls(line)) == [["delete", "idx", "--ids", "-"], ["info", "idx"]]


def test_the_page_on_evaluation_names_every_measure() -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text("utf-8")
    assert [name for name in (*MEASURES, *SET_MEASURES) if f"`{name}`" not in page] == []
