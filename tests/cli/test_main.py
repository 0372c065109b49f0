"""The frame of the command line: lazy verbs, and errors that become one line and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import ragib
from ragib.cli import main as module
from ragib.cli.main import VERBS, cli
from ragib.errors import IndexDirError, InputError

Run = Callable[..., Result]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], Result]:
    """Run `ragib doctor` with a body that raises."""

    def call(error: BaseException) -> Result:
        @click.command()
        def doctor() -> None:
            raise error

        verb = type("Module", (), {"doctor": doctor, "index": doctor})
        monkeypatch.setattr(module, "import_module", lambda name: verb)
        return CliRunner().invoke(cli, [call.verb])  # type: ignore[attr-defined]

    call.verb = "doctor"  # type: ignore[attr-defined]
    return call


def test_help_lists_every_verb(run: Run) -> None:
    output = run("--help").stdout
    assert all(f"  {verb} " in output and line in output for verb, line in VERBS.items())


@pytest.mark.parametrize("verb", VERBS)
def test_verb_begins_as_the_list_says_and_ends_with_an_example(run: Run, verb: str) -> None:
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert VERBS[verb].removesuffix(".") in " ".join(result.stdout.split())
    example = result.stdout.partition("Example:\n")[2].strip().splitlines()
    assert example
    assert all("ragib" in line for line in example)


def test_version(run: Run) -> None:
    assert ragib.__version__ in run("--version").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serch"], "did you mean 'search'?"),
        (["nothinglikeit"], "no verb 'nothinglikeit'"),
        (["index", "x"], "--out"),
        (["search", "--jsn", "d", "q"], "--json"),
        (["doctor", "surplus"], "surplus"),
        ([], "Usage"),
    ],
)
def test_wrong_usage_exits_2_and_says_what(run: Run, arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert result.stdout == ""


def test_input_error_is_one_line_and_2(failing: Callable[[BaseException], Result]) -> None:
    result = failing(InputError("f.jsonl:3: broken\n  in two lines"))
    assert (result.exit_code, result.stderr) == (2, "ragib: f.jsonl:3: broken in two lines\n")


def test_other_ragib_error_is_1(failing: Callable[[BaseException], Result]) -> None:
    result = failing(IndexDirError("no index here"))
    assert (result.exit_code, result.stderr) == (1, "ragib: no index here\n")


def test_system_error_is_1_without_being_called_a_bug(
    failing: Callable[[BaseException], Result],
) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "/full/file")
    result = failing(error)
    assert (result.exit_code, result.stderr) == (1, "ragib: /full/file: No space left on device\n")


def test_memory_error_is_1(failing: Callable[[BaseException], Result]) -> None:
    result = failing(MemoryError())
    assert result.exit_code == 1
    assert result.stderr.startswith("ragib: out of memory")


def test_bug_is_called_one_and_shows_its_traceback_when_asked(
    failing: Callable[[BaseException], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = failing(ZeroDivisionError("oh"))
    assert result.exit_code == 1
    assert result.stderr.startswith("ragib: ZeroDivisionError: oh; this is a bug")
    assert result.stderr.count("\n") == 1
    monkeypatch.setenv("RAGIB_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in failing(ZeroDivisionError("oh")).stderr


def test_interrupt_is_130(failing: Callable[[BaseException], Result]) -> None:
    result = failing(KeyboardInterrupt())
    assert (result.exit_code, result.stderr) == (130, "ragib: interrupted\n")
    failing.verb = "index"  # type: ignore[attr-defined]
    result = failing(KeyboardInterrupt())
    assert result.exit_code == 130
    assert result.stderr == "ragib: interrupted; rerun the same command to resume\n"


@pytest.mark.parametrize("asked", ["option", "variable"])
def test_offline_reaches_the_hub_libraries(
    run: Run, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    if asked == "variable":
        monkeypatch.setenv("RAGIB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" not in os.environ
    run(*(["--offline"] if asked == "option" else []), "doctor", "--help")
    assert {os.environ[name] for name in ("RAGIB_OFFLINE", "HF_HUB_OFFLINE")} == {"1"}


def test_python_m_ragib() -> None:
    command = [sys.executable, "-m", "ragib", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"ragib, version {ragib.__version__}\n"


def test_console_script_reports_errors() -> None:
    script = Path(sys.executable).with_name("ragib")
    done = subprocess.run([script, "info", "/nowhere"], capture_output=True, text=True)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("ragib: /nowhere")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m ragib doctor --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{", "")


def test_ctrl_c_in_a_real_process(tmp_path: Path) -> None:
    fifo = tmp_path / "corpus.jsonl"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "ragib", "delete", "idx", "--ids", fifo]
    # A shell starts background jobs with SIGINT ignored, and children inherit that.
    with (
        subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process,
        fifo.open("w"),
    ):  # blocks until the process has opened the other end
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        try:
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert stderr == "ragib: interrupted\n"
