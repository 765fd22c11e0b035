"""Writes the explorer as one HTML file that needs nothing else: data, code and style are inside."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from locheads.errors import LocheadsError
from locheads.files import replacing

HERE = Path(__file__).parent
LIMIT = 3_000_000
"""Largest size of a page in bytes."""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}
body {{ margin: 0; }}
</style>
</head>
<body>
<main id="explorer"></main>
<script type="application/json" id="data">{data}</script>
<script type="module">
{code}
const data = JSON.parse(document.getElementById("data").textContent);
mount(standalone(data), document.getElementById("explorer"));
</script>
</body>
</html>
"""


def module() -> str:
    """Returns the explorer's code as one ES module: imports of files beside it are replaced by them."""
    return _inlined(HERE / "explorer.js", set())


def _inlined(path: Path, seen: set[str]) -> str:
    """Returns a module with the files that it imports, each once, in the place of its first import."""

    def replacement(found: re.Match[str]) -> str:
        if found[1] in seen:
            return ""
        seen.add(found[1])
        return _inlined(path.with_name(found[1]), seen)

    code = path.read_text(encoding="utf-8")
    return re.sub(r'^import \{[^}]*\} from "\./([^"]+)";\n', replacement, code, flags=re.MULTILINE)


def style() -> str:
    """Returns the explorer's style sheet."""
    return (HERE / "explorer.css").read_text(encoding="utf-8")


def page(data: Mapping[str, Any]) -> str:
    """Returns the page that shows what `data.explorer_data` gathered.

    Nothing in the data can end the element that holds it: `<` is written as an escape of JSON.
    """
    content = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    title = html.escape(f"Localization heads of {data['model']}")
    return TEMPLATE.format(title=title, style=style(), data=content, code=module())


def write_page(data: Mapping[str, Any], path: Path | str) -> int:
    """Writes the page; the file that was there stays until the new one is whole.

    Returns:
        Its size in bytes.

    Raises:
        LocheadsError: It is larger than `LIMIT`, or cannot be written.
    """
    content = page(data).encode()
    if len(content) > LIMIT:
        raise LocheadsError(
            f"{path}: the page would have {len(content) / 1e6:.1f} MB, more than {LIMIT / 1e6:.0f} MB; "
            "show fewer pictures"
        )
    with replacing(path) as partial:
        partial.write_bytes(content)
    return len(content)
