import pytest

from cdc_platform.connect.status import ConnectorStatus, State, TaskStatus, failure
from cdc_platform.core.errors import Terminal

TRACE = """org.apache.kafka.connect.errors.ConnectException: An exception occurred in the producer.
\tat io.debezium.pipeline.ErrorHandler.setProducerThrowable(ErrorHandler.java:79)
Caused by: io.debezium.DebeziumException: Unable to open the change stream
\t... 5 more
Caused by: com.mongodb.MongoCommandException: Command failed with error 13 (Unauthorized)
\t... 9 more
"""


def test_a_trace_is_told_by_its_first_line_and_its_root_cause():
    first, cause = failure(TRACE).splitlines()
    assert first.endswith("An exception occurred in the producer.")
    assert cause.strip() == (
        "because of com.mongodb.MongoCommandException: Command failed with error 13 (Unauthorized)"
    )


def test_a_failure_without_a_trace_is_told_as_such():
    assert failure("") == "Connect gives no reason"


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (
            "RecordTooLargeException: The message is 117441200 bytes when serialized which is larger than "
            "100663296, which is the value of the max.request.size configuration.",
            "cdc connector snapshot",
        ),
        (
            "RecordTooLargeException: The request included a message larger than the max message size the "
            "server will accept.",
            "max.message.bytes=100663296",
        ),
        ("com.mongodb.MongoCommandException: Command failed with error 10334 (BSONObjectTooLarge)", "_id"),
        ("java.lang.OutOfMemoryError: Java heap space", "capture.batch_size"),
        ("java.lang.IllegalStateException: something new", "remove the cause"),
    ],
)
def test_a_failure_that_is_known_comes_with_its_own_remedy(cause: str, told: str):
    trace = f"org.apache.kafka.connect.errors.ConnectException: failed\nCaused by: {cause}\n\t... 9 more\n"
    task = TaskStatus(0, State.FAILED, "worker", trace)
    with pytest.raises(Terminal) as raised:
        ConnectorStatus("cdc-shop", State.RUNNING, "worker", (task,)).require_not_failed(where="connect")
    assert cause in raised.value.what
    assert told in raised.value.remedy
