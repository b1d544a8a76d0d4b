"""What a file that is not a GGUF seems to be, so that the error can say so and what to do about it."""

from __future__ import annotations

_PICKLE_PROTOCOLS = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_OLD_GGML = (b"lmgg", b"fmgg", b"tjgg", b"algg")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def describe_foreign(head: bytes) -> str | None:
    """What a file beginning with `head` (the first kilobyte) seems to be and the way out; None if nobody knows."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    known: tuple[tuple[bool, str], ...] = (
        (not head, "it is empty; fetch or convert it again"),
        (not head.strip(b"\0"), "it holds only zero bytes; the download was cut off: fetch it again"),
        (head.startswith(LFS_POINTER), "it is a Git LFS pointer, not the file itself; run `git lfs pull`"),
        (
            start.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")),
            "it is a web page; use the download link of the file, not the page about it",
        ),
        (
            len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 30,
            "it is a safetensors file; make a GGUF of its folder with `edge-wsd convert`",
        ),
        (
            head.startswith((*_PICKLE_PROTOCOLS, b"PK\x03\x04")),
            "it is a PyTorch checkpoint or a zip archive; make a GGUF of its folder with `edge-wsd convert`",
        ),
        (head.startswith(_OLD_GGML), "it is a GGML file from before GGUF; fetch or convert it again"),
        (head.startswith((b"\x1f\x8b", b"\xfd7zXZ", b"(\xb5/\xfd", b"BZh")), "it is compressed; unpack it first"),
        (_is_text(head), "it is a text file; give a model in GGUF format"),
    )
    return next((description for matches, description in known if matches), None)


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not merely a character cut off by the end of `head`
            return False
        text = head[: error.start].decode()
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)
