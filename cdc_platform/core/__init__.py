"""The vocabulary of the platform. Pure: no I/O, no clock, no module state; every other package may import
it.
"""
