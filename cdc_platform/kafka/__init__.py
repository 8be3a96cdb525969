"""The log: identities and ends of topics, and records read by offset without a consumer group."""
