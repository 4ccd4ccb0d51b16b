"""The search spaces, one file each, named as the space is.

A file says ``POLICY``, the policy of the space's trials, and ``DESCRIPTION``, a sentence; its
function ``distributions`` is the space. It may have ``conditions``, where dimensions have an effect
(``search_spaces/conditions.py``), and ``opening``, the points that a search begins with. Nothing
else lists it.
"""
