from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from service.partitioner import murmur2, partition_for

# of Kafka's own tests: org.apache.kafka.common.utils.UtilsTest.testMurmur2, there as signed integers
KNOWN = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}


def test_keys_hash_as_they_do_in_java() -> None:
    assert {key: murmur2(key) for key in KNOWN} == {key: known & 0xFFFFFFFF for key, known in KNOWN.items()}


@given(st.binary(max_size=200))
def test_keys_hash_as_they_do_in_aiokafka(key: bytes) -> None:
    assert murmur2(key) == reference(key)


def test_a_record_without_a_key_goes_where_there_is_a_leader() -> None:
    assert {partition_for(None, range(12), [7]) for _ in range(20)} == {7}
    assert partition_for(None, [3], []) == 3
