"""The store in a plain folder: ``store`` writes and searches, ``deletion`` deletes what a record names."""
