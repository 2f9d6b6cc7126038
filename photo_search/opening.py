"""An index and its network, opened for searching."""

from pathlib import Path

from models.openvino_engine import FOLDER
from photo_search.config import NetworkOptions, Opened, QueryOptions, RunningOptions, StoreOptions
from photo_search.network import Computing, Network
from photo_search.networks import recorded_network, require_network
from photo_search.searching import Searcher
from photo_search.store import Store
from photo_search.stores import open_store, remember


def computing_for(options: Opened | RunningOptions, index: Path) -> Computing:
    """How options say to compute; converted networks are kept in the index."""
    images = len(options.sketches) if isinstance(options, QueryOptions) else None
    return Computing(options.device, options.precision, index / FOLDER, images)


def open_searcher(options: Opened, place: StoreOptions) -> Searcher:
    """Raises InputError if there is no index, or its network cannot be read."""
    store = open_store(options.index, place)
    return Searcher(store, open_network(options, store))


def open_network(options: Opened, store: Store) -> Network:
    """The network that made the index. Raises InputError if it cannot be read, or is another one."""
    network = recorded_network(store, _chosen(options), computing_for(options, options.index))
    store.belong_to(network)
    remember(store)
    return network


def open_without_network(options: Opened, place: StoreOptions) -> Searcher:
    """The index alone. Raises InputError if there is none, or the file that holds its network is gone."""
    store = open_store(options.index, place)
    require_network(store, _chosen(options), computing_for(options, options.index))
    return Searcher(store)


def _chosen(options: Opened) -> NetworkOptions:
    return NetworkOptions(checkpoint=options.checkpoint, pretrained_weights=options.pretrained_weights)
