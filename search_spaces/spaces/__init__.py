"""The search spaces, one file each, named as the space is.

A file says ``POLICY``, the policy of the space's trials, and ``DESCRIPTION``, a sentence; its
function ``distributions`` is the space. Nothing else lists it.
"""
