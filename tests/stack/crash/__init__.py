"""Processes that write the lake and are killed, stopped or broken on purpose, and an oracle that shares no
code with them.
"""
