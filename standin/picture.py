"""Generated pictures: small landscapes, as PNG files."""

import colorsys
import math
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]  # red, green, blue; 0 to 255

_BANDS = 48  # of the sky, each a colour of its own
_RANGES = 3  # of mountains, from far to near
_SUN = _BANDS
_FIRST_RANGE = _BANDS + 1


@dataclass(frozen=True, slots=True)
class Landscape:
    """The same place at an hour of the day: `place` decides where the mountains are, `hour` (0 to 24) the light and the sun."""

    place: int
    hour: float
    width: int = 320
    height: int = 200

    def png(self) -> bytes:
        """Draw it; the same landscape gives the same bytes."""
        return encode_png(self.width, b"".join(self._rows()), self._palette())

    def _palette(self) -> list[Colour]:
        light = 0.25 + 0.75 * max(0.0, math.sin((self.hour - 6) / 12 * math.pi))
        dusk = max(0.0, 1 - abs(self.hour - 18.5) / 3, 1 - abs(self.hour - 6) / 3)
        hue = random.Random(self.place).random()  # noqa: S311  # a picture is no secret
        sky = [_colour(0.58 + 0.4 * dusk * band / _BANDS, 0.65 - 0.4 * band / _BANDS, light) for band in range(_BANDS)]
        sun = _colour(0.13 - 0.1 * dusk, 0.3 + 0.5 * dusk, 0.5 + 0.5 * light)
        mountains = [_colour(hue, 0.25 + 0.2 * near, light * (0.75 - 0.2 * near)) for near in range(_RANGES)]
        return [*sky, sun, *mountains]

    def _rows(self) -> Iterator[bytes]:
        """Give rows of palette indexes."""
        width, height = self.width, self.height
        across = (self.hour % 24 - 5) / 14  # the sun is up from five to seven
        centre, radius = width * across, height / 9
        middle = height * (0.75 - 0.6 * math.sin(max(0.0, min(1.0, across)) * math.pi))
        summits = list(self._summits())
        for y in range(height):
            row = bytearray([y * _BANDS // height]) * width
            if abs(y - middle) < radius:
                half = math.sqrt(radius**2 - (y - middle) ** 2)
                _fill(row, centre - half, centre + half, _SUN)
            for index, top, x, slope in summits:
                if y >= top:
                    _fill(row, x - (y - top) * slope, x + (y - top) * slope, index)
            yield bytes(row)

    def _summits(self) -> Iterator[tuple[int, float, float, float]]:
        """Give palette index, y and x of the top, and how much wider a mountain grows to each side by the row."""
        chance = random.Random(self.place)  # noqa: S311  # a picture is no secret
        for near in range(_RANGES):
            for _ in range(4):
                top = self.height * chance.uniform(0.35 + 0.15 * near, 0.6 + 0.15 * near)
                yield _FIRST_RANGE + near, top, chance.uniform(0, self.width), chance.uniform(0.7, 2.2)


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(1.0, max(0.0, saturation)), min(1.0, value))
    return round(red * 255), round(green * 255), round(blue * 255)


def _fill(row: bytearray, start: float, end: float, index: int) -> None:
    first, last = max(0, round(start)), min(len(row), round(end))
    if first < last:
        row[first:last] = bytes([index]) * (last - first)


def encode_png(width: int, pixels: bytes, palette: list[Colour]) -> bytes:
    """Encode rows of palette indexes, one byte a pixel, as a PNG file."""
    height = len(pixels) // width
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits a pixel, by palette, not interlaced
    unfiltered = b"".join(b"\0" + pixels[at : at + width] for at in range(0, len(pixels), width))
    chunks = (
        (b"IHDR", header),
        (b"PLTE", bytes(part for colour in palette for part in colour)),
        (b"IDAT", zlib.compress(unfiltered, 6)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
