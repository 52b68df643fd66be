"""Claims: what each backbone weighs and costs; which narrow one trains fastest per clip on a CPU.

Run `python benchmarks/backbones.py --table` for parameters, multiply-accumulates and maps of all backbones at their
published size, as docs/backbones.md shows them; nothing is timed, no network is computed.

Run `python benchmarks/backbones.py [--repeats 5] [--backbones r3d c3d] [--threads 1 2] [--json OUT]` (ten minutes for
four backbones on two idle cores; other work on the machine spoils what uses all its cores). Measured: milliseconds per
clip of a forward pass without gradients and of a training step without the optimiser (forward and backward, train
mode), for every backbone, two widths, two clip sizes and three modes: plain memory format, channels last, and channels
last under bfloat16 autocast, which needs a processor with bfloat16 instructions to be of use. Configurations take
turns, so that a slow moment of the machine falls on all of them; the first round warms up and is not counted. Printed:
median and inter-quartile range, a row per configuration.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from kinema.backbones import BACKBONES, build_backbone, count_macs, count_parameters

SIZES = {"8x64x64": (8, 64, 64), "16x112x112": (16, 112, 112)}
MODES = ("plain", "channels-last", "last+bfloat16")


class Case(NamedTuple):
    """One configuration; all fields as printed."""

    clip: str
    backbone: str
    width: int
    mode: str
    threads: int


def prepare(case: Case, batch: int) -> tuple[nn.Module, torch.Tensor]:
    """The network in train mode and a batch of random clips."""
    torch.manual_seed(0)
    memory_format = torch.contiguous_format if case.mode == "plain" else torch.channels_last_3d
    clips = torch.randn(batch, 3, *SIZES[case.clip]).contiguous(memory_format=memory_format)
    return build_backbone(case.backbone, width=case.width).to(memory_format=memory_format), clips


def forward(network: nn.Module, clips: torch.Tensor) -> None:
    with torch.no_grad():
        network(clips)


def train(network: nn.Module, clips: torch.Tensor) -> None:
    network.zero_grad()
    network(clips).float().square().mean().backward()


def milliseconds(case: Case, batch: int) -> tuple[float, float]:
    """Milliseconds per clip: forward alone, forward and backward."""
    torch.set_num_threads(case.threads)
    network, clips = prepare(case, batch)
    taken = []
    for run in (forward, train):
        with torch.autocast("cpu", torch.bfloat16, enabled=case.mode.endswith("bfloat16")):
            run(network, clips)
            start = time.perf_counter()
            run(network, clips)
        taken.append((time.perf_counter() - start) * 1000 / batch)
    return taken[0], taken[1]


def measure(cases: list[Case], repeats: int, batch: int) -> dict[Case, list[tuple[float, float]]]:
    """`repeats` measurements of each case, in turns."""
    times: dict[Case, list[tuple[float, float]]] = {case: [] for case in cases}
    for turn in range(repeats + 1):
        for case in cases:
            taken = milliseconds(case, batch)
            if turn:
                times[case].append(taken)
    return times


def spread(values: list[float]) -> str:
    """Median and inter-quartile range as one cell."""
    low, median, high = statistics.quantiles(values, n=4)
    return f"{median:7.2f} ({low:6.2f} …{high:7.2f})"


def table_row(name: str) -> str:
    """Name, parameters without head and with 101 classes, multiply-accumulates and map at two sizes, width."""
    with torch.device("meta"):
        network = build_backbone(name)
        head = nn.Linear(network.feature_dim, 101)
    cells = [f"`{name}`", f"{count_parameters(network):,}", f"{count_parameters(network, head):,}"]
    for size in ((16, 112, 112), (16, 224, 224)):
        clip = torch.empty(1, 3, *size, device="meta")
        macs = count_macs(network, clip) / 1e9
        cells.append(f"{macs:.2f}" if macs >= 1 else f"{macs:.3f}")
        cells.append(" x ".join(map(str, network.forward_map(clip).shape[2:])))
    return "| " + " | ".join([*cells, str(network.feature_dim)]) + " |"


def print_table() -> None:
    """All backbones as a Markdown table."""
    heads = ["name", "parameters", "with 101 classes", "GMACs 16x112x112", "map", "GMACs 16x224x224", "map", "features"]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for name in BACKBONES:
        print(table_row(name))


def main() -> None:
    """Measure, print the table, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--backbones", nargs="+", default=["c3d", "c3d_light", "r3d", "r2plus1d"])
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", action="store_true", help="print parameters, operations and maps; time nothing")
    arguments = parser.parse_args()
    if arguments.table:
        print_table()
        return
    choices = product(SIZES, arguments.backbones, arguments.widths, MODES, arguments.threads)
    times = measure([Case(*choice) for choice in choices], arguments.repeats, arguments.batch)
    print(f"{'clip':<11} {'backbone':<12} {'width':>5} {'mode':<13} {'threads':>7}  "
          f"{'forward ms/clip':<25}  forward and backward ms/clip")  # fmt: skip
    for case, taken in times.items():
        cells = [spread([pair[kind] for pair in taken]) for kind in (0, 1)]
        print(f"{case.clip:<11} {case.backbone:<12} {case.width:>5} {case.mode:<13} {case.threads:>7}  "
              f"{cells[0]:<25}  {cells[1]}")  # fmt: skip
    if arguments.json:
        machine = {"torch": torch.__version__, "system": platform.platform(), "cores": os.cpu_count()}
        rows = [{**case._asdict(), "milliseconds": taken} for case, taken in times.items()]
        record = {"machine": machine, "batch": arguments.batch, "rows": rows}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
