"""URIs: what is one, and what of one may be shown. Nothing here needs torch."""

import re

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s]+@")
_SECRET_QUERY = re.compile(
    r"(?i)(?<=[?&])([^=&\s]*(?:password|passwd|pwd|secret|token|signature|sig|key|odbc_connect)=)"
    r"[^&\s'\"]+"
)


def is_uri(text: str) -> bool:
    return _URI.match(text) is not None


def redact_uri(uri: str) -> str:
    """The URI without user, password and secret parameters, fit for files, logs and MLflow."""
    return _SECRET_QUERY.sub(r"\1***", _CREDENTIALS.sub("***@", uri))
