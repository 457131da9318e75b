"""Tests across rooms and against real servers."""
