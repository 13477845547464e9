"""The encodings of databases, as Python knows them."""

from __future__ import annotations

import codecs

_CODECS = {"SQL_ASCII": "utf-8", "MULE_INTERNAL": "utf-8", "EUC_TW": "utf-8", "EUC_CN": "gb2312", "KOI8R": "koi8-r"}
_CODECS |= {"KOI8U": "koi8-u", "WIN866": "cp866", "WIN874": "cp874", "UHC": "cp949"}
_CODECS |= {
    f"LATIN{n}": f"iso8859-{n if n < 5 else {5: 9, 6: 10, 7: 13, 8: 14, 9: 15, 10: 16}[n]}" for n in range(1, 11)
}
_CODECS |= {f"WIN125{n}": f"cp125{n}" for n in range(9)}


def python_codec(encoding: str) -> str:
    """Return Python's name of a server encoding; UTF-8 for those that it does not know, or that are none."""
    try:
        return codecs.lookup(_CODECS.get(encoding, encoding.lower())).name
    except LookupError:
        return "utf-8"
