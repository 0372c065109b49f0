"""From the model's log-odds to probabilities, and from a risk to a threshold.

The scores of a sentence are combined by logistic regression, fitted on questions held out of the
training (which subsumes temperature scaling: Guo et al. 2017, arXiv:1706.04599). Thresholds are
split-conformal (Vovk et al. 2005): of n held-out questions take the lowest score among the gold
sentences of each; the floor((n + 1) risk)-th smallest of these n values keeps all gold evidence
of a new, exchangeable question with probability at least 1 - risk.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragib.errors import ConfigError, InputError

FILE = "calibration.json"


@dataclass(frozen=True, slots=True)
class Calibration:
    """How scores are made and cut.

    `first` are bias and weights of the three log-odds of one reading, `second` those of the six
    of two readings (none: passages are read once). `lowest` are the sorted lowest gold scores
    of the held-out questions, from which thresholds are taken; `threshold` is the default one.
    `answer` are bias and weight of the built-in reader's score.
    """

    first: tuple[float, ...] = (0.0, 1.0, 0.0, 0.0)
    second: tuple[float, ...] | None = None
    lowest: tuple[float, ...] = ()
    threshold: float = 0.5
    answer: tuple[float, ...] = (0.0, 1.0)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability of each row of log-odds, `(n, 3)` or `(n, 6)`, as `(n,)`."""
        weights = self.first if features.shape[1] == 3 else self.second
        assert weights is not None
        bias, *slopes = weights
        logits = bias + features.astype(np.float64) @ np.array(slopes)
        return np.asarray(1 / (1 + np.exp(-logits)))

    def answer_confidence(self, score: float) -> float:
        """Return the probability that an answer of the built-in reader is right."""
        bias, slope = self.answer
        return float(1 / (1 + np.exp(-np.clip(bias + slope * score, -700, 700))))

    def threshold_for(self, risk: float) -> float:
        """Return the threshold that keeps all gold evidence with probability `1 - risk`.

        Raises
        ------
        ConfigError
            The calibration saw too few questions for so small a risk, or none.
        """
        return conformal_threshold(self.lowest, risk)


def conformal_threshold(lowest: Sequence[float], risk: float) -> float:
    """Return the floor((n + 1) risk)-th smallest of the sorted lowest gold scores.

    Raises
    ------
    ConfigError
        That is less than the first: more questions would be needed.
    """
    rank = math.floor((len(lowest) + 1) * risk)
    if rank < 1:
        raise ConfigError(
            f"compressor.risk: {risk:g} needs a calibration on at least "
            f"{math.ceil(1 / risk) - 1} questions, these weights have {len(lowest)}"
        )
    return lowest[rank - 1]


def save_calibration(calibration: Calibration, folder: Path) -> None:
    """Write `calibration.json`."""
    part = folder / f"{FILE}.part"
    part.write_text(json.dumps(asdict(calibration)) + "\n", encoding="utf-8")
    part.replace(folder / FILE)


def load_calibration(folder: Path) -> Calibration:
    """Read `calibration.json`; without one, the token head alone scores.

    Raises
    ------
    InputError
        The file is damaged.
    """
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return _calibration(values)
    except FileNotFoundError:
        return Calibration()
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise InputError(f"{folder / FILE}: not a calibration: {error}") from None


def _calibration(values: Mapping[str, object]) -> Calibration:
    def floats(key: str, lengths: tuple[int, ...] = ()) -> tuple[float, ...]:
        numbers = values[key]
        if not isinstance(numbers, list) or (lengths and len(numbers) not in lengths):
            raise ValueError(f"{key!r} is no list of {lengths or 'numbers'}")
        found = tuple(float(n) for n in numbers)
        if not all(map(math.isfinite, found)):
            raise ValueError(f"{key!r} holds a value that is no finite number")
        return found

    return Calibration(
        first=floats("first", (4,)),
        second=None if values["second"] is None else floats("second", (7,)),
        lowest=tuple(sorted(floats("lowest"))),
        threshold=float(str(values["threshold"])),
        answer=floats("answer", (2,)),
    )
