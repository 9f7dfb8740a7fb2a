#!/usr/bin/env python3
"""Draws the layout of the dashboard, docs/dashboard.svg, from the body that Terraform makes.

Usage: scripts/dashboard.py BODY.json >docs/dashboard.svg

terraform/tests/emulators/test_moto.py reads the body from the emulator and compares the picture with the file.
"""

import json
import sys
from xml.sax.saxutils import escape

CELL = 34
PER_LINE = 44


def label(metric):
    """Returns the name of a line in its widget: the metric, or the function or table where the metric is the same."""
    return metric[1] if metric[0] in ("Roomchat", "AWS/ApiGateway") else f"{metric[1]} {metric[-1].split('-', 2)[-1]}"


def wrap(words, width):
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += word
    return lines


def draw(body):
    widgets = body["widgets"]
    height = max(widget["y"] + widget["height"] for widget in widgets) * CELL
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * CELL} {height}" font-family="sans-serif">'
    yield f'<rect width="{24 * CELL}" height="{height}" fill="#f2f3f3"/>'
    for widget in widgets:
        x, y, width, high = (widget[key] * CELL for key in ("x", "y", "width", "height"))
        properties = widget["properties"]
        if widget["type"] == "text":
            yield f'<text x="{x + 8}" y="{y + 24}" font-size="18" font-weight="bold">{escape(properties["markdown"].lstrip("# "))}</text>'
            continue
        yield f'<rect x="{x + 4}" y="{y + 4}" width="{width - 8}" height="{high - 8}" fill="#fff" stroke="#aab7b8"/>'
        yield f'<text x="{x + 14}" y="{y + 26}" font-size="11" font-weight="bold">{escape(properties["title"])}</text>'
        yield f'<text x="{x + 14}" y="{y + 42}" font-size="9" fill="#687078">{properties["stat"]} per {properties["period"]} s</text>'
        names = [label(metric) for metric in properties["metrics"]]
        for number, line in enumerate(wrap([f"{name}, " for name in names[:-1]] + names[-1:], PER_LINE)):
            yield f'<text x="{x + 14}" y="{y + 62 + number * 13}" font-size="10" fill="#16191f">{escape(line.strip())}</text>'
    yield "</svg>"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print("\n".join(draw(json.load(file))))
