"""Places of images in downloads."""

import dataclasses

import pytest

from datasets.catalog import DATASETS
from preparation.layouts import PHOTOS, SKETCHES, places_of
from utils.errors import InputError


@pytest.mark.parametrize("key", DATASETS)
def test_every_dataset_of_the_catalog_says_where_its_images_are(key):
    assert {place.kind for place in places_of(DATASETS[key])} == {PHOTOS, SKETCHES}


def test_a_new_dataset_is_missing_its_places_in_a_sentence():
    new = dataclasses.replace(DATASETS["sketchy"], key="new", name="New Ext")
    with pytest.raises(InputError, match=r"New Ext: add the folders of its downloads to PLACES in preparation/layouts\.py"):
        places_of(new)
