"""``python -m services.uploader``."""

from chassis.service import main

from services.uploader.app import build

if __name__ == "__main__":
    main(build)
