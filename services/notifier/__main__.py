"""``python -m services.notifier``."""

from chassis.service import main

from services.notifier.app import build

if __name__ == "__main__":
    main(build)
