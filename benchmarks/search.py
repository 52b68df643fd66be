"""Claim: exact search among 100,000 vectors of 768 numbers answers a batch of queries in under 100 ms on a CPU.

Run `python benchmarks/search.py [--vectors 100000] [--width 768] [--batches 1 8 32] [--repeats 15] [--threads N]
[--json OUT]`. Vectors are drawn around 1,000 centres. Measured: milliseconds from a batch of queries to the 10 most
similar vectors of each, for `kinema.search.ExactIndex`; for NumPy, a product with the vectors (scaled beforehand) and a
stable argsort; and for scikit-learn's `NearestNeighbors(algorithm="brute", metric="cosine")`, fitted beforehand. They
take turns, so that a slow moment of the machine falls on all of them; the first round warms up and is not counted. All
three must find the same vectors. Printed: medians with inter-quartile ranges, and the ratio of each to ours.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.neighbors import NearestNeighbors

from kinema.search import ExactIndex

NEIGHBOURS = 10
Search = Callable[[np.ndarray], np.ndarray]


def drawn(vectors: int, width: int) -> tuple[np.ndarray, np.random.Generator]:
    """float32 [vectors, width] around 1,000 centres, and the generator to draw queries by."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1000, width)).astype(np.float32)
    noise = rng.standard_normal((vectors, width), np.float32)
    return centres[rng.integers(1000, size=vectors)] + noise, rng


def searches(vectors: np.ndarray) -> dict[str, Search]:
    """From queries to positions [Q, 10], by name; what can be prepared is prepared here."""
    index = ExactIndex(vectors)
    scaled = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    peer = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute", metric="cosine").fit(vectors)

    def by_numpy(queries: np.ndarray) -> np.ndarray:
        similarity = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ scaled.T
        return np.argsort(-similarity, axis=1, kind="stable")[:, :NEIGHBOURS]

    return {
        "kinema": lambda queries: index.search(queries, NEIGHBOURS).position.numpy(),
        "numpy argsort": by_numpy,
        "scikit-learn brute": lambda queries: peer.kneighbors(queries, return_distance=False),
    }


def measure(found: dict[str, Search], queries: np.ndarray, repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each search, taken in turns after one uncounted round."""
    times: dict[str, list[float]] = {name: [] for name in found}
    for turn in range(repeats + 1):
        answers = {}
        for name, search in found.items():
            start = time.perf_counter()
            answers[name] = search(queries)
            if turn:
                times[name].append(1e3 * (time.perf_counter() - start))
        first, *others = answers.values()
        # Similarities that differ in their last bits may change places.
        assert all((first == other).mean() > 0.999 for other in others)
    return times


def main() -> None:
    """Measure, print the table, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vectors, rng = drawn(arguments.vectors, arguments.width)
    found = searches(vectors)
    print(f"{'queries':>7} {'search':<20} {'median ms':>10} {'IQR ms':>18} {'times ours':>11}")
    rows = []
    for batch in arguments.batches:
        near = vectors[rng.integers(len(vectors), size=batch)]
        queries = near + 0.5 * rng.standard_normal(near.shape, np.float32)
        times = measure(found, queries, arguments.repeats)
        ours = statistics.median(times["kinema"])
        for name, taken in times.items():
            low, median, high = statistics.quantiles(taken, n=4)
            print(f"{batch:7} {name:<20} {median:10.1f}   {low:6.1f} … {high:6.1f} {median / ours:11.1f}")
            rows.append({"queries": batch, "search": name, "milliseconds": taken})
    if arguments.json:
        machine = {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "threads": arguments.threads,
        }
        record = {"machine": machine, "vectors": arguments.vectors, "width": arguments.width, "rows": rows}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
