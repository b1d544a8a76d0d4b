"""Server-sent events, as OpenAI's clients read them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from pydantic import BaseModel

from edge_wsd.serve.errors import ClientGone, failure_of, openai_error

DONE = b"data: [DONE]\n\n"


def data_line(body: BaseModel) -> bytes:
    """One event of a stream: the fields that were set."""
    return b"data: " + body.model_dump_json(exclude_unset=True).encode() + b"\n\n"


async def ended_by_done(lines: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The lines and `[DONE]`. An error behind the first of them becomes a line, as the status was sent already."""
    has_begun = False
    try:
        async for line in lines:
            has_begun = True
            yield line
    except ClientGone:
        raise
    except Exception as error:
        if not has_begun:
            raise
        yield b"data: " + json.dumps(openai_error(failure_of(error))).encode() + b"\n\n"
    finally:
        await lines.aclose()
    yield DONE
