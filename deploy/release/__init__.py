"""Builds a release, attests it with this project, and verifies it with the policy beside this file.

``python3 dev.py release --help`` lists the commands, ``docs/release.md`` says how they are used. Allowed
here: what makes, describes, signs and checks the files of a release. Not allowed: how an image or a chart is
made (``deploy/image``, ``deploy/helm``), and anything that ``chains`` needs when it runs.
"""
