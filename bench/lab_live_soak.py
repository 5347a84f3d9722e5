"""Does a live lab grow? python bench/lab_live_soak.py [MINUTES]. Prints a row every 30 s."""

from __future__ import annotations

import sys
import time

from unflux.lab.live.session import Lab, LabOptions


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    print("| s | MiB | open files | visits | polls | skipped | content | none |", flush=True)
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with Lab("live", LabOptions(speed=60)) as lab:
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until:
            time.sleep(30)
            told = lab.status()
            people = told["people"]
            counts = [people.get(one, 0) for one in
                      ("visits", "polls", "skipped", "content", "no_content")]  # fmt: skip
            row = [told["seconds"], told["now_mib"], told["open_files"], *counts]
            print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
