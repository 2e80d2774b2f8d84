"""``python -m services.monitor``."""

from chassis.service import main

from services.monitor.app import build

if __name__ == "__main__":
    main(build)
