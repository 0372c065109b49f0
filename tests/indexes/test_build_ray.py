"""Building on Ray: the same index, whichever actor is killed and whichever node is gone."""

import signal
import time

import psutil
import pytest

from ragib.config import BuildConfig, ChunkConfig, IndexConfig
from ragib.errors import IndexDirError
from ragib.indexes import ray_pool
from ragib.indexes.index import Index
from ragib.indexes.verify import verify
from ragib.types import Document

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray leaves sockets and files open

CHUNKS = ChunkConfig(max_tokens=64, overlap_tokens=0)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr("ragib.indexes.build.SHARD", 8)


@pytest.fixture(scope="module")
def cluster():
    """Two nodes on this machine, of one CPU each; the driver is on the first."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "120")
        arguments = {"num_cpus": 1, "object_store_memory": 80 << 20}
        cluster = Cluster(True, head_node_args={**arguments, "include_dashboard": False})
        second = cluster.add_node(**arguments)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster, second
        ray.shutdown()
        cluster.shutdown()


def corpus() -> list[Document]:
    return [Document(f"d{i}", f"The king of city {i} built bridge {i * i}.") for i in range(60)]


def config(executor: str, workers: int) -> IndexConfig:
    build = BuildConfig(executor=executor, workers=workers)
    return IndexConfig(kinds=("sparse",), chunk=CHUNKS, build=build)


def digest(index: Index) -> str:
    assert verify(index.path) == []
    return index.info()["digest"]


@pytest.fixture
def alone(tmp_path) -> str:
    return digest(Index.build(corpus(), tmp_path / "alone", config("local", 1)))


def actors() -> list[psutil.Process]:
    running = psutil.process_iter(["cmdline"])
    return [p for p in running if (p.info["cmdline"] or [""])[0].startswith("ray::Encoding")]


def wait_for_actors_on_both() -> None:
    """Wait until each of the two nodes, which are the parents of what runs there, has an actor."""
    end = time.monotonic() + 60
    while len({actor.ppid() for actor in actors()}) < 2:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_same_index_from_actors_that_are_killed(cluster, tmp_path, alone):
    killed = []

    def progress(stage, done, total):
        if stage == "encode" and 0 < done < total and len(killed) < 2:
            victims = actors()
            if victims:
                victims[0].send_signal(signal.SIGKILL)
                killed.append(victims[0].pid)

    index = Index.build(corpus(), tmp_path / "idx", config("ray", 2), progress=progress)
    assert killed
    assert digest(index) == alone


def test_errors_of_actors_are_those_of_this_process(cluster, tmp_path, monkeypatch):
    real = ray_pool.on_ray

    def changed(task, specs, workers, gpus):
        (tmp_path / "idx" / ".build" / "passages.sqlite").write_bytes(b"")
        return real(task, specs, workers, gpus)

    monkeypatch.setattr(ray_pool, "on_ray", changed)
    with pytest.raises(IndexDirError, match="no such table"):
        Index.build(corpus(), tmp_path / "idx", config("ray", 2))


def test_a_removed_node(cluster, tmp_path, alone):
    """What ran there is done by the node that is left."""
    nodes, second = cluster
    removed = []

    def progress(stage, done, total):
        if stage == "encode" and done and not removed:
            wait_for_actors_on_both()
            removed.append(second)
            nodes.remove_node(second, allow_graceful=False)

    index = Index.build(corpus(), tmp_path / "idx", config("ray", 2), progress=progress)
    assert removed
    assert digest(index) == alone
