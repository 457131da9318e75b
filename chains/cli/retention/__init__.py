"""The commands ``retention``: rules checked, locks made longer, evidence disposed of with a record."""
