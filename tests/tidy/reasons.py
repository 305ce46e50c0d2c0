#!/usr/bin/python3
"""Every reason an update is refused for is produced by a test that runs the real thing: the table
says which, and this looks whether the table is complete and the tests still name their reason.

    tests/tidy/reasons.py [ROOT]      prints file:line: what to do; exits 1 when there is a fault

A new row of common/link/refusal.def without a test here is a fault.
"""

import pathlib
import re
import sys

DEFINITION = "common/link/refusal.def"
REFUSALS = "tests/system/test_refusals.py"
REASONS = "tests/system/test_reasons.py"
TESTS = {
    **dict.fromkeys(
        "no_round other_round other_session wrong_base not_asked not_uploaded bad_id duplicate "
        "malformed checksum tensor_count tensor_shape tensor_dtype not_finite out_of_range "
        "examples bad_meta other_connection reserved_id".split(), (REFUSALS, "test_every_reason")),
    "set_aside": (REFUSALS, "test_set_aside"),
    "late": (REASONS, "test_late"),
    "session_over": (REASONS, "test_session_over"),
    "no_sender": (REASONS, "test_no_sender"),
    "too_large": (REASONS, "test_too_large"),
    "combiner_lost": (REASONS, "test_combiner_lost"),
}


def body_of(text, test):
    """From `def test` to the next function of its depth; "" without it. What stands before the
    first test (tables, and what the tests share) belongs to each."""
    found = re.search(rf"^( *)def {test}\(.*?(?=^\1(?:def |@)|^\S|\Z)", text, re.M | re.S)
    return text[: text.find("    def test_")] + found.group(0) if found else ""


def check(root, tests):
    """Faults, as lines."""
    rows = re.findall(r"^FED_REFUSAL\(\w+,\s*(\w+),", (root / DEFINITION).read_text(), re.M)
    for reason in rows:
        if reason not in tests:
            yield f"{DEFINITION}:1: '{reason}' is produced by no test: write one, and name it in " \
                  "tests/tidy/reasons.py"
    for reason, (path, test) in tests.items():
        file = root / path
        if reason not in rows:
            yield f"tests/tidy/reasons.py:1: '{reason}' is no reason any more"
        elif not file.exists() or not re.search(rf"\b{reason}\b",
                                                body_of(file.read_text(), test)):
            yield f"{path}:1: {test} does not look for '{reason}'"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    faults = list(check(root, TESTS))
    print("\n".join(faults), end="\n" if faults else "")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
