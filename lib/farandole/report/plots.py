"""How a figure becomes SVG data URIs, one light and one dark, and a picture a PNG or JPEG data URI.

Figures are drawn without pyplot, so nothing global is touched, and their bytes depend on the data alone.
Names of classes come from data: they are never parsed as math, and what XML cannot hold is replaced.
"""

import base64
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_RC: Any = {
    "svg.fonttype": "none",  # text stays text: small, sharp, and the browser has glyphs that DejaVu lacks
    "svg.hashsalt": "farandole",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "lines.linewidth": 1.6,
}


@dataclass(frozen=True)
class Theme:
    """Colours of a figure. The hues are Okabe and Ito's, told apart by people with any colour vision."""

    text: str
    muted: str
    grid: str
    blue: str
    orange: str
    grey: str
    heat: tuple[str, ...]
    """The colours of a share, from 0 to 1 in equal steps."""


LIGHT = Theme(
    "#1f2328", "#5d6670", "#d9dee3", "#0072b2", "#d55e00", "#a9b2ba", ("#ffffff", "#b5d3ea", "#3b87bd", "#083c66")
)
DARK = Theme(
    "#e6e9ed", "#9aa4af", "#343b44", "#56b4e9", "#e69f00", "#68727d", ("#1a1f26", "#1d4567", "#3e8fc7", "#d3ebfb")
)


@dataclass(frozen=True)
class Plot:
    """One figure, ready for a <picture>."""

    light: str
    dark: str
    alt: str
    width: int
    """In CSS pixels, as is the height."""
    height: int


def printable(text: str) -> str:
    """Text that HTML and XML can hold: control characters, lone surrogates and bidi overrides become U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text)


def make_plot(draw: Callable[[Theme], Figure], alt: str) -> Plot:
    """Draws a figure for both themes."""
    with mpl.rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser's fonts have it
        figures = [draw(theme) for theme in (LIGHT, DARK)]
        light, dark = (_svg_uri(figure) for figure in figures)
    width, height = figures[0].get_size_inches() * 96
    return Plot(light, dark, alt, round(width), round(height))


def _svg_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, dpi=144, metadata=no_metadata)
    svg = buffer.getvalue().replace(
        b"'DejaVu Sans'", b"system-ui, 'Segoe UI', Roboto, Helvetica, Arial, 'DejaVu Sans', sans-serif"
    )
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def image_uri(image: np.ndarray, max_side: int = 160) -> str:
    """A picture as a data URI: PNG without loss up to 64 pixels a side, above that a JPEG of at most max_side.

    Args:
        image: uint8 [H, W, C], C 1 or 3.
        max_side: pixels.

    Raises:
        ValueError: the array has another shape or dtype.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"expected uint8 [H, W, 1 or 3], received {image.dtype} {list(image.shape)}; convert it first")
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    kind = "PNG" if max(picture.size) <= 64 else "JPEG"
    picture.thumbnail((max_side, max_side))
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 85} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
