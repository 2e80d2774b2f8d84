"""For every test: what is logged of an exception is plain text. Drawn with every local variable, as is the default here, one takes seconds."""

import structlog

structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)
