"""Fuzz every parser for a while: `make fuzz`, or `python -m tests.fuzz` with the same variables.

`FUZZ_SECONDS` is how long (600), `FUZZ_SEED` decides every input (a fresh one, printed), and
`FUZZ_TARGET` takes the targets whose name begins with it. Cases run in a child process whose memory
is bounded, so that a crash of a library is a failure like any other. Inputs that failed are kept
in `runs/fuzz/`; the exit code is 1 if there are any.
"""

from __future__ import annotations

import os
import resource
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

from ragib.extras import go_offline
from tests.fuzz.running import SECONDS, Failure, Target, case, run
from tests.fuzz.targets import all_targets

MEMORY = 2 << 30
"""Bytes of address space that reading may take beyond what the process has from the start."""


def main() -> int:
    """Fuzz until the time is over; return the exit code."""
    seconds = float(os.environ.get("FUZZ_SECONDS", "600"))
    seed = int(os.environ.get("FUZZ_SEED", secrets.randbelow(10**6)))
    wanted = os.environ.get("FUZZ_TARGET", "")
    go_offline()
    print(f"seed {seed}: FUZZ_SEED={seed} gives the same inputs again", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        targets = [t for t in all_targets(folder) if t.name.startswith(wanted)]
        count, failed = 0, set[str]()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            count, failure = _until_failure(targets, seed, end - time.monotonic(), folder, count)
            if failure is not None and failure.error not in failed:
                failed.add(failure.error)
                _keep(failure)
    print(f"{count:,} cases of {len(targets)} targets, {len(failed)} different failures")
    return bool(failed)


def _until_failure(
    targets: list[Target], seed: int, seconds: float, folder: Path, start: int
) -> tuple[int, Failure | None]:
    """Run cases in a child until one fails or the time is over; return where to go on."""
    inlet, outlet = os.pipe()
    progress = folder / "progress"
    progress.write_bytes(b"%20d" % start)
    child = os.fork()
    if not child:
        status = 1
        try:
            status = _child(targets, seed, seconds, folder, start, outlet)
        finally:
            os._exit(status)
    os.close(outlet)
    with os.fdopen(inlet, encoding="utf-8", errors="replace") as pipe:
        error = pipe.read()
    _, status = os.waitpid(child, 0)
    at = int(progress.read_bytes())
    if status == 0:
        return at, None
    if os.WIFSIGNALED(status):
        error = f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    target, number = targets[at % len(targets)], at // len(targets)
    return at + 1, Failure(target.name, number, error, case(target, seed, number))


def _child(
    targets: list[Target], seed: int, seconds: float, folder: Path, start: int, outlet: int
) -> int:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
    count = start - 1
    with (folder / "progress").open("r+b", buffering=0) as progress:

        def before(name: str, number: int) -> None:
            nonlocal count
            count += 1
            # Where the library does not come back to Python, the system ends the process.
            limit = int(time.process_time() + 3 * SECONDS)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
            os.pwrite(progress.fileno(), b"%20d" % count, 0)

        for failure in run(targets, seed, seconds, folder, start, before):
            if failure is not None:
                os.write(outlet, failure.error.encode(errors="replace")[:60_000])
                return 1
    return 0


def _keep(failure: Failure) -> None:
    home = Path("runs/fuzz")
    home.mkdir(parents=True, exist_ok=True)
    path = home / f"{failure.target.replace('/', '-')}-{failure.case}"
    path.write_bytes(failure.data)
    last = failure.error.strip().splitlines()[-1][:300]
    print(f"{failure.target}, case {failure.case}: {last}\n  {path}", flush=True)
    path.with_name(f"{path.name}.txt").write_text(failure.error, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
