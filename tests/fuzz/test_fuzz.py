"""The first cases of `make fuzz`, the same on every machine, and its tools."""

from itertools import product
from random import Random

import pytest

from ragib.errors import InputError
from tests.fuzz.mutate import LONGEST, mutate
from tests.fuzz.running import Target, case, run_case
from tests.fuzz.targets import LAUGHS, all_targets

CASES = 16
"""Of each target; `make fuzz` goes on from there."""
SEED = 20260


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return all_targets(tmp_path_factory.mktemp("seeds"))


def test_sound_files_are_read(targets, tmp_path):
    """The first case of a target is a file as it was; no target may begin with an error."""
    for target in targets:
        path = tmp_path / f"input{target.suffix}"
        seeds = [data for data in target.seeds if data != LAUGHS]
        for data in seeds:
            path.write_bytes(data)
            target.read(path)
        assert seeds


def test_only_our_errors_come_out(targets, tmp_path):
    for target, number in product(targets, range(CASES)):
        failure = run_case(target, SEED, number, tmp_path)
        if failure is not None:
            where = f"{failure.target}, case {failure.case} of seed {SEED}"
            raise AssertionError(f"{where}: {failure.error[-1000:]}")


def test_a_seed_decides_every_input(targets, tmp_path):
    again = {target.name: target for target in all_targets(tmp_path)}
    assert len(again) == len(targets)
    for target, number in product(targets, range(5)):
        assert case(again[target.name], SEED, number) == case(target, SEED, number), target.name


def test_failures_are_found(tmp_path):
    def read(path):
        data = path.read_bytes()
        if b"\x00" in data:
            raise InputError("our own")
        assert data.startswith(b"12")

    target = Target("picky", [b"123456"], read)
    found = [run_case(target, 1, number, tmp_path) for number in range(200)]
    assert found[0] is None and any(found)
    failure = next(filter(None, found))
    assert "AssertionError" in failure.error and failure.data == case(target, 1, failure.case)


def test_what_does_not_end_is_stopped(tmp_path, monkeypatch):
    def read(path):
        while True:
            pass

    monkeypatch.setattr("tests.fuzz.running.SECONDS", 0.05)
    failure = run_case(Target("endless", [b"x"], read), 1, 0, tmp_path)
    assert failure is not None and "_TooSlow" in failure.error


def test_mutations_vary_and_are_bounded():
    data = bytes(range(256)) * 4
    made = {mutate(data, Random(seed), [data]) for seed in range(300)}
    assert len(made) > 250
    assert max(map(len, made)) <= len(data) + LONGEST
    assert mutate(data, Random(3), [data]) == mutate(data, Random(3), [data])
    assert all(isinstance(mutate(b"", Random(seed), [b""]), bytes) for seed in range(200))
