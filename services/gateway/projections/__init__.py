"""The read models, one file each, and what keeps them up to date."""

from __future__ import annotations

from services.gateway.projections.credentials import CREDENTIALS
from services.gateway.projections.dead_letters import DEAD_LETTERS
from services.gateway.projections.jobs import JOBS
from services.gateway.projections.layers import LAYERS
from services.gateway.projections.model import ReadModel
from services.gateway.projections.notifications import NOTIFICATIONS
from services.gateway.projections.reclaims import RECLAIMS
from services.gateway.projections.recordings import RECORDINGS
from services.gateway.projections.sessions import SESSIONS
from services.gateway.projections.streamers import STREAMERS
from services.gateway.projections.uploads import UPLOADS

MODELS: tuple[ReadModel, ...] = (
    STREAMERS,
    LAYERS,
    CREDENTIALS,
    SESSIONS,
    RECORDINGS,
    JOBS,
    UPLOADS,
    RECLAIMS,
    NOTIFICATIONS,
    DEAD_LETTERS,
)
