"""For every test: nothing fails because the machine is busy, and nothing is slow without need."""

import hypothesis
import structlog

# How long an input takes to make or to run says what else the machine does.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")
# What is logged of an exception is plain text: drawn with every local variable, as is the default here, one takes seconds.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)
