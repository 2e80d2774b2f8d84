"""Credentials: logins that recordings use by their id. They are sealed before they leave this process and never shown again."""

from __future__ import annotations

from typing import Annotated, Any

from contracts.aggregate import Rejected
from contracts.config import Domain, RemoveCredential, SaveCredential, Secrets
from contracts.values import Id, Name, Strict
from fastapi import APIRouter, Request, Response
from pydantic import Field, SecretStr, ValidationError

from services.gateway.api.context import Gateway, Parts
from services.gateway.api.operations import Credential
from services.gateway.api.outcome import ACCEPTED, change, erase, resource
from services.gateway.api.paging import Page, Paged
from services.gateway.api.problems import existing
from services.gateway.api.security import changing, reading
from services.gateway.api.versions import Expected, require
from services.gateway.store import views

router = APIRouter(prefix="/api/credentials", tags=["credentials"])


class CredentialBody(Strict):
    """A login. ``domains`` and what is below them get its cookies, headers, stream key and passphrase, nobody else; the proxy gets its user and
    password."""

    name: Name
    domains: Annotated[tuple[Domain, ...], Field(max_length=32)] = ()
    cookies: Annotated[dict[str, SecretStr], Field(max_length=100)] = Field(default_factory=dict)
    headers: Annotated[dict[str, SecretStr], Field(max_length=50)] = Field(default_factory=dict)
    proxy_user: str = ""
    proxy_password: SecretStr = SecretStr("")
    stream_key: SecretStr = SecretStr("")
    passphrase: SecretStr = SecretStr("")


@router.get("", dependencies=[reading("credentials")])
async def credentials(parts: Parts, paging: Paged) -> Page[Credential]:
    """All credentials by name."""
    found = await views.credentials(parts.pool, after=paging.by_name(), limit=paging.fetch)
    return Page[Credential].model_validate(paging.page(found, "name", "id"))


@router.get("/{credential_id}", response_model=Credential, dependencies=[reading("credentials")])
async def credential(credential_id: Id, parts: Parts) -> Response:
    """One credential, without its secrets."""
    return resource(await _existing(parts, credential_id), Credential)


@router.put(
    "/{credential_id}",
    response_model=Credential,
    responses=ACCEPTED,
    dependencies=[changing("credentials")],
)
async def save_credential(
    request: Request, credential_id: Id, body: CredentialBody, parts: Parts, expected: Expected
) -> Response:
    """Set a credential whole, its secrets included; made when there is none. Layers name it in ``network.account``."""
    command = SaveCredential(
        credential_id=credential_id,
        name=body.name,
        domains=body.domains,
        sealed=parts.system_key.seal(_secrets(body).model_dump_json()),
        expected_version=expected,
    )
    return await change(
        request, command, Credential, lambda: _load(parts, credential_id), location=_location(credential_id)
    )


@router.delete("/{credential_id}", status_code=204, responses=ACCEPTED, dependencies=[changing("credentials")])
async def remove_credential(request: Request, credential_id: Id, parts: Parts, expected: Expected) -> Response:
    """Forget a credential: its data key is deleted."""
    item = await _existing(parts, credential_id)
    require(expected, item["version"])
    return await erase(request, RemoveCredential(credential_id=credential_id), location=_location(credential_id))


def _secrets(body: CredentialBody) -> Secrets:
    try:
        return Secrets(
            cookies={name: value.get_secret_value() for name, value in body.cookies.items()},
            headers={name: value.get_secret_value() for name, value in body.headers.items()},
            proxy_user=body.proxy_user,
            proxy_password=body.proxy_password.get_secret_value(),
            stream_key=body.stream_key.get_secret_value(),
            passphrase=body.passphrase.get_secret_value(),
        )
    except ValidationError as error:
        # Only where, never what: the values are secrets.
        wrong = ", ".join(sorted({".".join(str(part) for part in one["loc"][:2]) for one in error.errors()}))
        raise Rejected("Bad credential", status=422, detail=f"cannot be sent in a request: {wrong}") from None


def _location(credential_id: str) -> str:
    return f"/api/credentials/{credential_id}"


async def _load(parts: Gateway, credential_id: str) -> dict[str, Any] | None:
    found = await views.credentials(parts.pool, id=credential_id)
    return found[0] if found else None


async def _existing(parts: Gateway, credential_id: str) -> dict[str, Any]:
    return existing(await _load(parts, credential_id), "credential", credential_id)
