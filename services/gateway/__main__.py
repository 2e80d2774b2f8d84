"""``python -m services.gateway``."""

from chassis.service import main

from services.gateway.app import build

if __name__ == "__main__":
    main(build, fast_loop=True)
