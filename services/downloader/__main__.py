"""``python -m services.downloader``."""

from chassis.service import main

from services.downloader.app import build

if __name__ == "__main__":
    main(build, fast_loop=True)
