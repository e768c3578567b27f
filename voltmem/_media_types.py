"""The media type of bytes, by their beginning: what a browser shows safely, and a few more that models read."""

from __future__ import annotations

from typing import Final

# https://mimesniff.spec.whatwg.org, sections 6.1 and 6.2. Nothing here can hold a script that a browser runs; an SVG
# can, and so can HTML.
_BEGINNINGS: Final = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBPVP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"OggS\x00", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypisom", "video/mp4"),
    (4, b"ftypmp4", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (0, b"%PDF-", "application/pdf"),
)
SHOWN: Final = frozenset(type for _, _, type in _BEGINNINGS) - {"application/pdf"}
"""The types that a browser shows or plays itself, without a viewer that runs scripts."""


def media_type_of(beginning: bytes) -> str | None:
    """Return the media type of a content by its first bytes; None if they are of none that is known."""
    return next((type for at, bytes, type in _BEGINNINGS if beginning.startswith(bytes, at)), None)
