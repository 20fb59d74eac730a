"""Plots as SVG, with nothing but Python: bars, stacked bars, and lines over a
logarithmic axis. Every function returns the text of one file."""
import math
from xml.sax.saxutils import escape

COLOURS = {"hayauma": "#c0392b", "postfix": "#2c6fbb", "exim": "#7f9a3b", "opensmtpd": "#d68910",
           "sendmail": "#7d5ba6", "dovecot": "#16888a", "wire": "#888888",
           "floor": "#bbbbbb"}
OTHERS = ["#c0392b", "#2c6fbb", "#7f9a3b", "#d68910", "#7d5ba6", "#16888a", "#a0522d", "#888888",
          "#444444", "#e08e9d", "#9cc4e4", "#c9d8a5"]
LEFT, WIDTH, BAR = 440, 560, 15  # pixels; the longest title of a row has room on the left


def _text(x, y, text, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(str(text))}</text>'


def _rectangle(x, y, width, height, colour):
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" '
            f'fill="{colour}"/>')


def _line(x1, y1, x2, y2, colour="#999", more=""):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'{more}/>')


def _file(title, height, parts, width=LEFT + WIDTH + 130):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
            f'font-family="sans-serif" font-size="12">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n'
            + _text(10, 22, title, 'font-size="16" font-weight="bold"') + "\n"
            + "\n".join(parts) + "\n</svg>\n")


def _number(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def bars(title, groups, unit, is_log=False):
    """`groups`: (name, [(server, median, least, most)]); a whisker from least to most."""
    highest = max((most for _, each in groups for *_, most in each), default=1)
    lowest = min((least for _, each in groups for _, _, least, _ in each if least > 0), default=1)
    low = 10 ** math.floor(math.log10(lowest)) if is_log else 0

    def place(value):
        if is_log:
            return WIDTH * math.log(max(value, low) / low) / math.log(highest / low or 2)
        return WIDTH * value / highest
    parts, y = [], 45
    bottom = y + sum(BAR * len(each) + 10 for _, each in groups)
    if is_log:
        for power in range(round(math.log10(low)), math.floor(math.log10(highest)) + 1):
            x = LEFT + place(10 ** power)
            parts.append(_line(x, y, x, bottom, "#ddd"))
            parts.append(_text(x, bottom + 12, f"{10 ** power:,}",
                               'text-anchor="middle" font-size="10"'))
    for name, each in groups:
        parts.append(_text(LEFT - 8, y + BAR * len(each) / 2 + 4, name, 'text-anchor="end"'))
        for server, median, least, most in each:
            parts.append(_rectangle(LEFT, y, place(median), BAR - 3, COLOURS.get(server, "#888")))
            middle = y + (BAR - 3) / 2
            parts.append(_line(LEFT + place(least), middle, LEFT + place(most), middle, "#000"))
            parts.append(_text(LEFT + place(most) + 6, y + 10, f"{server} {_number(median)}",
                               'font-size="10"'))
            y += BAR
        y += 10
    scale = ", logarithmic" if is_log else ""
    parts.append(_text(LEFT, y + 32, f"{unit}; medians, least to most as a line{scale}"))
    return _file(title, y + 50, parts)


def stacks(title, groups, unit):
    """`groups`: (name, {part: value}), each one bar of its parts."""
    names = list(dict.fromkeys(part for _, parts in groups for part in parts))
    colours = {name: OTHERS[number % len(OTHERS)] for number, name in enumerate(names)}
    highest = max((sum(parts.values()) for _, parts in groups), default=1) or 1
    out, y = [], 45
    for name, parts in groups:
        out.append(_text(LEFT - 8, y + 13, name, 'text-anchor="end"'))
        x = LEFT
        for part, value in parts.items():
            out.append(_rectangle(x, y, WIDTH * value / highest, 18, colours[part]))
            x += WIDTH * value / highest
        out.append(_text(x + 6, y + 13, _number(sum(parts.values())), 'font-size="10"'))
        y += 26
    x = LEFT
    for name in names:
        if x > LEFT + WIDTH - 60:
            x, y = LEFT, y + 18
        out.append(_rectangle(x, y + 2, 10, 10, colours[name]))
        out.append(_text(x + 14, y + 11, name, 'font-size="10"'))
        x += 34 + 7 * len(name)
    out.append(_text(LEFT, y + 32, unit))
    return _file(title, y + 48, out)


def lines(title, each, x_name, y_name, wanted):
    """`each`: {"name", "x", "y", "low", "high"}; x from 0, in powers of ten; y in per
    cent, with a dashed line at what is `wanted`."""
    top, height, left = 45, 300, 70
    highest_y = max(100, *(value for line in each for value in line["high"])) * 1.05
    powers = int(math.ceil(math.log10(max(10, *(x for line in each for x in line["x"])))))

    def at(x, y):
        share = 0 if x < 10 else math.log10(x) / powers
        return left + WIDTH * share, top + height - height * y / highest_y
    out = [_line(left, top + height, left + WIDTH, top + height, "#000"),
           _line(left, top, left, top + height, "#000")]
    for power in range(powers + 1):
        x, _ = at(10 ** power, 0)
        out.append(_text(x, top + height + 16, "0" if power == 0 else f"{10 ** power:,}",
                         'text-anchor="middle" font-size="10"'))
    for value in range(0, int(highest_y) + 1, 20):
        _, y = at(1, value)
        out.append(_line(left, y, left + WIDTH, y, *(
            ("#000", 'stroke-dasharray="6 4"') if value == wanted else ("#ddd",))))
        out.append(_text(left - 6, y + 4, f"{value} %", 'text-anchor="end" font-size="10"'))
    for number, line in enumerate(each):
        colour, aside = OTHERS[number], 4 * number  # so that whiskers lie beside each other
        points = [at(x, y) for x, y in zip(line["x"], line["y"])]
        for x, low, high in zip(line["x"], line["low"], line["high"]):
            (x1, y1), (_, y2) = at(x, low), at(x, high)
            out.append(_line(x1 + aside, y1, x1 + aside, y2, colour))
        joined = " ".join(f"{x + aside:.1f},{y:.1f}" for x, y in points)
        out.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.append(_text(left + 20, top + height - 30 + 16 * number, line["name"],
                         f'fill="{colour}"'))
    out.append(_text(left, top + height + 36, f"{y_name}, over {x_name}"))
    return _file(title, top + height + 50, out, left + WIDTH + 60)
