"""The real components (MongoDB, Kafka, Kafka Connect with Debezium) as local processes, without containers
or root.

`stack.Stack` is the way in; `settings.StackSettings` says what can be changed. Used by the demo and by the
tests; imports nothing of the product but `cdc_platform.core`.
"""
