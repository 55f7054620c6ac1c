"""Makes the towers that are measured, once, in .run/benchmarks/store.

    python -m benchmarks.towers [--quick]

`--quick` takes the committed model instead.
"""

import json

from benchmarks.support.options import make_parser, parse
from benchmarks.support.towers import ensure


def main() -> None:
    options = parse(make_parser("towers", __doc__), {})
    found = ensure(quick=options.quick)
    sizes = {tower: round(found.archive(tower).stat().st_size / 1e6, 1) for tower in ("text", "vision")}
    result = {"store": str(found.store), "flops": found.flops, "archive_mb": sizes}
    print("result: " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
