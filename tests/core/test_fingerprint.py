import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from farandole.core.fingerprint import (
    content_hash,
    fingerprint,
    hash_ids,
    id_checksum,
    mix64,
    original_hash,
    pixel_digest,
    row_keys,
)


def test_hashes_are_those_of_every_earlier_release():
    """Literal values: a change of these moves rows between splits and files of users' data sets."""
    assert hash_ids(["train/cat/1.jpg", "é"]).tolist() == [15804076267442822170, 7197253251865597242]
    assert row_keys(hash_ids(["a"]), 1, seed=7, purpose="order").tolist() == [17816855862662135812]
    assert fingerprint({"b": 1, "a": [1.5, None, "x"]})[:16] == "52686768c7445ae4"


def test_arrow_columns_and_lists_hash_alike():
    ids = ["a", "bb", "ünïcode", ""]
    expected = hash_ids(ids).tolist()
    assert hash_ids(pa.array(ids)).tolist() == expected
    assert hash_ids(pa.chunked_array([ids[:1], ids[1:]])).tolist() == expected
    assert hash_ids([]).shape == (0,)


def test_mix64_is_a_bijection_on_a_range_and_scatters():
    mixed = mix64(np.arange(100_000, dtype=np.uint64))
    assert len(np.unique(mixed)) == 100_000
    assert abs(np.mean(mixed < 2**63) - 0.5) < 0.01


@given(st.lists(st.tuples(st.text(max_size=5), st.integers(0, 3)), max_size=30), st.randoms())
def test_checksum_ignores_order_and_adds_up(rows, random):
    def checksum(part):
        return id_checksum(hash_ids([name for name, _ in part]), np.array([copy for _, copy in part], np.int64))

    shuffled = rows[:]
    random.shuffle(shuffled)
    assert checksum(rows) == checksum(shuffled)
    assert (checksum(rows[:7]) + checksum(rows[7:])) % 2**64 == checksum(rows)


def test_checksum_tells_copies_losses_and_repeats_apart():
    one, two = hash_ids(["a"]), hash_ids(["a", "a"])
    values = [id_checksum(one, 0), id_checksum(one, 1), id_checksum(two, 0), id_checksum(two, np.array([0, 1]))]
    assert len(set(values)) == 4


def test_an_original_has_the_hash_of_its_bytes_or_of_shape_type_and_numbers():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert original_hash(pixels) == content_hash(pixel_digest(pixels))
    assert original_hash(pixels[:, :, 0]) == content_hash(pixel_digest(pixels[:, :, :1]))
    others = [
        pixels,
        pixels.reshape(2, 8, 3),
        pixels.astype(np.uint16),
        pixels.astype(np.float32),
        pixels.astype(np.float64),
        pixels.astype(np.float32) + 1,
        pixels[:, :, 0],
        pixels.tobytes(),
        b"",
    ]
    assert len({original_hash(other) for other in others}) == len(others)
    assert original_hash(b"a picture") == -7585784464088036059
