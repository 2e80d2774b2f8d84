"""What the pipeline decides. ``run``: one graph of jobs; ``session``: which runs a session needs and when it is finished. Pure."""

from services.pipeline.domain.run import RUN, Run
from services.pipeline.domain.session import SESSION, Session

AGGREGATES = (RUN, SESSION)

__all__ = ["AGGREGATES", "RUN", "SESSION", "Run", "Session"]
