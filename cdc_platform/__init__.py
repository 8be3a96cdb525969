"""Change data capture from live databases into lake tables that are proven to equal their source."""
