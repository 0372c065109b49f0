import asyncio
import threading

import pytest

from ragib.generators.threads import pieces_from


class Source:
    """Yields numbers; hangs before the third until told to go on."""

    def __init__(self):
        self.hangs, self.go_on, self.closed = (threading.Event() for _ in range(3))
        self.threads = set()
        self.asked = 0

    def pieces(self):
        self.threads.add(threading.get_ident())
        try:
            for number in range(4):
                if number == 2:
                    self.hangs.set()
                    self.go_on.wait()
                self.threads.add(threading.get_ident())
                self.asked += 1
                yield number
        finally:
            self.threads.add(threading.get_ident())
            self.closed.set()


@pytest.fixture
def source():
    made = Source()
    rescue = threading.Timer(20, made.go_on.set)  # so that a consumer that waits fails, not hangs
    rescue.start()
    yield made
    rescue.cancel()
    made.go_on.set()


def test_all_pieces_come_in_order_from_one_other_thread(source):
    async def follow():
        return [piece async for piece in pieces_from(source.pieces)]

    source.go_on.set()
    assert asyncio.run(follow()) == [0, 1, 2, 3]
    assert source.closed.wait(20)
    assert len(source.threads) == 1
    assert threading.get_ident() not in source.threads


def test_nothing_is_made_before_it_is_asked_for(source):
    async def first():
        pieces = pieces_from(source.pieces)
        found = await anext(pieces)
        await asyncio.sleep(0.02)
        assert source.asked == 1
        await pieces.aclose()
        return found

    assert asyncio.run(first()) == 0
    assert source.closed.wait(20)
    assert len(source.threads) == 1


def test_a_consumer_that_leaves_does_not_wait_for_a_source_that_hangs(source):
    async def follow():
        async for _ in pieces_from(source.pieces):
            pass

    async def leave():
        task = asyncio.create_task(follow())
        assert await asyncio.to_thread(source.hangs.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return source.go_on.is_set()

    assert asyncio.run(leave()) is False
    source.go_on.set()
    assert source.closed.wait(20)
    assert len(source.threads) == 1


@pytest.mark.parametrize("late", [False, True])
def test_what_fails_on_the_thread_fails_for_the_consumer(late):
    def broken():
        if late:
            yield 1
        raise ValueError("broken")

    def start():
        if late:
            return broken()
        raise ValueError("broken")

    async def follow():
        async for piece in pieces_from(start):
            seen.append(piece)  # noqa: PERF401 (what came before the error counts)

    seen = []
    with pytest.raises(ValueError, match="broken"):
        asyncio.run(follow())
    assert seen == [1] * late
