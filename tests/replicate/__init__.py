"""Replication over a log and tables in memory."""
