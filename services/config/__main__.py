"""``python -m services.config``."""

from chassis.service import main

from services.config.app import build

if __name__ == "__main__":
    main(build)
