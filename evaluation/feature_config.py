"""Options of evaluate_features.py. Imports no PyTorch: --help is fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from evaluation.config import HashCodeOptions
from utils.options import option, parse_bundle
from utils.parser import Parser, path_argument, positive_int

MOST_BITS = 64  # of the codes, unless --bits is given
ARRAYS = "`features` (n, d), floats or codes (bool, 0 and 1, or -1 and 1), and `labels` (n,), class ids from 0"


@dataclass(frozen=True)
class FeatureOptions:
    """The files to score."""

    title: ClassVar[str] = "features"
    query: Path = option(
        None, required=True, type=path_argument, help=f"Q.npz with arrays {ARRAYS}; optional `paths` (n,): names of the queries"
    )
    gallery: Path = option(
        None, required=True, type=path_argument, help="G.npz with the same arrays; optional `names` (classes,): class names"
    )
    keep_norms: bool = option(False, help="rank the rows as they are; otherwise each row is L2-normalised first")


@dataclass(frozen=True)
class FeatureCodeOptions(HashCodeOptions):
    """Hash codes of the features."""

    no_hash: bool = option(False, dashed=True, help="rank by the features only, without hash codes")
    bits: int | None = option(None, type=positive_int, help=f"length of the codes; default: d, but at most {MOST_BITS}")


@dataclass(frozen=True)
class FeatureOutputOptions:
    """Files to write."""

    title: ClassVar[str] = "what is written"
    results: Path | None = option(
        None, type=path_argument, help="write OUT.json, the metrics of each query to OUT.npz, and OUT_report/"
    )
    no_report: bool = option(False, help="do not write the HTML report")


@dataclass(frozen=True)
class FeatureRuntimeOptions:
    """Where to compute."""

    title: ClassVar[str] = "running"
    device: str = option("auto", help="auto, cpu, cuda, cuda:1, …")


@dataclass(frozen=True)
class FeatureConfig:
    """All options of evaluate_features.py."""

    features: FeatureOptions
    codes: FeatureCodeOptions
    output: FeatureOutputOptions
    runtime: FeatureRuntimeOptions


def feature_options(arguments: Sequence[str] | None = None) -> FeatureConfig:
    """Parsed options of evaluate_features.py; a mistake exits with code 2 after one line."""
    parser = Parser("Score query and gallery features of any system by every definition of mAP and precision in use.")
    return parse_bundle(parser, FeatureConfig, arguments, itq_fit={"choices": ("queries", "gallery")})
