"""Admission: a server that answers the API server, and Gatekeeper, which images may run.

``review`` reads and answers AdmissionReviews, ``images`` finds what an object asks to run, ``policies`` keeps
the policies in force, ``answers`` asks them and remembers, ``judge`` rules on one image, ``validate`` on a
whole request, ``provider`` answers Gatekeeper, ``wording`` writes denials, warnings and annotations,
``server`` has the endpoints and ``process`` runs them behind TLS.

May come in: what the API server and Gatekeeper send and get. May not come in: what a policy decides, how
evidence is verified.
"""
