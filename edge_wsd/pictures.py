"""Pictures for `--plot`, drawn by matplotlib, which is not installed with edge-wsd but with `edge-wsd[bench]`."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge_wsd.errors import PlotError
from edge_wsd.files import behind_links, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png")


def require_plot(path: Path) -> None:
    """Raises `PlotError` where no picture can be drawn or no such file be made; for before anything is measured."""
    if path.suffix.lower() not in FORMATS:
        raise PlotError(f"--plot {path}: name a file that ends with {' or '.join(FORMATS)}")
    require_matplotlib()
    if not path.absolute().parent.is_dir():
        raise PlotError(f"--plot {path}: there is no folder {path.parent}; make it first")
    try:
        folder = behind_links(path).parent
    except OSError as error:
        raise PlotError(f"--plot {path}: cannot be written ({error.strerror}); name another file") from error
    if not os.access(folder, os.W_OK):
        raise PlotError(f"--plot {path}: the folder {path.parent} cannot be written in; name a file in another one")


def require_matplotlib() -> None:
    """Raises `PlotError` where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise PlotError('--plot needs matplotlib: pip install "edge-wsd[bench]"') from None


def picture(draw: Callable[[Figure], object], *, size: tuple[float, float], kind: str = "svg") -> bytes:
    """An SVG or PNG of what `draw` puts on a figure of this width and height in inches.

    The same drawing gives the same SVG, byte by byte.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "edge-wsd"}), warnings.catch_warnings():
        # An SVG is shown in fonts of whoever looks at it; in a PNG a box stands in the character's place.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        target = io.BytesIO()
        if kind == "svg":
            figure.savefig(target, format="svg", metadata={"Date": None})
        else:
            figure.savefig(target, format="png", dpi=150)
    return target.getvalue()


def write_picture(path: Path, draw: Callable[[Figure], object], *, size: tuple[float, float]) -> None:
    """Writes the picture, in the format that the file's name says. Raises `PlotError`."""
    require_plot(path)
    data = picture(draw, size=size, kind=path.suffix.lower().removeprefix("."))
    try:
        write_atomically(path, data)
    except OSError as error:
        raise PlotError(
            f"{path}: cannot be written ({error.strerror or error}); name another file for --plot"
        ) from error
