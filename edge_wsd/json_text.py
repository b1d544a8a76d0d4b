"""JSON in one line that is safe wherever it goes: to a terminal, and to whoever splits a file at line breaks."""

from __future__ import annotations

import json
import re
from typing import Any

# DEL, C1, Unicode's own line breaks, what turns the direction of text, halves of characters
_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def json_line(value: Any) -> str:
    """`value` without a line break. What a terminal would obey, or no file can hold, is written as an escape."""
    text = json.dumps(value, ensure_ascii=False)
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
