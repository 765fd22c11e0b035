"""Defines the style of all figures: colour-blind safe colours; draws images, masks and boxes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython.core.getipython import get_ipython
from jaxtyping import Bool, Float
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib_inline.backend_inline import set_matplotlib_formats
from PIL import Image

PALETTE = sns.color_palette("colorblind")
FOUND, TRUE, MASK, MUTED = PALETTE[1], PALETTE[0], PALETTE[4], (0.6, 0.6, 0.6)
sns.set_theme(style="ticks", context="notebook", palette=PALETTE, rc={"axes.spines.top": False})
plt.rcParams.update({"axes.spines.right": False, "figure.constrained_layout.use": True, "figure.dpi": 80})
if get_ipython() is not None:  # in notebooks: JPEG, at a tenth of PNG's size
    set_matplotlib_formats("jpeg", pil_kwargs={"quality": 70})

Boxed = Float[np.ndarray, "4"]
"""A box: xyxy in pixels of the image."""


def draw_picture(axes: Axes, image: Image.Image, title: str) -> None:
    """Draws an image with a title and without ticks; dollar signs in the title are no mathematics."""
    axes.imshow(image)
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.axis("off")


def draw_mask(axes: Axes, mask: Bool[np.ndarray, "height width"], color: tuple[float, ...]) -> None:
    """Colours the pixels of a mask, and leaves the others unchanged."""
    axes.imshow(np.where(mask[..., None], (*color, 0.5), 0.0))


def draw_box(axes: Axes, box: Boxed, color: tuple[float, ...], style: str = "-") -> None:
    """Draws the frame of a box, outlined in white: xyxy in pixels of the image on these axes."""
    x0, y0, x1, y1 = box
    frame = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=2.5, linestyle=style)
    frame.set_path_effects([patheffects.withStroke(linewidth=4.5, foreground="white")])
    axes.add_patch(frame)


def two_lines(names: Iterable[object]) -> list[str]:
    """Breaks each name at its last space, so that names stand horizontally below an axis."""
    return ["\n".join(str(name).rsplit(" ", 1)) for name in names]


def wrapped(text: str, width: int = 30) -> str:
    """Wraps a text into lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(text, width))
