"""The command line of the offline part: labels, training, evaluation, export of models."""

from __future__ import annotations

import argparse
from pathlib import Path

_Commands = argparse._SubParsersAction  # the only name argparse has for it


def add_offline(commands: _Commands[argparse.ArgumentParser]) -> None:
    """Add every command of the offline part."""
    _add_dataset(commands)
    _add_pictures(commands)
    _add_train(commands)
    _add_evaluate(commands)


def add_model_export(export: argparse.ArgumentParser) -> None:
    """Add what ``spm-live export MODEL`` can be told; the command itself serves results too."""
    model = export.add_argument_group("a model for another machine")
    model.add_argument("--flavour", choices=("cpu", "tensorrt"), default="cpu", help="operators to use (%(default)s)")
    model.add_argument("--precision", choices=("fp32", "fp16", "int8"), default="fp32", help="(%(default)s)")
    model.add_argument("--batch", type=int, default=1, help="tiles that the network takes at once (%(default)s)")
    model.add_argument("--rows", type=int, help="of a tile, in px (left out: as the model says)")
    model.add_argument("--columns", type=int, help="of a tile, in px (left out: as the model says)")
    model.add_argument("--max-detections", type=int, help="most molecules in a tile (left out: as the model says)")
    model.add_argument(
        "--weight-bits",
        type=int,
        choices=(7, 8),
        default=8,
        help="of int8; 7: no VNNI needed (%(default)s)",
    )
    model.add_argument(
        "--pictures", nargs="+", type=Path, help="labelled pictures to calibrate int8 with and to compare counts on"
    )


def _add_dataset(commands: _Commands[argparse.ArgumentParser]) -> None:
    dataset = commands.add_parser("dataset", help="look labelled pictures over before they are learnt from")
    kinds = dataset.add_subparsers(dest="kind", required=True, metavar="check|tsne")
    check = kinds.add_parser("check", help="report what is wrong, and draw a contact sheet")
    _add_data(check)
    check.add_argument("--sheet", type=Path, help="draw every picture with its labels into this PNG")
    tsne = kinds.add_parser("tsne", help="find labels that look like another class")
    tsne.add_argument(
        "data", nargs="+", type=Path, help="labelled pictures; or a folder with a folder of crops a class"
    )
    _add_labels(tsne)
    tsne.add_argument("-o", "--out", type=Path, required=True, help="figure to write: .png, .svg or .pdf")
    tsne.add_argument("--perplexity", type=float, default=10.0, help="(%(default)s)")
    tsne.add_argument("--learning-rate", type=float, default=100.0, help="(%(default)s)")
    tsne.add_argument("--iterations", type=int, default=2000, help="(%(default)s)")
    tsne.add_argument("--angle", type=float, default=0.1, help="(%(default)s)")
    tsne.add_argument("--seed", type=int, default=0, help="(%(default)s)")


def _add_pictures(commands: _Commands[argparse.ArgumentParser]) -> None:
    augment = commands.add_parser("augment", help="make more pictures out of few labelled ones, or see how they look")
    _add_data(augment)
    augment.add_argument("--recipe", default="standard", help="name of a recipe, or combination (%(default)s)")
    augment.add_argument("--preview", type=Path, help="draw a sheet with a tile of each technique into this PNG")
    augment.add_argument("-o", "--out", type=Path, help="folder for pictures with labels")
    augment.add_argument("--count", type=int, default=20, help="pictures to make (%(default)s)")
    augment.add_argument("--size", type=int, default=256, help="rows and columns of a picture (%(default)s)")
    augment.add_argument("--seed", type=int, default=0, help="one seed, one set of pictures (%(default)s)")
    synthesize = commands.add_parser("synthesize", help="draw labelled scans that nobody measured")
    synthesize.add_argument("-o", "--out", type=Path, required=True, help="folder for .sxm files and labels")
    synthesize.add_argument("--count", type=int, default=20, help="scans to draw (%(default)s)")
    synthesize.add_argument("--seed", type=int, default=0, help="one seed, one set of scans (%(default)s)")
    synthesize.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_train(commands: _Commands[argparse.ArgumentParser]) -> None:
    train = commands.add_parser("train", help="train a model on labelled pictures, and export it")
    train.add_argument(
        "data", nargs="*", type=Path, help="labelled pictures: files and folders (none: drawn scans only)"
    )
    _add_labels(train)
    train.add_argument("-o", "--out", type=Path, required=True, help="folder of the model that is made")
    train.add_argument("--config", type=Path, metavar="FILE", help="training settings, TOML (left out: fine-tuning)")
    train.add_argument("--start-from", help="name or folder of a model, .npz, or mask_rcnn_coco.h5")
    train.add_argument("--work", type=Path, help="checkpoints, log and report (left out: beside the model)")
    train.add_argument("--steps", type=int, help="steps of the last stage, in place of the configuration's")
    train.add_argument("--seed", type=int, help="in place of the configuration's")
    train.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_evaluate(commands: _Commands[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser("evaluate", help="judge a model on labelled pictures that it was not trained on")
    evaluate.add_argument("model", help="name or folder of a model")
    _add_data(evaluate)
    evaluate.add_argument("-o", "--out", type=Path, required=True, help="folder for numbers, figures and report")
    evaluate.add_argument("--min-score", type=float, help="threshold (left out: the model's)")
    evaluate.add_argument(
        "--overlap", choices=("mask", "box"), default="mask", help="for the paper's measures (%(default)s)"
    )
    evaluate.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="X1,Y1,X2,Y2[,PICTURE]",
        help="judge nothing that has its centre in this rectangle, in px; may be repeated",
    )
    evaluate.add_argument("--border-px", type=float, help="judge nothing that comes this near to the picture's border")
    evaluate.add_argument("--no-studies", action="store_true", help="leave out low resolution and disturbed pictures")
    evaluate.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data", nargs="+", type=Path, help="labelled pictures: files and folders, labelme, COCO, stores"
    )
    _add_labels(parser)


def _add_labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--serial",
        choices=("auto", "always", "never"),
        default="auto",
        help="whether digits at the end of a label are a serial number (%(default)s)",
    )
    parser.add_argument("--label-pattern", metavar="REGEX", help="its first group is the class, in place of --serial")
    parser.add_argument(
        "--rename", action="append", default=[], metavar="OLD=NEW", help="name a class anew; repeatable"
    )
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="LABEL", help="marks places nobody knows about"
    )
    parser.add_argument("--nm-per-px", type=float, help="scale of pictures that do not know it, in nm")
