"""What the benchmarks of the dashboard share: a federation with a session behind it, and a browser."""

import contextlib
import sys

import bench
import browser
import federation


@contextlib.contextmanager
def federation_with_session():
    """Two echo clients, three rounds done."""
    with federation.Federation(bench.BIN) as fed:
        fed.start_reducer()
        fed.start_combiner()
        fed.start_clients(2, prefix="bench")
        model = fed.upload_model(federation.random_model(fed.folder / "seed.npz"))
        fed.wait_session(fed.start_session(model, rounds=3, clients_required=2))
        fed.wait_live(lambda live: live["validation"]["received"] == 2, 60, "the validations")
        yield fed


def run(main):
    """Without a browser the benchmark ends, and says so."""
    if browser.MISSING:
        print(f"SKIP: {browser.MISSING}")
        sys.exit(0)
    browser.alone()
    main()
