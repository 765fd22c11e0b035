"""Turns formulas of TeX into MathML, which browsers draw without a script or a font."""

from __future__ import annotations

from latex2mathml.converter import convert


def mathml(tex: str, display: str) -> str:
    """Returns a formula of TeX as MathML; a command that the converter leaves as it is stops the build."""
    known = tex.replace(r"\arg\max", r"\operatorname*{argmax}").replace(
        r"\arg\min", r"\operatorname*{argmin}"
    )
    for name in ("aligned", "split"):
        known = known.replace(f"{{{name}}}", "{align*}")
    formula = convert(known.strip(), display=display)
    if "\\" in formula or ">&<" in formula:
        raise ValueError(
            f"the book cannot draw this formula: {tex.strip()}; write it with simpler commands of TeX"
        )
    return formula
