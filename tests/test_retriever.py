import pytest

from ragib.config import Config, IndexConfig, RetrieverConfig, StoreConfig
from ragib.errors import ConfigError, InputError
from ragib.indexes.index import Index
from ragib.pipeline import RAG
from ragib.retriever import Retriever
from ragib.types import Document


@pytest.fixture
def index(tmp_path):
    documents = [
        Document("a", "The king built a bridge.", metadata={"year": 1}),
        Document("b", "The queen built a tower.", metadata={"year": 2}),
        Document("c", "The king wrote a secret poem.", access=("court",)),
    ]
    return Index.build(documents, tmp_path / "idx", IndexConfig(kinds=("sparse",)))


def found(hits):
    return [[hit.passage.doc_id for hit in line] for line in hits]


def test_follows_its_configuration(index):
    assert found(Retriever(index).retrieve(["king bridge", "tower"])) == [["a"], ["b"]]
    assert len(Retriever(index, RetrieverConfig(k=1)).retrieve(["built"])[0]) == 1
    with pytest.raises(InputError, match="'dense' is not in this index"):
        Retriever(index, RetrieverConfig(using="dense")).retrieve(["king"])


def test_another_store_than_that_of_the_index_is_refused(index):
    config = RetrieverConfig(store=StoreConfig(name="qdrant"))
    with pytest.raises(ConfigError, match=r"the index given is the directory .*/idx; open it with"):
        Retriever(index, config)
    with pytest.raises(ConfigError, match=r"retriever\.store\.name=qdrant"):
        RAG.from_config(Config(retriever=config), index=index)


def test_filters_and_groups_pass_through(index):
    retriever = Retriever(index)
    assert found(retriever.retrieve(["built"], where={"year": 2})) == [["b"]]
    assert found(retriever.retrieve(["built"], where={})) == [[]]
    assert found(retriever.retrieve(["king"], allow=("court",))) == [["c"]]
    assert found(retriever.retrieve(["king"], allow=())) == [[]]
