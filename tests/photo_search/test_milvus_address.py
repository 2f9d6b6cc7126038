"""Addresses that `--store` takes."""

import pytest

from photo_search.milvus_address import milvus_address


def test_the_name_and_a_file_are_recognised():
    assert str(milvus_address("milvus:https://host:1#holidays")) == "milvus:https://host:1#holidays"
    assert milvus_address("milvus:http://host:1").name == "photos" and milvus_address("milvus:a.db").is_file


@pytest.mark.parametrize("secret", ["me:SECRET@host:1", "SECRET@host:1", ":SECRET@host:1", "host:1?token=SECRET"])
def test_a_password_or_token_is_refused_and_not_shown(secret):
    with pytest.raises(ValueError, match="write no password or token there") as error:
        milvus_address(f"milvus:http://{secret}")
    assert "SECRET" not in str(error.value)
