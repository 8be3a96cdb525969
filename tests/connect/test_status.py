from cdc_platform.connect.status import failure

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
