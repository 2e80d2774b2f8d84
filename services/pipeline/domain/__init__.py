"""What the pipeline decides. Pure.

``run``: one graph of jobs; ``session``: which runs a session needs and when it is finished; ``reclaim``: which sessions go to make room.
"""

from services.pipeline.domain.reclaim import REQUEST
from services.pipeline.domain.run import RUN, Run
from services.pipeline.domain.session import SESSION, Session

AGGREGATES = (RUN, SESSION, REQUEST)

__all__ = ["AGGREGATES", "REQUEST", "RUN", "SESSION", "Run", "Session"]
