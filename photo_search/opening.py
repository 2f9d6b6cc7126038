"""An index and its network, opened for searching."""

from pathlib import Path

from models.openvino_engine import FOLDER
from photo_search.config import NetworkOptions, Opened, RunningOptions
from photo_search.network import Computing
from photo_search.networks import recorded_network
from photo_search.searching import Searcher
from photo_search.store import Store


def computing_for(options: Opened | RunningOptions, index: Path) -> Computing:
    """How options say to compute; converted networks are kept in the index."""
    return Computing(options.device, options.precision, index / FOLDER)


def open_searcher(options: Opened) -> Searcher:
    """Raises InputError if there is no index, or its network cannot be read."""
    store = Store(options.index)
    chosen = NetworkOptions(checkpoint=options.checkpoint, pretrained_weights=options.pretrained_weights)
    return Searcher(store, recorded_network(store, chosen, computing_for(options, options.index)))
