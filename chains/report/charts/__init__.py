"""The charts of a report as SVG, the same for every form. Each has a title, a description and a table.

A chart is read without colours: every kind of bar has a pattern and an outline. It has no script, no style
attribute and no link. Lines and text have the colour of the text around them, so a dark page needs no other
chart.
"""
