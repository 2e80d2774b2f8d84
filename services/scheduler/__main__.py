"""``python -m services.scheduler``."""

from chassis.service import main

from services.scheduler.app import build

if __name__ == "__main__":
    main(build)
