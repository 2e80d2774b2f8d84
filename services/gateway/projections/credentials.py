"""Credentials: what may be known of them."""

from __future__ import annotations

from contracts.config import CredentialRemoved, CredentialSaved

from services.gateway.projections.model import Change, Folded, Row, Table, own_key


def credential(row: Row | None, change: Change) -> Row | None:
    """A credential after an event of its stream."""
    event = change.event
    if not isinstance(event, CredentialSaved):
        return None
    created = row["created_at"] if row else change.time
    stamps = {"version": change.version, "created_at": created, "updated_at": change.time}
    return {**event.model_dump(mode="json"), **stamps}


CREDENTIALS = Folded(
    "credentials",
    1,
    (CredentialSaved, CredentialRemoved),
    (Table("credentials", ("credential_id",), own_key(CredentialSaved, CredentialRemoved), credential),),
)
