"""The shared layers of the configuration: the global one, one per platform, templates."""

from __future__ import annotations

from contracts.config import LayerRemoved, LayerSaved

from services.gateway.projections.model import Change, Folded, Row, Table, own_key


def layer(row: Row | None, change: Change) -> Row | None:
    """The row of a layer. A removed one stays as a mark, because its next version goes on counting."""
    event = change.event
    now = {"version": change.version, "updated_at": change.time}
    if isinstance(event, LayerSaved):
        return {**event.model_dump(mode="json"), **now, "removed": False}
    return {**row, **now, "removed": True} if row else None


LAYERS = Folded(
    "layers",
    1,
    (LayerSaved, LayerRemoved),
    (Table("layers", ("layer_id",), own_key(LayerSaved, LayerRemoved), layer),),
)
