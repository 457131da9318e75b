"""Control maps: which controls of a framework a report evidences, partly or not, and by which facts.

A map is data (the YAML files here, and those of users). A fact is computed from the report document alone.
Not allowed here: reading stores, ledgers or configurations; words of a framework that may not be copied.
"""
