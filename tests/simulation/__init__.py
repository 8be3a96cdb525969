"""Seeded simulations of replication under faults."""
