"""The page that shows the OpenAPI document. It comes from here alone: it works without the Internet."""

from __future__ import annotations

from functools import cache
from importlib import resources

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

# Nothing may be loaded from elsewhere, even if the document should ever carry somebody's text.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Show all routes with their inputs and answers."""
    return HTMLResponse(_page(), headers={"Content-Security-Policy": _POLICY})


@cache
def _page() -> str:
    return resources.files("lamplighter.api").joinpath("docs.html").read_text("utf-8")
