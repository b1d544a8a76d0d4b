"""Several answers at once, and answers that are long in coming."""

import asyncio

import pytest

from edge_wsd.serve.openai.asking import begun, merged


def collected(source):
    async def collect():
        return [item async for item in source]

    return asyncio.run(collect())


class Sources:
    """Generators that note how they end."""

    def __init__(self):
        self.closed = []

    async def counting(self, name, n, *, error=None, wait_s=0.0):
        try:
            for number in range(n):
                await asyncio.sleep(wait_s)
                yield name, number
            if error:
                raise error
        finally:
            self.closed.append(name)


def test_merged_sources_keep_their_order_and_tell_their_number():
    sources = Sources()
    found = collected(merged([sources.counting("a", 3), sources.counting("b", 5)]))
    assert [item for number, item in found if number == 0] == [("a", 0), ("a", 1), ("a", 2)]
    assert [item for number, item in found if number == 1] == [("b", number) for number in range(5)]


def test_the_first_error_ends_all_sources():
    sources = Sources()
    endless = sources.counting("endless", 10**9)
    with pytest.raises(ValueError, match="broken"):
        collected(merged([endless, sources.counting("broken", 2, error=ValueError("broken"))]))
    assert sorted(sources.closed) == ["broken", "endless"]


def test_leaving_early_closes_every_source():
    sources = Sources()

    async def leave():
        everything = merged([sources.counting("a", 10**9), sources.counting("b", 10**9)])
        async for _ in everything:
            break
        await everything.aclose()

    asyncio.run(leave())
    assert sorted(sources.closed) == ["a", "b"]


def test_what_comes_soon_is_all_there_is():
    assert collected(begun(Sources().counting("a", 2), 60)) == [("a", 0), ("a", 1)]
    assert collected(begun(Sources().counting("a", 0), 60)) == []


def test_what_is_long_in_coming_is_told_once():
    assert collected(begun(Sources().counting("a", 2, wait_s=0.05), 0.001)) == [None, ("a", 0), ("a", 1)]


def test_an_error_before_the_first_item_is_raised_as_it_is():
    with pytest.raises(ValueError, match="broken"):
        collected(begun(Sources().counting("a", 0, error=ValueError("broken")), 60))


def test_leaving_before_the_first_item_closes_the_source():
    sources = Sources()

    async def leave():
        waiting = begun(sources.counting("a", 10**9, wait_s=60), 0.001)
        assert await anext(waiting) is None
        await waiting.aclose()

    asyncio.run(leave())
    assert sources.closed == ["a"]
