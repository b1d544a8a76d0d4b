"""What a pair has learnt about speed on this machine, remembered from one start to the next.

Whether proposals pay depends on what passes cost; a program that knows it from before is right from its first word.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from edge_wsd.decoding.experience import Experience
from edge_wsd.disk_cache import DiskCache, cache_file
from edge_wsd.llama.installation import BINDING
from edge_wsd.llama.processor import this_processor
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.redaction import logger_without_secrets

_LOG = logger_without_secrets(__name__)
_MOST_PAIRS = 100


class Remembered:
    """The experience of one pair of files with these settings."""

    def __init__(self, models: Sequence[tuple[Path, ModelSettings]]) -> None:
        """`models` are the drafter's file and the base's. Something damaged is as good as nothing."""
        self._memory = DiskCache(
            cache_file("experience.json"),
            "pairs",
            most=_MOST_PAIRS,
            otherwise="what passes cost will be measured again",
            log_level=logging.DEBUG,
        )
        self._key = _key(models)
        self.experience = self._recall()
        self._saved = self._text()

    def save(self) -> None:
        """Remember what is known now, if that is more than before."""
        if (text := self._text()) != self._saved and self.experience.costs.are_known("base"):
            self._memory.put(self._key, text)
            self._saved = text

    def _text(self) -> str:
        return json.dumps(self.experience.snapshot())

    def _recall(self) -> Experience:
        text = self._memory.get(self._key)
        try:
            return Experience.of(json.loads(text)) if text else Experience()
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            _LOG.debug("what was remembered of passes and proposals is ignored: %s", error)
            return Experience()


def _key(models: Sequence[tuple[Path, ModelSettings]]) -> str:
    """Changes with the processor, llama.cpp, the files and the settings that a pass's time may depend on."""
    parts = [version(BINDING), this_processor().identity]
    for path, settings in models:
        status = path.stat()
        parts.append(f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}:{status.st_ino}")
        parts.append(json.dumps(asdict(settings), sort_keys=True, default=str))
    return sha256("\n".join(parts).encode(errors="replace")).hexdigest()
