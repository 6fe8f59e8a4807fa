"""The page at `/`: a query box for people who would rather look. Its files are in the package, nothing is fetched."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
HEADERS = {"Content-Security-Policy": "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'"}

router = APIRouter(include_in_schema=False)


def _serve(path: str, name: str, kind: str) -> None:
    content = (Path(__file__).parent / "static" / name).read_bytes()

    @router.get(path)
    async def file() -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8", headers=HEADERS)


for _path, (_name, _kind) in FILES.items():
    _serve(_path, _name, _kind)
