import json

import numpy as np
import pytest

from voxcert.smoothing.arrays import decode, encode


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64, ">f8"])
def test_arrays_come_back_bit_by_bit(dtype):
    array = np.random.default_rng(0).normal(0, 1e6, (4, 7)).astype(dtype)
    copy = decode(json.loads(json.dumps(encode(array))))
    np.testing.assert_array_equal(copy, array)
    assert copy.dtype == array.dtype.newbyteorder("=")
    copy += 1  # it is one's own


@pytest.mark.parametrize("damage", [{"zlib": "AAAA"}, {"zlib": "???"}, {"shape": [3]}, {"dtype": "nothing"}])
def test_damage_is_noticed(damage):
    with pytest.raises(ValueError, match="^an array must be kept"):
        decode(encode(np.arange(4)) | damage)
    with pytest.raises(ValueError, match="^an array must be kept"):
        decode({})
