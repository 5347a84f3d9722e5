"""An evaluation for people: Markdown, and one HTML file with the curves."""

from __future__ import annotations

from html import escape
from typing import Any

from unflux.evaluate.run import Evaluation, Measured

CAUTION = (
    "Numbers on emulated data say how detectors compare on the behaviour that the data card "
    "describes. They are not the number of false alarms on a real network: that depends on which "
    "names it asks for."
)
COLOURS = (
    "#0b6e4f", "#c8553d", "#3d5a98", "#8a5fa8", "#b08900", "#5b6770", "#d1495b", "#2e86ab",
    "#7a9e1f", "#a23b72", "#1b998b", "#e07a5f", "#4a4e69",
)  # fmt: skip


def markdown(result: Evaluation, title: str) -> str:
    """The whole evaluation as a page."""
    return "\n".join([f"# {title}", "", *_body(result)]) + "\n"


def _body(result: Evaluation) -> list[str]:
    return [
        *_about(result),
        *_overview(result),
        *_refitted(result),
        *delays(result),
        *_kinds(result),
        *_networks(result),
    ]


def _refitted(result: Evaluation) -> list[str]:
    """Thresholds as published beside re-fitted ones, and kinds that the training never met."""
    some = [(one, one.refitted) for one in result.detectors if one.refitted is not None]
    if not some:
        return []
    lines = [
        "Thresholds as published, and re-fitted to one false alarm in a thousand training names; "
        "the last columns leave each preset and each look-alike out of the training in turn:",
        "",
        "| detector | recall, published | false alarms | recall, re-fitted | false alarms "
        "| worst preset never met | worst look-alike never met |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one, fitted in some:
        flux = {kind: share for kind, share in fitted.unmet.items() if one.by_kind[kind]["flux"]}
        others = {kind: share for kind, share in fitted.unmet.items() if kind not in flux}
        worst = min(flux, key=flux.__getitem__) if flux else None
        alike = max(others, key=others.__getitem__) if others else None
        lines.append(
            f"| {one.id} | {number(one.recall)} | {one.false_positives} "
            f"| {number(fitted.recall)}{span(fitted.recall_interval)} | {fitted.false_positives} "
            f"| {f'{worst} {flux[worst]:.3f}' if worst else '–'} "
            f"| {f'{alike} {others[alike]:.3f}' if alike else '–'} |"
        )
    return [*lines, "", *unmet(result)]


def unmet(result: Evaluation) -> list[str]:
    """Each preset and each look-alike left out of the training that the threshold comes from."""
    some = [(one, one.refitted) for one in result.detectors if one.refitted is not None]
    if not some:
        return []
    lines = [
        "Share called flux of each kind by a threshold whose training never met that kind (one "
        "preset, one look-alike left out at a time; flux in bold):",
        "",
        "| kind left out | names | " + " | ".join(one.id for one, _ in some) + " |",
        "| --- | --- |" + " --- |" * len(some),
    ]
    for kind in _flux_first(result):
        cells = " | ".join(f"{fitted.unmet[kind]:.3f}" for _, fitted in some)
        lines.append(f"| {_marked(result, kind)} | {result.kinds[kind]} | {cells} |")
    return [*lines, ""]


def _networks(result: Evaluation) -> list[str]:
    """Every flux network by itself."""
    heads = " | ".join(one.id for one in result.detectors)
    lines = [
        "Share called flux of each flux network (with networks split, each is one that no training "
        "met):",
        "",
        f"| network | kind | names | {heads} |",
        "| --- | --- | --- |" + " --- |" * len(result.detectors),
    ]
    for name, entry in sorted(result.detectors[0].by_network.items(), key=_kind_of):
        cells = " | ".join(f"{one.by_network[name]['called_flux']:.3f}" for one in result.detectors)
        lines.append(f"| {name} | {entry['kind']} | {entry['n']} | {cells} |")
    return [*lines, ""] if len(lines) > 4 else []


def _kind_of(entry: tuple[str, dict[str, Any]]) -> tuple[str, str]:
    return entry[1]["kind"], entry[0]


def _flux_first(result: Evaluation) -> list[str]:
    return sorted(
        result.kinds, key=lambda kind: (not result.detectors[0].by_kind[kind]["flux"], kind)
    )


def _marked(result: Evaluation, kind: str) -> str:
    return f"**{kind}**" if result.detectors[0].by_kind[kind]["flux"] else kind


def delays(result: Evaluation) -> list[str]:
    """Median time to the first verdict of flux."""
    some = [(one, one.delay) for one in result.detectors if one.delay is not None]
    if not some:
        return []
    groups = list(some[0][1])
    lines = [
        "Median delay to the first verdict of flux, in fresh answers with its 95 % interval (TTLs, "
        "seconds); a dash where half of the names never got one:",
        "",
        "| flux names | n | " + " | ".join(one.id for one, _ in some) + " |",
        "| --- | --- |" + " --- |" * len(some),
    ]
    for group in groups:
        cells = []
        for _, found in some:
            one = found[group]
            known = one.fresh_answers is not None
            cells.append(
                f"{one.fresh_answers:.0f}{whole(one.fresh_answers_interval)} "
                f"({number(one.ttls, 1)}, {number(one.seconds, 0)} s)"
                if known
                else "–"
            )
        lines.append(f"| {group} | {some[0][1][group].names} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _about(result: Evaluation) -> list[str]:
    names = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in result.names.items())
    spots = [" ".join(result.blind_spots), ""] if result.blind_spots else []
    return [f"{names}; {result.days:.2f} days.", "", *spots, CAUTION, ""]


def _overview(result: Evaluation) -> list[str]:
    lines = [
        "| detector | PR-AUC | recall | false alarms | rate ≤ | TPR at FPR 1e-2 / 1e-3 / 1e-4 | "
        "F1 single / double / ns | Brier |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in result.detectors:
        rates = " / ".join(number(one.tpr_at_fpr[key]) for key in one.tpr_at_fpr)
        f1 = " / ".join(number(value) for value in one.f1.values())
        upper = one.false_positive_interval[1] if one.false_positive_interval else None
        lines.append(
            f"| {one.id} v{one.version} | {number(one.pr_auc)}{span(one.pr_auc_interval)} | "
            f"{number(one.recall)}{span(one.recall_interval)} | {one.false_positives} | "
            f"{number(upper, 5)} | {rates} | {f1} | {number(one.brier)} |"
        )
    return [*lines, ""]


def _kinds(result: Evaluation) -> list[str]:
    """Share called flux, by kind: a recall for flux, a false-positive rate for the others."""
    heads = " | ".join(one.id for one in result.detectors)
    lines = [f"| kind | names | {heads} |", "| --- | --- |" + " --- |" * len(result.detectors)]
    for kind in _flux_first(result):
        cells = " | ".join(_cell(one.by_kind[kind]) for one in result.detectors)
        lines.append(f"| {_marked(result, kind)} | {result.kinds[kind]} | {cells} |")
    return ["Share called flux, and in brackets ambiguous, by kind (flux in bold):", "", *lines, ""]


def _cell(entry: dict[str, Any]) -> str:
    ambiguous = entry["verdicts"].get("ambiguous", 0) / entry["n"]
    return f"{entry['called_flux']:.3f}" + (f" ({ambiguous:.2f})" if ambiguous else "")


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def span(ends: tuple[float, float] | None) -> str:
    """An interval in brackets."""
    return "" if ends is None else f" [{ends[0]:.3f}, {ends[1]:.3f}]"


def whole(ends: tuple[float, float] | None) -> str:
    """The same of counts."""
    return "" if ends is None else f" [{ends[0]:.0f}, {ends[1]:.0f}]"


def html(result: Evaluation, title: str) -> str:
    """The same as one HTML file that needs nothing else."""
    body = "".join(
        _html_table(lines) if lines[0].startswith("|") else f"<p>{escape(' '.join(lines))}</p>"
        for lines in _blocks(_body(result))
    )
    curves = f"<h2>Precision and recall</h2>{_svg(result.detectors)}"
    style = (
        "body{font:15px system-ui;margin:2rem auto;max-width:72rem;padding:0 1rem}"
        "table{border-collapse:collapse;margin:1rem 0}td,th{border-bottom:1px solid #ccc;"
        "padding:.25rem .6rem;text-align:left;font-variant-numeric:tabular-nums}"
        "@media(prefers-color-scheme:dark){body{background:#16191d;color:#e6e6e6}}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{style}</style><h1>{escape(title)}</h1>{body}{curves}</html>\n"
    )


def _blocks(lines: list[str]) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line:
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _html_table(lines: list[str]) -> str:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell.replace('**', ''))}</td>" for cell in row) + "</tr>"
        for row in rows[2:]
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _svg(detectors: list[Measured]) -> str:
    """Curves of recall (to the right) and precision (up), each named at its end."""
    width, height, margin = 640, 420, 45
    lines = []
    for place, one in enumerate(detectors):
        points = " ".join(
            f"{margin + recall * (width - 2 * margin):.1f},"
            f"{height - margin - precision * (height - 2 * margin):.1f}"
            for recall, precision in one.curve
        )
        colour = COLOURS[place % len(COLOURS)]
        lines.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>'
        )
        lines.append(
            f'<text x="{width - margin + 6}" y="{margin + 18 * place}" fill="{colour}">'
            f"{escape(one.id)}</text>"
        )
    axes = (
        f'<path d="M{margin},{margin}V{height - margin}H{width - margin}" fill="none" '
        f'stroke="#888"/><text x="{width // 2}" y="{height - 10}">recall</text>'
        f'<text x="5" y="{margin - 12}">precision</text>'
    )
    return (
        f'<svg viewBox="0 0 {width + 140} {height}" role="img" '
        f'aria-label="Precision and recall of each detector" '
        f'style="font:13px system-ui;fill:currentColor;max-width:100%">{axes}{"".join(lines)}</svg>'
    )
