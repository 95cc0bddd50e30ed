"""What Kafka's errors say of the records that it was given."""

from aiokafka.errors import (
    CorruptRecordException,
    InvalidMessageError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    UnknownError,
    UnsupportedForMessageFormatError,
)

# A smaller one would be taken.
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
# Of a record, or of the broker: only what else it takes can tell. All others are outages.
DOUBTFUL = (
    CorruptRecordException,
    InvalidMessageError,
    InvalidTimestampError,
    PolicyViolationError,
    UnknownError,
    UnsupportedForMessageFormatError,
)


def may_be_a_records(error: KafkaError) -> bool:
    """Tell whether an error may be the fault of one record, so that the others are worth a try without it."""
    return isinstance(error, (*TOO_LARGE, *DOUBTFUL))
