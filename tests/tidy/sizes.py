#!/usr/bin/python3
"""Sizes and names: functions of at most 80 lines, files of at most 800 lines, a main.c below 80, no
empty files, no file named for being a help to others. (Parameters and complexity: clang-tidy.)

    tests/tidy/sizes.py [ROOT]      prints file:line: what to do; exits 1 when there is a fault
"""

import os
import re
import sys

import source

FUNCTION_MAX = 80
FILE_MAX = 800
MAIN_MAX = 79
BAD_NAMES = re.compile(r"(util|utils|helper|helpers|misc|common|shared|stuff|tools)(\.|_|$)")
SIGNATURE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*\([^;{}]*\)\s*\Z", re.S)


def functions_of(text):
    """(line of the brace, name, lines); the house's braces stand in column 0."""
    code = source.code_of(text)
    lines = code.split("\n")
    start = None
    offset = 0
    for number, line in enumerate(lines, 1):
        if line.rstrip() == "{" and line.startswith("{"):
            start = number
            head = code[:offset]
            head = head[max(head.rfind("\n}"), head.rfind(";"), head.rfind("\n#")) + 1 :]
            signature = SIGNATURE.search(head)
        elif line.startswith("}") and start is not None:
            if signature:
                yield start, signature.group(1), number - start
            start = None
        offset += len(line) + 1


def check_file(path, text):
    name = os.path.basename(path)
    n_lines = text.count("\n")
    if not text.strip():
        yield 1, "an empty file: write it or remove it"
    if n_lines > FILE_MAX:
        yield FILE_MAX, "%d lines, at most %d: split it by nouns" % (n_lines, FILE_MAX)
    if name == "main.c" and n_lines > MAIN_MAX:
        yield MAIN_MAX, "a main.c of %d lines, below 80 are wanted: wiring belongs to a file of its own" % n_lines
    if BAD_NAMES.match(name):
        yield 1, "'%s' says nothing: name the file for the one noun in it" % name
    if not path.endswith(source.C_FILES):
        return
    for line, function, length in functions_of(text):
        if length > FUNCTION_MAX:
            yield line, "%s() has %d lines, at most %d: give its steps names" % (function, length, FUNCTION_MAX)


def check(files):
    return [
        "%s:%d: %s" % (path, line, fault)
        for path, text in sorted(files.items())
        for line, fault in check_file(path, text)
    ]


if __name__ == "__main__":
    sys.exit(source.main(check, source.ALL_FILES))
