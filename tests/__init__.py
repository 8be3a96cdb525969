"""Tests of the platform, laid out as the package is."""
