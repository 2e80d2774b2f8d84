"""The whole system as a user runs it: one process started by the command line, talked to over HTTP."""

from tests.system.process import Gateway, SystemFailed, SystemProcess

__all__ = ["Gateway", "SystemFailed", "SystemProcess"]
