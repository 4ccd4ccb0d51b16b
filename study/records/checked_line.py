"""A line of JSON that says whether it is whole: its first entry is a CRC-32 of the rest."""

import zlib

_PREFIX = b'{"crc":"'
_BODY = len(_PREFIX) + 10
"""Where the body begins: the prefix, eight hexadecimal digits, a quote and a comma."""


class DamagedLineError(ValueError):
    """The line is cut short, changed, or no such line; the text says which."""


def sealed(json_object: bytes) -> bytes:
    """The line of a JSON object that is not empty, with its end."""
    body = json_object[1:]
    return b'%s%08x",%s\n' % (_PREFIX, zlib.crc32(body), body)


def unsealed(line: bytes) -> bytes:
    """The inverse of ``sealed``; the line's end may be missing."""
    body = line[_BODY:].rstrip(b"\n")
    if not line.startswith(_PREFIX) or line[_BODY - 2 : _BODY] != b'",':
        raise DamagedLineError("not a line of a ledger")
    if line[len(_PREFIX) : _BODY - 2] != b"%08x" % zlib.crc32(body):
        raise DamagedLineError("damaged: its checksum does not fit")
    return b"{" + body
