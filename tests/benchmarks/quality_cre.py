"""The published cluster statistics of CRE-Router (arXiv 2606.27457, Apache-2.0) through `latency_regions`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tables

from router_integrations.estimators.cluster_latency import ClusterStatistics
from router_integrations.latency_regions import Region, regions, within

BUDGET = 20.0
TITLES = {"aime": "AIME 1983-2023", "teleqna": "TeleQnA"}
# Lowest weight: accuracy in per cent, milliseconds per token, efficiency where it was printed. Reported.
REGIONS = {
    "aime": {0.0: ("94.4", "24.8", ""), 0.052: ("92.1", "18.4", "0.353"), 0.067: ("90.7", "15.4", ""),
             0.099: ("87.2", "9.2", "0.457")},
    "teleqna": {0.0: ("75.9", "26.0", ""), 0.066: ("72.1", "19.8", "0.622"), 0.075: ("69.0", "15.4", "")},
}  # fmt: skip
# Accuracy of the first stage alone, then accuracy, ms per token and seconds to the end with the second: reported.
SYSTEMS = {"aime": ("86.4", "88.4", "9.75", "156.3"), "teleqna": ("71.2", "74.2", "23.65", "1.127")}


def statistics(stored: dict[str, Any]) -> ClusterStatistics:
    """The statistics of a file of cluster errors and milliseconds per token."""
    sizes, models = stored["cluster_sizes"], stored["models"]
    return ClusterStatistics(
        names=tuple(models),
        quality=np.array([[1 - one["errors"][key] for one in models.values()] for key in sizes]),
        latency=np.array(
            [[one.get("cluster_tpot_ms", {}).get(key, one.get("tpot_ms")) for one in models.values()] for key in sizes]
        ),
        queries=np.array(list(sizes.values()), dtype=float),
    )


def system(stored: dict[str, Any]) -> tuple[float, float, float, float]:
    """Accuracy of the first stage; accuracy, milliseconds per token and milliseconds to the end of both stages."""
    totals = np.zeros(4)
    for key, size in stored["cluster_sizes"].items():
        first = stored["models"][stored["assignment"][key]]
        alone = 1 - first["errors"][key]
        each, end = first["cluster_tpot_ms"][key], first["cluster_e2el_ms"][key]
        if key in stored["escalations"]:
            name, count = stored["escalations"][key]
            second = stored["models"][name]
            # Whoever waits for two answers reads one: all the time is spent on the tokens of the last.
            tokens = [one["cluster_output_tokens"][key] for one in (first, second)]
            both = each * tokens[0] / tokens[1] + second["cluster_tpot_ms"][key]
            share = count / size
            each, end = (1 - share) * each + share * both, end + share * second["cluster_e2el_ms"][key]
        totals += size * np.array([alone, stored["cascade_accuracy"].get(key, alone), each, end])
    accuracy, with_second, each, end = totals / sum(stored["cluster_sizes"].values())
    return float(accuracy), float(with_second), float(each), float(end)


def _row(name: str, one: Region, chosen: Region) -> list[str]:
    reported = REGIONS[name][round(one.low, 3)]
    return [
        f"[{one.low:.3f}, {one.high:.3f})" + (" λ\\*" if one is chosen else ""),
        ", ".join(f"C{cluster} {model}" for cluster, model in enumerate(one.choices)),
        f"{100 * one.quality:.1f} ({reported[0]})",
        f"{one.latency:.1f} ({reported[1]})",
        f"{one.efficiency:.3f}" + (f" ({reported[2]})" if reported[2] else ""),
    ]


def report(data: Path) -> str:
    """The table, in Markdown; what was reported stands in brackets."""
    parts = [
        "# CRE-Router's first stage",
        "All policies of `latency_regions.regions` on the published cluster statistics of CRE-Router "
        "(arXiv 2606.27457) "
        f"and the one that `within` takes for {BUDGET:g} ms per token. Reported figures in brackets; what follows from "
        "given statistics has no interval. The second stage's escalations and accuracies were measured by the authors: "
        "its row checks the arithmetic of latency only, and no estimator of quality. AIME24 has 30 questions.",
    ]
    for name, title in TITLES.items():
        stored = {
            kind: json.loads((data / "cre" / f"{name}_{kind}.json").read_text()) for kind in ("stats", "cascade_test")
        }
        found = regions(statistics(stored["stats"]))
        chosen = within(found, latency=BUDGET)
        header = ["weight λ", "who is asked", "accuracy %", "ms per token", "η, points per ms"]
        parts += [f"## {title}, train statistics", tables.markdown(header, [_row(name, one, chosen) for one in found])]
        first, both, each, end = system(stored["cascade_test"])
        ours = (f"{100 * first:.1f}", f"{100 * both:.1f}", f"{each:.2f}", f"{end / 1000:.4g}")
        cells = [f"{one} ({theirs})" for one, theirs in zip(ours, SYSTEMS[name], strict=True)]
        header = ["λ\\*", "stage 1 alone, %", "both stages, %", "ms per token", "s to the end"]
        parts += [f"{title}, system on test", tables.markdown(header, [[f"{chosen.weight:.2f}", *cells]])]
    return "\n\n".join(parts)
