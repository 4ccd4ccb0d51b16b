"""A data set travels between processes without copies."""

import pickle

from tests.support.data_sets import digest, small


def test_the_data_set_is_shared_by_pickle_without_copies() -> None:
    data = small()
    buffers: list[pickle.PickleBuffer] = []
    inside = pickle.dumps(data, protocol=5, buffer_callback=buffers.append)
    assert len(inside) < 4000  # All arrays travel as buffers, the way Ray shares them.
    assert digest(pickle.loads(inside, buffers=buffers)) == digest(data)
