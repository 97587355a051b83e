"""Charts as SVG for a page. Matplotlib draws them; the page sets the colours, so that they fit light and dark mode."""

import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

# each colour becomes a CSS variable of the page; the palette of Okabe and Ito is safe for colour blindness
COLOURS = {
    "#0072b2": "var(--blue)",
    "#d55e00": "var(--vermillion)",
    "#009e73": "var(--green)",
    "#cc79a7": "var(--purple)",
    "#e69f00": "var(--orange)",
    "#56b4e9": "var(--sky)",
    "#010101": "var(--ink)",
    "#020202": "var(--faint)",
    "#030303": "var(--paper)",
    "#fefefe": "#fff",
}
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK, FAINT, PAPER, WHITE = COLOURS
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
DASHES = ("-", "--", ":", "-.")  # so that lines differ not only in colour

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "nnmpi",  # the same ids in each run
    "text.parse_math": False,  # a $ in a label is a $
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
NAMESPACES = ("{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}")


class Chart:
    """A figure to draw in; ``svg`` is set when the context of `chart` ends."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height), layout="constrained")
        self.axes: Axes = self.figure.subplots()
        self.svg = ""


@contextmanager
def chart(title: str, width: float = 4.4, height: float = 2.9) -> Iterator[Chart]:
    """Open a chart of `width` × `height` inches; at the end its ``svg`` is HTML with the accessible name `title`."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about glyphs that Matplotlib's font lacks: the browser has other fonts
        drawn = Chart(width, height)
        yield drawn
        file = io.BytesIO()
        drawn.figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    drawn.svg = _for_page(file.getvalue(), title)


def logarithmic(axes: Axes, values: list[float]) -> None:
    """Make the y axis logarithmic if the values are positive and span more than a factor of 20."""
    if values and min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))  # the default formatter writes mathematical text
        axes.yaxis.set_minor_formatter(NullFormatter())


def _for_page(svg: bytes, title: str) -> str:
    root = ElementTree.fromstring(svg)
    prefix = f"chart{zlib.crc32(svg):08x}-"  # keeps the ids of the charts of a page apart
    for name in ("width", "height"):
        del root.attrib[name]  # the page sets the width; the view box keeps the ratio
    root.set("class", "chart")
    root.set("role", "img")
    root.set("aria-label", title)
    return "".join(_html_of(root, prefix))


def _html_of(element: ElementTree.Element, prefix: str) -> Iterator[str]:
    """Yield the element as HTML: no namespaces, metadata or style sheets; `prefix` before ids; every value escaped."""
    name = _local(element.tag)
    if name in ("metadata", "style", "title"):
        return
    yield f"<{name}"
    for key, value in element.attrib.items():
        key = _local(key)
        if key == "id":
            value = prefix + value
        elif key == "href" and value.startswith("#"):
            value = f"#{prefix}{value[1:]}"
        elif key in ("style", "clip-path", "fill", "stroke"):
            value = value.replace("url(#", f"url(#{prefix}")
            for colour, variable in COLOURS.items():
                value = value.replace(colour, variable)
        if key != "version":
            yield f' {key}="{escape(value)}"'
    yield ">"
    yield escape(element.text or "")
    for child in element:
        yield from _html_of(child, prefix)
        yield escape((child.tail or "").strip())
    yield f"</{name}>"


def _local(name: str) -> str:
    for namespace in NAMESPACES:
        name = name.removeprefix(namespace)
    return name
