"""An index and its network, opened for searching."""

from photo_search.config import NetworkOptions, Opened
from photo_search.networks import recorded_network
from photo_search.searching import Searcher
from photo_search.store import Store


def open_searcher(options: Opened) -> Searcher:
    """Raises InputError if there is no index, or its network cannot be read."""
    store = Store(options.index)
    chosen = NetworkOptions(checkpoint=options.checkpoint, pretrained_weights=options.pretrained_weights)
    return Searcher(store, recorded_network(store, chosen, options.device))
