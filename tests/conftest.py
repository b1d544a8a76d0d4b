"""Keeps the tests out of the user's own directories."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all tests, so that each model is probed once; child processes inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_WSD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
