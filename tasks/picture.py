"""The Mandelbrot set, a tile at a time, as a small grey PNG."""

import base64
import struct
import zlib

# As a data URL a tile of random noise still fits into a result of 16 KiB, which is what an event carries.
MOST_PIXELS = 96 * 96

_MOST_ITERATIONS = 255


def render(left: float, top: float, step: float, size: int) -> bytes:
    """Iterations until each pixel escapes, one byte a pixel, row by row; 0 belongs to the set."""
    return bytes(_escape(complex(left + x * step, top - y * step)) for y in range(size) for x in range(size))


def _escape(c: complex) -> int:
    z = 0j
    for iteration in range(1, _MOST_ITERATIONS + 1):
        z = z * z + c
        if z.real * z.real + z.imag * z.imag > 4.0:
            return iteration
    return 0


def png(grey: bytes, width: int) -> str:
    """A grey picture, one byte a pixel, as the data URL of a PNG (RFC 2083)."""
    rows = [grey[start : start + width] for start in range(0, len(grey), width)]
    header = struct.pack(">IIBBBBB", width, len(rows), 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), level=9)  # \0: rows are not filtered
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
