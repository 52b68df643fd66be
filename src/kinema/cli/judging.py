"""Commands that produce evidence."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinema.cli.commands import Commands


def add_evaluate(commands: Commands) -> None:
    """`kinema evaluate`."""
    parser = commands.add_parser("evaluate", help="measure a trained encoder on labelled videos, beside its baselines")
    parser.add_argument(
        "run_folder",
        metavar="RUN",
        help="run folder of pretrain, folder of embeddings, or hf:PATH of another network",
    )
    parser.add_argument("-o", "--out", type=Path, default=None, help="results of hf:PATH (default: runs/hf-NAME)")
    parser.add_argument("--data", type=Path, default=None, help="labelled manifest, CSV, or folder per class")
    parser.add_argument("--protocol", default="knn,linear,retrieval", help="comma-separated protocols")
    parser.add_argument("--folds", default=None, metavar="COLUMN", help="leave one value of this column out at a time")
    parser.add_argument("--within", default=None, metavar="COLUMN", help="never mix values of this column in a fold")
    parser.add_argument("--views", default="uniform10", help="clips and crops per video (default: uniform10)")
    parser.add_argument("--name", default=None, help="name of this evaluation (default: the data's)")
    parser.add_argument(
        "--baseline", action="append", default=[], metavar="hf:PATH", help="compare with this frozen network, too"
    )
    parser.add_argument("--skip-broken", action="store_true", help="evaluate without files that cannot be read")
    parser.add_argument("--method", default=None, help="repeat package.module:Class of a method from outside")
    parser.add_argument("--workers", type=int, default=None, help="processes that read videos")
    parser.epilog = (
        "Further options as key=value: label=COLUMN, group=COLUMN, shots=10, fraction=0.1, examples=1000, draws=3, "
        "pixels=false, scratch=false, finetune.epochs=5, propagation.resize=short240 …"
    )
    parser.set_defaults(run=_evaluate, overrides=[])


def _evaluate(options: argparse.Namespace) -> None:
    from kinema.app.evaluating import evaluate_embeddings_to_screen, evaluate_to_screen
    from kinema.errors import DataError
    from kinema.evaluation.stored import is_embeddings

    protocols = tuple(options.protocol.split(","))
    if options.data is None:
        if not is_embeddings(Path(options.run_folder)):
            raise DataError(f"{options.run_folder} is no folder of embeddings: name the videos with --data")
        evaluate_embeddings_to_screen(
            Path(options.run_folder),
            protocols=protocols,
            folds=options.folds,
            within=options.within,
            name=options.name,
            overrides=options.overrides,
        )
        return
    evaluate_to_screen(
        options.run_folder,
        options.data,
        out=options.out,
        protocols=protocols,
        folds=options.folds,
        within=options.within,
        views=options.views,
        name=options.name,
        skip_broken=options.skip_broken,
        method=options.method,
        workers=options.workers,
        baselines=options.baseline,
        overrides=options.overrides,
    )


def add_compare(commands: Commands) -> None:
    """`kinema compare`."""
    parser = commands.add_parser("compare", help="set runs side by side that were evaluated on the same videos")
    parser.add_argument("folders", metavar="RUN", type=Path, nargs="+", help="evaluated runs, or folders of embeddings")
    parser.add_argument("--protocol", default=None, help="comma-separated protocols (default: all that every run has)")
    parser.add_argument("--name", default=None, help="name of the evaluations (default: the one that all runs have)")
    parser.add_argument("-o", "--out", type=Path, default=None, help="page to write: .html, or .md for the tables")
    parser.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> None:
    from kinema.app.comparing import compare_to_screen

    protocols = tuple(options.protocol.split(",")) if options.protocol else ()
    compare_to_screen(options.folders, protocols=protocols, name=options.name, out=options.out)


def add_embed(commands: Commands) -> None:
    """`kinema embed`."""
    parser = commands.add_parser("embed", help="write the vectors of videos under a trained encoder to a folder")
    parser.add_argument(
        "run_folder", metavar="RUN", help="run folder written by pretrain, or hf:PATH; with --segments also pixels"
    )
    parser.add_argument("--data", type=Path, required=True, help="manifest, CSV, or folder of videos")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--segments",
        type=float,
        nargs="?",
        const=5.0,
        default=None,
        metavar="SECONDS",
        help="one vector for each stretch of so many seconds (default: 5), one array per video",
    )
    parser.add_argument("--overlap", type=float, default=0.0, metavar="SECONDS", help="shared by neighbouring segments")
    parser.add_argument(
        "--views", default=None, help="clips and crops per video or segment (default: uniform10; of segments: uniform3)"
    )
    parser.add_argument("--skip-broken", action="store_true", help="go on without files that cannot be read")
    parser.add_argument("--method", default=None, help="repeat package.module:Class of a method from outside")
    parser.add_argument("--workers", type=int, default=None, help="processes that read videos")
    parser.set_defaults(run=_embed)


def _embed(options: argparse.Namespace) -> None:
    from kinema.app.evaluating import embed_to_folder

    if options.segments is not None:
        from kinema.app.segmenting import segments_to_folder
        from kinema.evaluation.segments import Cutting

        cutting = Cutting(options.segments, options.overlap, options.views or "uniform3")
        named, data, out = options.run_folder, options.data, options.out
        segments_to_folder(named, data, out, cutting, method=options.method, workers=options.workers)
        return
    embed_to_folder(
        options.run_folder,
        options.data,
        options.out,
        views=options.views or "uniform10",
        skip_broken=options.skip_broken,
        method=options.method,
        workers=options.workers,
    )


def add_segments(commands: Commands) -> None:
    """`kinema segments`."""
    parser = commands.add_parser(
        "segments", help="find hidden segments of long videos by what a run predicts, or read numbers off its features"
    )
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="run folder of lv-mae")
    parser.add_argument("--data", type=Path, required=True, help="folder of embed --segments, or table with features")
    parser.add_argument("--ratio", type=float, default=0.5, help="share of the segments that is hidden (default: 0.5)")
    parser.add_argument(
        "--masking", choices=("random", "low_similarity", "high_similarity"), default="random", help="which are hidden"
    )
    parser.add_argument("--seed", type=int, default=0, help="of random masks")
    parser.add_argument("--name", default=None, help="name of this evaluation (default: the data's)")
    parser.add_argument(
        "--regress", default=None, metavar="COLUMN", help="tell this column instead (two: LIKES,DISLIKES)"
    )
    parser.add_argument(
        "--transform", choices=("none", "log_views", "like_ratio"), default="none", help="of what is told"
    )
    parser.add_argument("--method", default=None, help="repeat package.module:Class of a method from outside")
    parser.set_defaults(run=_segments)


def _segments(options: argparse.Namespace) -> None:
    from kinema.app.segment_judging import regression_to_screen, segments_to_screen
    from kinema.evaluation.masked_segments import Hiding

    run, data, method = options.run_folder, options.data, options.method
    if options.regress is not None:
        regression_to_screen(run, data, tuple(options.regress.split(",")), options.transform, method=method)
        return
    hiding = Hiding(options.ratio, options.masking, seed=options.seed)
    segments_to_screen(run, data, hiding, name=options.name, method=method)


def add_report(commands: Commands) -> None:
    """`kinema report`."""
    parser = commands.add_parser("report", help="write one HTML page about a run")
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="run folder written by pretrain")
    parser.add_argument("-o", "--out", type=Path, default=None, help="file to write (default: RUN/report.html)")
    parser.add_argument("--redact", action="store_true", help="leave out every picture of the videos (faces)")
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> None:
    from kinema.report import write_report

    print(f"report: {write_report(options.run_folder, options.out, redact=options.redact)}")
