"""Shows the explorer in JupyterLab: an anywidget whose settings and box are also Python's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

from locheads.explorer.page import module, style


class Explorer(anywidget.AnyWidget):
    """The explorer as a widget; settings that Python sets move the controls, and the other way round.

    Attributes:
        data: What `data.explorer_data` gathered.
        expression: Position of the expression in the data.
        k: How many of the most frequent heads are used.
        heads: The own set of heads as `[layer, head]`; empty: the k most frequent.
        sigma: Standard deviation of the Gaussian in cells.
        level: The pseudo-mask holds the cells above this multiple of the mean.
        box: The box that was found: xyxy in pixels; empty until the widget is displayed.

    Example:
        `explorer = Explorer(data); explorer` displays it; `explorer.sigma = 2` smooths more.
    """

    _esm = module()
    _css = style()
    data = traitlets.Dict().tag(sync=True)
    expression = traitlets.Int(0).tag(sync=True)
    k = traitlets.Int(3).tag(sync=True)
    heads: traitlets.List[Any] = traitlets.List().tag(sync=True)
    sigma = traitlets.Float(1.0).tag(sync=True)
    level = traitlets.Float(1.0).tag(sync=True)
    box: traitlets.List[Any] = traitlets.List().tag(sync=True)

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__(data=dict(data))
