# SPDX-License-Identifier: AGPL-3.0-or-later
"""Curves as inline SVG without a script and without inline styles: strings in, strings out. Pure.

Colours and strokes come from the page's one style sheet by class, so that a strict policy may forbid all
others.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 420, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 22, 12, 44
Point = tuple[float, float]


def chart(
    curves: Sequence[tuple[str, str, Sequence[Point]]],
    *,
    x_label: str,
    y_label: str,
    x_max: float,
    y_max: float,
    dots: Sequence[tuple[str, Point]] = (),
    shares: bool = True,
    x_names: Sequence[str] = (),
) -> str:
    """An SVG of curves (name, css class, points) from 0 to x_max and y_max, and of dots (name, point).

    x_names: what stands below the lines of the grid, evenly; without them, numbers.
    """
    wide, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def at(point: Point) -> tuple[float, float]:
        x, y = min(point[0] / x_max, 1.0), min(point[1] / y_max, 1.0)
        return round(_LEFT + x * wide, 1), round(_TOP + (1 - y) * high, 1)

    def mark(value: float) -> str:
        return f"{100 * value:.3g} %" if shares else f"{value:.3g}"

    title = escape(f"{y_label} against {x_label}")
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">',
        f"<title>{title}</title>",
    ]
    names = x_names or [mark(step / 4 * x_max) for step in range(5)]
    for step, name in enumerate(names):
        share = step / max(len(names) - 1, 1)
        x, y = at((share * x_max, share * y_max))
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y}" x2="{WIDTH - _RIGHT}" y2="{y}"/>')
        parts.append(f'<line class="grid" x1="{x}" y1="{_TOP}" x2="{x}" y2="{HEIGHT - _BOTTOM}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{mark(share * y_max)}</text>'
        )
        below = HEIGHT - _BOTTOM + 16
        parts.append(f'<text class="tick" x="{x}" y="{below}" text-anchor="middle">{escape(name)}</text>')
    for name, css, points in curves:
        line = " ".join(f"{x},{y}" for x, y in map(at, points))
        parts.append(f'<polyline class="curve {css}" points="{line}"><title>{escape(name)}</title></polyline>')
    for name, point in dots:
        x, y = at(point)
        parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="4"><title>{escape(name)}</title></circle>')
        anchor, dx = ("end", -8) if x > WIDTH * 0.6 else ("start", 8)
        parts.append(
            f'<text class="note" x="{x + dx}" y="{max(y - 6, 14)}" text-anchor="{anchor}">{escape(name)}</text>'
        )
    middle = _LEFT + wide / 2
    parts.append(
        f'<text class="label" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(
        f'<text class="label" x="14" y="{_TOP + high / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {_TOP + high / 2})">{escape(y_label)}</text></svg>'
    )
    return "".join(parts)


def nice(value: float) -> float:
    """The next 1, 2, 4 or 8 times a power of ten: an axis that ends on a round number."""
    if value <= 0:
        return 0.01
    power = 10.0
    while power > value:
        power /= 10
    while power * 10 < value:
        power *= 10
    return next((power * step for step in (1, 2, 4, 8, 10) if power * step >= value * 0.999), power * 10)
