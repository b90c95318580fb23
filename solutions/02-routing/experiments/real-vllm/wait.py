"""Waits until each of these URLs answers with 200, three minutes at most.

    python wait.py URL...
"""

import sys
import time
import urllib.error
import urllib.request

PATIENCE_S = 180


def main(*urls: str) -> None:
    until = time.monotonic() + PATIENCE_S
    for url in urls:
        while True:
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        break
            except (urllib.error.URLError, OSError):
                pass
            if time.monotonic() > until:
                sys.exit(f"{url} did not answer within {PATIENCE_S} s")
            time.sleep(0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
