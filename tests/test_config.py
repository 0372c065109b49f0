"""Configuration: strict, with messages that name the key, and presets that load."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.config import Config, load_config, parse_config
from ragib.errors import ConfigError

PRESETS = Path(__file__).parent.parent / "configs"
GRIDS = {PRESETS / f"{name}.yaml" for name in ("grid", "grid-quick", "ladder", "rerank")}
"""They are of another form: see tests/eval/test_grid.py."""


def test_presets_are_the_four_promised() -> None:
    names = sorted(path.name for path in set(PRESETS.iterdir()) - GRIDS)
    assert names == ["cpu-quality.yaml", "embedded.yaml", "gpu-vllm.yaml", "server.yaml"]


@pytest.mark.parametrize(
    "path", sorted({*PRESETS.glob("*.yaml")} - GRIDS), ids=lambda path: path.stem
)
def test_preset_loads(path: Path) -> None:
    assert load_config(path).index.kinds


def test_embedded_preset_is_the_default() -> None:
    assert load_config(PRESETS / "embedded.yaml") == Config() == load_config()


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("retriever: {k: 3, using: sparse}\n")
    config = load_config(file, ["retriever.k=7", "index.kinds=[sparse]", "compressor.keep=0.2"])
    assert (config.retriever.k, config.retriever.using) == (7, "sparse")
    assert config.index.kinds == ("sparse",)
    assert config.compressor.keep == 0.2


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("retriever.kk=1", "unknown key 'retriever.kk'; did you mean 'k'?"),
        ("retreiver.k=1", "unknown key 'retreiver'; did you mean 'retriever'?"),
        ("index.multivector.pool_facter=3", "did you mean 'pool_factor'?"),
        ("index.kinds=[]", "name at least one kind"),
        ("index.kinds=[dense, dense]", "named twice"),
        ("index.kinds=[dens]", "index.kinds.0"),
        ("retriever.k=0", "retriever.k"),
        ("retriever.k=ten", "(got 'ten')"),
        ("retriever.k", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("retriever.k=[", "not a YAML value"),
        ("index.chunk.max_tokens=16", "overlap_tokens must be smaller"),
        ("retriever=5", "retriever"),
    ],
)
def test_wrong_override_is_named(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[override])
    assert said in str(caught.value)


def test_value_where_a_section_is_expected() -> None:
    with pytest.raises(ConfigError, match="'k' is a value, not a section"):
        load_config(overrides=["retriever.k=3", "retriever.k.a=1"])


def test_only_one_way_to_say_how_much_is_kept() -> None:
    with pytest.raises(ConfigError, match="set only one of keep and budget"):
        load_config(overrides=["compressor.keep=0.5", "compressor.budget=100"])


@pytest.mark.parametrize("key", ["structured=true", "stop=[x]", "ordering=prefix", "priority=1"])
def test_what_a_generator_does_not_heed_is_refused(key: str) -> None:
    load_config(overrides=["generator.name=openai", f"generator.{key}"])
    with pytest.raises(ConfigError, match=f"{key.split('=')[0]} means nothing to reader, only to"):
        load_config(overrides=[f"generator.{key}"])


def test_a_stop_string_is_not_empty() -> None:
    with pytest.raises(ConfigError, match=r"generator\.stop\.0"):
        load_config(overrides=["generator.name=vllm", "generator.stop=['']"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"- a\n- b\n", "expected keys and values, found list"),
        (b"retriever: {k: 3", "not valid YAML"),
        (b"retriever:\n\tk: 3", "not valid YAML"),
        (b"\xff\xfe\xff", "not valid YAML"),
        (b"!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_wrong_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.yaml: cannot be read"):
        load_config(tmp_path / "absent.yaml")


def test_empty_file_means_defaults(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("# nothing\n")
    assert load_config(file) == Config()


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_TREES = st.recursive(
    _LEAVES,
    lambda node: (
        st.lists(node, max_size=2)
        | st.dictionaries(
            st.sampled_from(["index", "k", "dense", "retriever", "x"]), node, max_size=3
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["index", "retriever", "generator", "x"]), _TREES))
def test_any_mapping_is_a_config_or_a_config_error(values: dict[str, object]) -> None:
    try:
        assert isinstance(parse_config(values, "test"), Config)
    except ConfigError as error:
        assert str(error).startswith("test: ")


@given(st.text(max_size=30))
def test_any_override_is_applied_or_a_config_error(override: str) -> None:
    try:
        load_config(overrides=[override])
    except ConfigError as error:
        assert "--set" in str(error)
