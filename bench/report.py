"""Tables of what was measured, as Markdown, and the files that are kept."""
import json
import pathlib

import calls
import plot
from machine import median

RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def _own(runs, name):
    return [run for run in runs if run["server"] == name]


def _rate(runs, name):
    return median(run["rate"] for run in _own(runs, name))


def _ratios(runs, over, key="rate"):
    """Hayauma's over another's of the same round, in which the machine was the same."""
    ours, theirs = ({run["round"]: run[key] for run in _own(runs, name)}
                    for name in ("hayauma", over))
    return [ours[number] / theirs[number] for number in ours
            if ours[number] and theirs.get(number)]


def _ratio(runs, over, key="rate"):
    """The median of all rounds; None when there is none with both."""
    return median(_ratios(runs, over, key))


def verdicts(row, runs):
    """[(what was hoped for, what was measured, is_met)]."""
    found = []
    ratio, ours = _ratio(runs, row.against), _rate(runs, "hayauma")
    if row.ratio and ratio:
        found.append((f"{row.ratio:g} × {row.against}", f"{ratio:.1f} ×", ratio >= row.ratio))
    if row.rate and ours:
        found.append((f"{row.rate:,.0f}/s", f"{ours:,.0f}/s", ours >= row.rate))
    share = _ratio(runs, row.against, "p99_ms")
    if row.p99 and share:
        found.append((f"p99 ≤ {row.p99:g} of {row.against}'s", f"{share:.2f}", share <= row.p99))
    return found


def _beside(runs, name):
    """How fast we are beside another; of the floor, how much of it is reached."""
    ratios = _ratios(runs, name)
    if name == "hayauma" or not ratios:
        return ""
    ratio, least, most = median(ratios), min(ratios), max(ratios)
    if name == "floor":
        return f"{ratio:.0%} of it ({least:.0%}–{most:.0%})"
    return f"{ratio:.1f} × ({least:.1f}–{most:.1f})"


def rate_table(rows, measured):
    lines = ["| row | server | rate (least–most) | CPU µs each | 250 p50 / p99 ms | Hayauma is |",
             "|---|---|---|---|---|---|"]
    for row in rows:
        runs = measured.get(row.key, [])
        for name in row.names:
            own = _own(runs, name)
            if not own:
                continue
            rates = [run["rate"] for run in own]
            times = [median(run[key] for run in own) for key in ("p50_ms", "p99_ms")]
            beside = _beside(runs, name)
            lines.append(
                f"| {row.title} | {name} | {median(rates):,.0f} "
                f"({min(rates):,.0f}–{max(rates):,.0f}) "
                f"{'rcpt/s' if row.recipients > 1 else '/s'} "
                f"| {median(run['cpu_us_all'] for run in own):,.0f} "
                f"| {times[0]:.1f} / {times[1]:.1f} "
                f"| {beside} |")
    return "\n".join(lines)


def target_table(rows, series, result):
    lines = ["| row | hoped for | measured | |", "|---|---|---|---|"]
    for row in rows:
        for wanted, got, is_met in verdicts(row, result["rows"].get(row.key, [])):
            lines.append(f"| {row.title} | {wanted} | {got} | {'met' if is_met else '**short**'} |")
    for one in series:
        said = result["series"].get(one.key)
        for wanted, is_met in said["targets"] if said else []:
            lines.append(f"| {one.title} | {wanted} | "
                         f"{'; '.join(f'{k} {v}' for k, v in list(said['facts'].items())[:4])} "
                         f"| {'met' if is_met else '**short**'} |")
    return "\n".join(lines)


def processes(runs, name="hayauma"):
    """Median CPU time each, by process."""
    own = _own(runs, name)
    parts = dict.fromkeys(part for run in own for part in run["cpu_us"])
    return {part: median(run["cpu_us"].get(part, 0) for run in own) for part in parts}


def process_table(rows, measured):
    lines = ["| row | server | CPU µs each, by process (in brackets: the generator) |",
             "|---|---|---|"]
    for row in rows:
        for name in ("hayauma", "floor"):
            parts = processes(measured.get(row.key, []), name)
            if parts:
                lines.append(f"| {row.title} | {name} | " + ", ".join(
                    f"{part} {us:.1f}" for part, us in parts.items()) + " |")
    return "\n".join(lines)


def call_table(rows, counted):
    lines = ["| row | server | system calls each | by process |", "|---|---|---|---|"]
    for row in rows:
        for name, found in counted.get(row.key, {}).items():
            if found:
                each = "; ".join(f"{process}: {calls.most(own, 4)}"
                                 for process, own in found.items() if calls.most(own, 4))
                lines.append(f"| {row.title} | {name} | {calls.total(found):.2f} | {each} |")
    return "\n".join(lines)


def series_text(series, result):
    parts = []
    for one in series:
        said = result["series"].get(one.key)
        if said:
            facts = "\n".join(f"- {name}: {value}" for name, value in said["facts"].items())
            parts.append(f"### {one.title}\n\n{facts}")
    return "\n\n".join(parts)


def text(result, rows, series):
    measured = {row.key for row in rows} & set(result["rows"])
    shown = [row for row in rows if row.key in measured]
    parts = []
    if shown:
        parts += ["## Rates\n\n" + rate_table(shown, result["rows"])]
    parts += ["## Targets\n\n" + target_table(shown, series, result)]
    if shown:
        parts += ["## Where the time goes\n\n" + process_table(shown, result["rows"])]
    if any(any(each.values()) for each in result["calls"].values()):
        parts += ["## System calls\n\n" + call_table(shown, result["calls"])]
    if result["series"]:
        parts += ["## As things grow, and idle\n\n" + series_text(series, result)]
    if result["took"]:
        parts += ["## How long it took\n\n" + ", ".join(
            f"{key} {seconds} s" for key, seconds in result["took"].items())
            + f"; all {sum(result['took'].values()) / 60:.0f} minutes"]
    if result["failed"]:
        parts += ["## Failed\n\n" + "\n".join(f"- {key}: {why.splitlines()[0] if why else '?'}"
                                              for key, why in result["failed"].items())]
    return "\n\n".join(parts)


def _bar_groups(rows, measured, key):
    """For plot.bars(): each row, and its servers' medians, least and most."""
    groups = []
    for row in rows:
        each = []
        for name in row.names:
            values = [run[key] for run in _own(measured[row.key], name) if run[key]]
            if values:
                each.append((name, median(values), min(values), max(values)))
        groups.append((row.title, each))
    return groups


def plots(result, rows, series):
    """{file name: SVG}."""
    measured = result["rows"]
    shown = [row for row in rows if row.key in measured]
    stacked = [(row.title + (": floor" if name == "floor" else ""),
                processes(measured[row.key], name))
               for row in shown for name in ("hayauma", "floor") if _own(measured[row.key], name)]
    out = {}
    if shown:
        out["rates.svg"] = plot.bars("Rates", _bar_groups(shown, measured, "rate"),
                                     "messages or recipients a second", True)
        waits = [row for row in shown if row.recipients == 1]
        out["waits.svg"] = plot.bars("p99 of the wait for the 250",
                                     _bar_groups(waits, measured, "p99_ms"), "ms", True)
    if stacked:
        out["processes.svg"] = plot.stacks("CPU time a message, by process", stacked,
                                           "µs; in brackets the generator's")
    flat = [line for one in series for line in result["series"].get(one.key, {}).get("lines", [])]
    if flat:
        out["growth.svg"] = plot.lines(
            "Rate as queue and mailbox grow", flat, "messages there already",
            "share of an empty server's rate (medians and quartiles)", 80)
    return out


def keep(result, rows, series):
    """Writes all files into a folder of its own; the folder."""
    folder = RESULTS / result["conditions"]["date"][:16].replace(":", "")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "runs.json").write_text(json.dumps(result, indent=1) + "\n")
    drawn = plots(result, rows, series)
    for name, svg in drawn.items():
        (folder / name).write_text(svg)
    facts = "\n".join(f"- {name}: {value}" for name, value in result["conditions"].items())
    pictures = "\n".join(f"![{name}]({name})" for name in drawn)
    (folder / "README.md").write_text(
        f"# {result['conditions']['date']}\n\n{facts}\n\n{text(result, rows, series)}\n\n"
        f"{pictures}\n")
    (RESULTS / "README.md").write_text(index())
    return folder


def index():
    """All results, newest first, and the newest plot of each kind."""
    lines, newest = ["# What was measured, newest first", ""], {}
    for folder in sorted((each.parent for each in RESULTS.glob("*/runs.json")), reverse=True):
        result = json.loads((folder / "runs.json").read_text())
        keys = ", ".join([*result["rows"], *result["series"]])
        lines.append(f"- [{folder.name}]({folder.name}/README.md), "
                     f"{result['conditions']['commit']}: {keys}")
        for plotted in sorted(folder.glob("*.svg")):
            newest.setdefault(plotted.name, f"{folder.name}/{plotted.name}")
    return "\n".join([*lines, ""] + [f"![{path}]({path})" for path in newest.values()]) + "\n"
