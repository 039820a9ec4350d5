"""`/api/inference-endpoints`: the same operations under one name, with `PATCH` for a change of state."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from lamplighter.api.access import Admin, Operator
from lamplighter.api.hf import documents, endpoints, logs, metrics
from lamplighter.api.hf.context import Caller, Served
from lamplighter.api.hf.problems import RESPONSES
from lamplighter.errors import InvalidInput

router = APIRouter(prefix="/api/inference-endpoints", tags=["endpoints"], responses=RESPONSES)

_ONE = "/{namespace}/{name}"
_WORDS = ("paused", "running")


@router.get("")
async def list_of_this_server(request: Request, served: Served, actor: Operator, wanted: endpoints.Asked) -> Response:
    """List the endpoints of this server's namespace."""
    return await endpoints.list_endpoints(request, served, actor, wanted)


@router.post("")
async def create_in_this_server(request: Request, served: Served, actor: Admin) -> Response:
    """Make an endpoint in this server's namespace."""
    return await endpoints.create_endpoint(request, served, actor)


router.add_api_route("/{namespace}", endpoints.list_endpoints, methods=["GET"])
router.add_api_route("/{namespace}", endpoints.create_endpoint, methods=["POST"])
router.add_api_route(_ONE, endpoints.read_endpoint, methods=["GET"])
router.add_api_route(_ONE, endpoints.update_endpoint, methods=["PUT"])
router.add_api_route(_ONE, endpoints.delete_endpoint, methods=["DELETE"])
router.add_api_route(_ONE + "/pause", endpoints.pause_endpoint, methods=["POST"])
router.add_api_route(_ONE + "/resume", endpoints.resume_endpoint, methods=["POST"])
router.add_api_route(_ONE + "/scale-to-zero", endpoints.scale_endpoint_to_zero, methods=["POST"])
router.add_api_route(_ONE + "/replica", metrics.list_replicas, methods=["GET"])
router.add_api_route(_ONE + "/logs", logs.text_logs, methods=["GET"], response_class=Response, responses=logs.LINES)
router.add_api_route(_ONE + "/metrics", metrics.all_metrics, methods=["POST"])


@router.patch(_ONE)
async def patch_endpoint(name: str, request: Request, served: Served, caller: Caller) -> Response:
    """Pause with `{"status": "paused"}`, resume with `{"status": "running"}`; one that is so already is no error."""
    body = await documents.body_of(request)
    status = body.get("status") if isinstance(body, dict) else None
    if status == "paused":
        return await endpoints.pause_endpoint(name, request, served, caller)
    if status == "running":
        return await endpoints.resume_unless_running(name, request, served, caller)
    known = " or ".join(repr(word) for word in _WORDS)
    raise InvalidInput(f"status: {status!r} should be {known}.", field="status")
