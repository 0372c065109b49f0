"""Configuration: strict YAML, with defaults that work offline on a laptop.

Every key has a default; an unknown key is an error that names the nearest known one. Values can
be overridden one by one with dotted keys (`--set index.multivector.pool_factor=3`).
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ragib.errors import ConfigError, did_you_mean

Kind = Literal["dense", "multivector", "sparse"]
KINDS: tuple[Kind, ...] = ("dense", "multivector", "sparse")
Using = Literal["hybrid", "dense", "multivector", "sparse"]
Candidates = Literal["all", "dense", "sparse", "both"]
TokenStorage = Literal["int8", "int4", "1bit"]
Share = Annotated[float, Field(gt=0, le=1)]

_HEEDED_BY = {
    "structured": ("vllm", "openai"),
    "stop": ("vllm", "openai", "transformers"),
    "ordering": ("vllm", "openai"),
    "priority": ("openai",),
}
"""Keys of the generator that would have no effect, and so are refused, with any other."""

NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""What reading YAML raises; the second for a date like 2026-13-45, or bytes that are not UTF-8."""

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class EncoderConfig(_Section):
    """The model that turns text into vectors.

    `model` is `embedded` (all-MiniLM-L6-v2 out of an installed package, no network), a local
    folder, or a hub name. `dtype: auto` takes bfloat16 on a GPU and float32 elsewhere.
    """

    model: str = "embedded"
    revision: str | None = None
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_tokens: int = Field(256, ge=16, le=32768)
    batch_size: int | None = Field(None, ge=1, description="default: 8 on a CPU, 128 on a GPU")


class ChunkConfig(_Section):
    """How documents are cut into passages: whole sentences up to a budget of tokens."""

    max_tokens: int = Field(200, ge=8)
    overlap_tokens: int = Field(32, ge=0)
    language: str = "en"

    @model_validator(mode="after")
    def _overlap_fits(self) -> ChunkConfig:
        if self.overlap_tokens >= self.max_tokens:
            raise ValueError("overlap_tokens must be smaller than max_tokens")
        return self


class DenseConfig(_Section):
    """One vector a passage.

    `storage: auto` scans up to 50,000 vectors and takes `rabitq` over more; `hnsw` answers
    soonest. `sq8` and `hnsw` need faiss. `dim` keeps the first so many dimensions of encoders
    trained for it (Matryoshka).
    """

    storage: Literal["auto", "flat", "sq8", "hnsw", "rabitq"] = "auto"
    metric: Literal["cosine", "dot"] = "cosine"
    dim: int | None = Field(None, ge=1, description="default: all the encoder has")
    refine: int = Field(10, ge=1, description="rabitq: candidates a result, rescored exactly")


class MultiVectorConfig(_Section):
    """Pooled token vectors a passage, searched by exact MaxSim.

    Eight bits a value find what exact vectors find; four and one take less room and find less,
    unless the best are rescored with three bits more. `projection: auto` brings token vectors to
    `dim` with the trained head that comes with ragib if it is one for this encoder and `dim`, else
    with a subspace fitted to the corpus, as `svd` always does; or name a head of your own, what
    `ragib train encoder` wrote.
    """

    storage: TokenStorage = "int8"
    dim: int = Field(128, ge=8)
    projection: str = "auto"
    pool_factor: float = Field(2.0, ge=1)
    rescore: int = Field(4, ge=0, description="candidates a result, rescored; 0: none")


class SparseConfig(_Section):
    """Weighted terms a passage: BM25 as bm25s or rank-bm25 has it, or a learned sparse encoder.

    `language` is that of stemmer and stop words, by its name or code; `none` for neither.
    """

    engine: Literal["bm25s", "rank-bm25", "learned"] = "bm25s"
    k1: float = Field(0.9, ge=0)
    b: float = Field(0.4, ge=0, le=1)
    language: str = "english"
    title_boost: int = Field(1, ge=0, le=100, description="BM25: how often a title is counted")
    model: str | None = Field(None, description="learned: folder or hub name of a SparseEncoder")


class BuildConfig(_Section):
    """Who encodes the passages; the index is the same whoever does.

    `local` is this process, or `workers` processes of this machine; `ray` the workers of a Ray
    cluster, which must all see the folder of the index.
    """

    executor: Literal["local", "ray"] = "local"
    workers: int = Field(1, ge=1, le=4096)
    gpus: float = Field(0, ge=0, description="ray: GPUs a worker")


class IndexConfig(_Section):
    """What is built from a corpus."""

    kinds: tuple[Kind, ...] = KINDS
    encoder: EncoderConfig = EncoderConfig()
    chunk: ChunkConfig = ChunkConfig()
    dense: DenseConfig = DenseConfig()
    multivector: MultiVectorConfig = MultiVectorConfig()
    sparse: SparseConfig = SparseConfig()
    build: BuildConfig = BuildConfig()

    @model_validator(mode="after")
    def _kinds(self) -> IndexConfig:
        if not self.kinds:
            raise ValueError("name at least one kind of index")
        if len(set(self.kinds)) != len(self.kinds):
            raise ValueError("a kind of index is named twice")
        return self


class StoreConfig(_Section):
    """Where passages are searched: in the index directory, or on a Qdrant server (`ragib push`).

    The key is read from the environment variable that `api_key_env` names.
    """

    name: Literal["native", "qdrant"] = "native"
    url: str = "http://127.0.0.1:6333"
    collection: str | None = Field(None, description="default: the name of the index directory")
    api_key_env: str = "QDRANT_API_KEY"
    hnsw_ef: int | None = Field(None, ge=1, description="breadth of dense search; default: exact")
    candidates: int = Field(
        1000, ge=0, description="hits of each other kind that MaxSim looks at; 0: at all passages"
    )


class RetrieverConfig(_Section):
    """How passages are found: one kind of index, or all of them fused.

    `candidates` are what multi-vector search scores: all passages, or the best `depth` of others.
    """

    using: Using = "hybrid"
    k: int = Field(5, ge=1)
    depth: int = Field(100, ge=1, description="hits taken from each index before fusion")
    candidates: Candidates = "all"
    fusion: Literal["convex", "rrf"] = "convex"
    weights: Mapping[Kind, float] = {}
    store: StoreConfig = StoreConfig()
    syntax: bool = Field(False, description='read "a phrase", +must, -not and term^2 in questions')


class CompressorConfig(_Section):
    """What is kept of the passages; at most one of `keep`, `budget`, `risk`, `threshold`.

    With none of the four, every compressor uses its own default. `model` is the folder or hub name
    of the weights of `generative`, `llmlingua-2` and `open-provence`. `precision: auto`
    computes a trained compressor in bfloat16 where the processor does, else in float32; `int8`
    computes it on the CPU in 8-bit integers.
    """

    name: str = "ib"
    model: str | None = None
    keep: Share | None = Field(None, description="share of the words of all passages")
    budget: int | None = Field(None, ge=1, description="tokens kept a question")
    risk: Annotated[float, Field(gt=0, lt=1)] | None = None
    threshold: float | None = None
    precision: Literal["auto", "int8"] = "auto"

    @model_validator(mode="after")
    def _one_mode(self) -> CompressorConfig:
        given = [
            name
            for name in ("keep", "budget", "risk", "threshold")
            if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise ValueError(f"set only one of {' and '.join(given)}")
        return self


class GeneratorConfig(_Section):
    """Who answers. `model` is a folder or hub name; `reader` has its own, `sentence` needs none."""

    name: Literal["reader", "sentence", "vllm", "openai", "transformers"] = "reader"
    model: str | None = None
    base_url: str = "http://127.0.0.1:8000/v1"
    api_key_env: str = "OPENAI_API_KEY"
    max_tokens: int = Field(256, ge=1)
    temperature: float = Field(0.0, ge=0)
    seed: int = 0
    timeout: float = Field(60.0, gt=0, description="seconds")
    retries: int = Field(3, ge=0)
    concurrency: int = Field(8, ge=1)
    structured: bool = Field(False, description="vllm, openai: answers are JSON by a schema")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="strings that end an answer: vllm, openai, transformers"
    )
    ordering: Literal["retrieval", "prefix"] = Field(
        "retrieval", description="of passages; prefix: as a prefix cache holds them (vllm, openai)"
    )
    priority: int = Field(0, description="openai: passed on to vLLM's server, less comes first")
    cache_salt: bool = Field(True, description="openai: keep access groups apart in its cache")
    engine_args: Mapping[str, Any] = Field({}, description="vllm: passed on to vllm.LLM")

    @model_validator(mode="after")
    def _heeded(self) -> GeneratorConfig:
        for key, names in _HEEDED_BY.items():
            default = GeneratorConfig.model_fields[key].default
            if self.name not in names and getattr(self, key) != default:
                raise ValueError(
                    f"{key} means nothing to {self.name}, only to {', '.join(names)}; leave it out"
                )
        return self


class RerankerConfig(_Section):
    """Who puts the best `depth` hits into a better order; the first `retriever.k` of them go on.

    `model` is the folder of a trained compressor for `relevance` (default: that of the compressor)
    and the folder or hub name of a cross-encoder; `generator` the language model that
    `pointwise`, `groupwise` and `criteria` ask (default: the one that answers). Budgets are per
    question: tokens read and written, and milliseconds.
    """

    name: Literal["none", "relevance", "cross-encoder", "pointwise", "groupwise", "criteria"] = (
        "none"
    )
    model: str | None = None
    depth: int = Field(20, ge=1, le=1000)
    group: int = Field(5, ge=2, le=50, description="groupwise: passages a call")
    criteria: Mapping[
        Annotated[str, Field(min_length=1, max_length=80)], Annotated[float, Field(gt=0)]
    ] = Field(
        {"relevance": 0.6, "completeness": 0.3, "clarity": 0.1},
        min_length=1,
        description="criteria: weight of each",
    )
    budget_tokens: int | None = Field(None, ge=1)
    budget_ms: float | None = Field(None, gt=0)
    generator: GeneratorConfig | None = None

    @model_validator(mode="after")
    def _fits(self) -> RerankerConfig:
        reads = self.name in ("relevance", "cross-encoder")
        if self.name == "cross-encoder" and not self.model:
            raise ValueError("a cross-encoder needs a model, a folder or hub name; set model")
        if self.name not in ("none", "relevance", "cross-encoder") and self.model:
            raise ValueError(f"{self.name} asks a language model; set generator, not model")
        if reads and self.generator is not None:
            raise ValueError(f"{self.name} asks no language model; leave generator out")
        return self


class StepsConfig(_Section):
    """In how many steps the evidence for a question is gathered (`ragib.multistep`).

    `decompose` searches for the question and its parts at once, `iterate` for the question, then
    for what the evidence leads on to. Either way a language model that answers is asked what to
    search for; without one, names in question and evidence tell. All limits are of the whole
    question.
    """

    mode: Literal["single", "decompose", "iterate"] = "single"
    max_steps: int = Field(3, ge=1, le=20)
    budget: int = Field(4096, ge=1, description="tokens: evidence, and what plans read and write")
    deadline: float = Field(30.0, gt=0, description="seconds; no step is begun that would pass it")
    min_gain: float = Field(0.0, description="nats: a step that gains no more is the last")


class Config(_Section):
    """All of it: what to build, how to find, in which order, what to keep, who answers."""

    index: IndexConfig = IndexConfig()
    retriever: RetrieverConfig = RetrieverConfig()
    reranker: RerankerConfig = RerankerConfig()
    compressor: CompressorConfig = CompressorConfig()
    generator: GeneratorConfig = GeneratorConfig()
    steps: StepsConfig = StepsConfig()

    @model_validator(mode="after")
    def _words_are_words(self) -> Config:
        if self.steps.mode != "single" and self.retriever.syntax:
            raise ValueError(
                f"retriever.syntax: with steps.mode={self.steps.mode} queries are made of words "
                "of the passages, which must not be read as operators; switch one of them off"
            )
        return self


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Read a configuration file and apply `a.b=value` overrides to it.

    Parameters
    ----------
    path
        A YAML file; none means all defaults.
    overrides
        Dotted assignments; values are read as YAML.

    Raises
    ------
    ConfigError
        The file cannot be read, or a key or value is wrong; the message names the key.
    """
    source = str(path) if path is not None else "--set"
    values: Any = {}
    if path is not None:
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise ConfigError(f"{source}: cannot be read: {error.strerror}") from None
        except NOT_YAML as error:
            raise ConfigError(f"{source}: not valid YAML: {_one_line(error)}") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: expected keys and values, found {type(values).__name__}")
    for override in overrides:
        _assign(values, override)
    return parse_config(values, source)


def parse_config(values: Mapping[str, Any], source: str) -> Config:
    """Check a nested mapping and return it as a `Config`; `source` goes into error messages."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_explain(error)}") from None


def shown(value: object) -> str:
    """Write a value for a message, never at length: aliases of YAML can make one without end."""
    return _REPR.repr(value)


def _assign(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: expected KEY=VALUE, as in retriever.k=10")
    try:
        value = yaml.safe_load(text)
    except NOT_YAML as error:
        raise ConfigError(f"--set {override}: not a YAML value: {_one_line(error)}") from None
    *path, last = key.split(".")
    node = values
    for part in path:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override}: {part!r} is a value, not a section")
    node[last] = value


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location) or "configuration"
    if first["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        return f"unknown key {key!r}{did_you_mean(location[-1], known)}"
    value = first["input"]
    got = f" (got {shown(value)})" if not isinstance(value, Mapping | BaseModel) else ""
    return f"{key}: {first['msg'].removeprefix('Value error, ')}{got}"


def _keys_at(location: list[str]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        annotation = model.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
