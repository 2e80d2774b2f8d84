"""``python -m services.danmu``."""

from chassis.service import main

from services.danmu.app import build

if __name__ == "__main__":
    main(build, fast_loop=True)
