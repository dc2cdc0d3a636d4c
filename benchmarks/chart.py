"""Draws charts as SVG for docs/performance.md: grouped bars, one panel for each quantity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

_FOLDER: Final = Path(__file__).parents[1] / "docs" / "images"
_WIDTH, _TITLE, _LEFT, _BAR, _GAP = 720, 30, 150, 11, 6
_COLOURS: Final = ("#2a6f97", "#e07a5f", "#81b29a", "#8d6a9f")
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#444}.t{font-weight:600}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}}"
)

Panel = Mapping[str, Mapping[str, float]]
"""Label of a row: its bars, by the name of their series."""


def write(name: str, panels: Mapping[str, Panel]) -> Path:
    """Write ``docs/images/NAME.svg``: panels by their titles, each with its own axis."""
    parts: list[str] = []
    y = 0
    for title, panel in panels.items():
        y = _panel(parts, y + _TITLE, title, panel)
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 10}" role="img">'
        f"<title>{escape(', '.join(panels))}</title><style>{_STYLE}</style>"
        + "\n".join(parts)
        + "</svg>\n"
    )
    path = _FOLDER / f"{name}.svg"
    path.write_text(text)
    return path


def _panel(parts: list[str], y: int, title: str, panel: Panel) -> int:
    """Add a panel below ``y``; return where it ends."""
    series = list(dict.fromkeys(name for bars in panel.values() for name in bars))
    parts.append(f'<text class="t" x="8" y="{y}">{escape(title)}</text>')
    for index, name in enumerate(series if len(series) > 1 else ()):
        x = _WIDTH - 110 * (len(series) - index)
        parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{_COLOURS[index]}"/>')
        parts.append(f'<text x="{x + 14}" y="{y}">{escape(name)}</text>')
    most = max((value for bars in panel.values() for value in bars.values()), default=0.0) or 1.0
    y += 8
    for label, bars in panel.items():
        height = _BAR * len(series)
        middle = y + height / 2 + 4
        parts.append(f'<text x="{_LEFT - 8}" y="{middle}" text-anchor="end">{escape(label)}</text>')
        for index, name in enumerate(series):
            if name in bars:
                _bar(parts, y + index * _BAR, bars[name] / most, bars[name], _COLOURS[index])
        y += height + _GAP
    return y


def _bar(parts: list[str], y: float, share: float, value: float, colour: str) -> None:
    width = share * (_WIDTH - _LEFT - 70)
    parts.append(
        f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 1}" fill="{colour}"/>'
    )
    parts.append(f'<text x="{_LEFT + width + 5:.1f}" y="{y + 9}">{_figure(value)}</text>')


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"
