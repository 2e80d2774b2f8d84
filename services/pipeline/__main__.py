"""``python -m services.pipeline``."""

from chassis.service import main

from services.pipeline.app import build

if __name__ == "__main__":
    main(build)
