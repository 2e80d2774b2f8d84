"""``python -m aircheck``."""

from aircheck.main import run

if __name__ == "__main__":
    run()
