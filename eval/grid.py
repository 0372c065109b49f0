"""A grid of pipelines: a base configuration, and lists of values for some of its keys.

    base:                                   # a configuration as in configs/
      retriever: {k: 5}
    grid:                                   # every combination is one pipeline
      retriever.using: [dense, sparse]
      compressor: [{name: none}, {name: ib, keep: 0.2}]
    latency: 100                            # questions timed a pipeline; 0: none
    noise: true                             # accuracy as distractors are added
    retention: true                         # answers kept at several shares of the words
    load: {rates: [1, 4], seconds: 20, target_ms: 500}
    ladder: {sizes: [1000, 10000], kinds: [dense, sparse], measure: nDCG@10}
    judge: {name: openai, model: NAME}      # keys of a generator; judges every answer

`grid` may be a list of such mappings, whose pipelines are put one after the other: so a key is
crossed only with those it means something to. A value that is a mapping sets several keys at once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragib.config import NOT_YAML, Config, GeneratorConfig, Using, parse_config, shown
from ragib.errors import ConfigError, did_you_mean

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Lists = Mapping[str, Sequence[Any]]
Settings = Mapping[str, Any]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LoadConfig(_Section):
    """Open-loop load: arrivals a second, for how long, and the latency that counts as good."""

    rates: tuple[Positive, ...] = Field(min_length=1)
    seconds: Positive = 20.0
    target_ms: Positive = 1000.0


class LadderConfig(_Section):
    """The index-size ladder: how many documents, which kinds of index, and the measure.

    `most` are the documents at which a kind that is slow to build stops.
    """

    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    kinds: tuple[Using, ...] = Field(min_length=1)
    most: Mapping[Using, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    measure: str = "nDCG@10"


class _File(_Section):
    base: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, Any] | list[dict[str, Any]]
    latency: int = Field(100, ge=0)
    noise: bool = False
    retention: bool = False
    load: LoadConfig | None = None
    ladder: LadderConfig | None = None
    judge: GeneratorConfig | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One point of the grid: `settings` are its dotted keys, `config` all it consists of."""

    name: str
    settings: Settings
    config: Config


@dataclass(frozen=True, slots=True)
class Grid:
    """What a run does; `text` is the file as it was read."""

    pipelines: tuple[Pipeline, ...]
    latency: int
    noise: bool
    retention: bool
    load: LoadConfig | None
    ladder: LadderConfig | None
    judge: GeneratorConfig | None
    base: Config
    text: str


def read_grid(path: str | Path) -> Grid:
    """Read a grid file and expand it; combinations that come to the same are there once.

    Raises
    ------
    ConfigError
        The file cannot be read, a key or value is wrong, or there is no pipeline in it; the
        message names the key.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None
    return parse_grid(text, str(path))


def parse_grid(text: str, source: str) -> Grid:
    """Expand the text of a grid file; raises as `read_grid` does."""
    file = _file(text, source)
    base = parse_config(file.base, f"{source}: base")
    mappings = file.grid if isinstance(file.grid, list) else [file.grid]
    found: dict[str, tuple[Settings, Config]] = {}
    for number, lists in enumerate(mappings, 1):
        where = f"{source}: grid" if len(mappings) == 1 else f"{source}: grid {number}"
        for settings in _combinations(lists, where):
            config = parse_config(_with(file.base, settings, where), where)
            if config.steps.mode != "single":
                raise ConfigError(
                    f"{where}: steps.mode: the stages of a run are those of one step; "
                    "ragib.eval.bench.multistep measures several"
                )
            found.setdefault(config.model_dump_json(), (settings, config))
    if not found:
        raise ConfigError(f"{source}: the grid is empty; give a key with a list of values")
    if file.load is not None and not file.latency:
        raise ConfigError(f"{source}: load needs latency: the number of questions to ask")
    names = _names([settings for settings, _ in found.values()])
    return Grid(
        pipelines=tuple(
            Pipeline(name, settings, config)
            for name, (settings, config) in zip(names, found.values(), strict=True)
        ),
        latency=file.latency,
        noise=file.noise,
        retention=file.retention,
        load=file.load,
        ladder=file.ladder,
        judge=file.judge,
        base=base,
        text=text,
    )


def _file(text: str, source: str) -> _File:
    try:
        values = yaml.safe_load(text)
    except NOT_YAML as error:
        raise ConfigError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected keys and values, found {type(values).__name__}")
    try:
        return _File.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        key = ".".join(path)
        if first["type"] == "extra_forbidden":
            sections: dict[str, type[BaseModel]] = {
                "load": LoadConfig,
                "ladder": LadderConfig,
                "judge": GeneratorConfig,
            }
            known = sections.get(path[0], _File).model_fields
            raise ConfigError(
                f"{source}: unknown key {key!r}{did_you_mean(path[-1], known)}"
            ) from None
        got = shown(first["input"])
        raise ConfigError(f"{source}: {key}: {first['msg']} (got {got})") from None


def _combinations(lists: Lists, where: str) -> Iterator[dict[str, Any]]:
    """Yield every combination of values as flat dotted keys; the last key varies fastest."""
    if not lists:
        raise ConfigError(f"{where}: the grid is empty; give a key with a list of values")
    for key, values in lists.items():
        if not isinstance(values, list):
            raise ConfigError(f"{where}: {key}: expected a list of values (got {shown(values)})")
        if not values:
            raise ConfigError(f"{where}: {key}: the list is empty, so the grid is; name a value")
    for values in product(*lists.values()):
        yield {
            leaf: value
            for key, chosen in zip(lists, values, strict=True)
            for leaf, value in _leaves(key, chosen)
        }


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}", inner)
    else:
        yield key, value


def _with(base: Mapping[str, Any], settings: Settings, where: str) -> dict[str, Any]:
    values: dict[str, Any] = copy.deepcopy(dict(base))
    for key, value in settings.items():
        *path, last = key.split(".")
        node = values
        for part in path:
            inner = node.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{where}: {key}: {part!r} is a value, not a section")
            node = inner
        node[last] = value
    return values


def _names(all_settings: Sequence[Settings]) -> list[str]:
    """Name pipelines by the values of the keys that vary, with the keys where those are needed."""
    keys = list(dict.fromkeys(key for settings in all_settings for key in settings))
    varying = [
        key for key in keys if len({repr(settings.get(key, ...)) for settings in all_settings}) > 1
    ] or keys[:1]
    short = [
        " ".join(_label(key, value) for key, value in settings.items() if key in varying)
        for settings in all_settings
    ]
    long = [
        " ".join(f"{key}={value}" for key, value in settings.items() if key in varying)
        for settings in all_settings
    ]
    chosen = [a if a and short.count(a) == 1 else b for a, b in zip(short, long, strict=True)]
    return [
        name if name and chosen.count(name) == 1 else f"{name or 'base'} #{number}"
        for number, name in enumerate(chosen, 1)
    ]


def _label(key: str, value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str):
        return Path(value).name or value
    return f"{key.rpartition('.')[2]}={value}"
