#!/usr/bin/python3
"""Calls and words that the house does without.

    tests/tidy/banned.py [ROOT]      prints file:line: what to do; exits 1 when there is a fault
"""

import re
import sys

import source

# (call, files that may use it, what to use instead)
CALLS = [
    ("strcpy|strcat|strncpy|strncat|sprintf|vsprintf|gets", None, "snprintf(), or struct fed_buf"),
    ("strtok", None, "strcspn() and a cursor"),
    ("atoi|atol|atoll|atof", None, "fed_conf_parse_number(), or strtod() with its end looked at"),
    ("gmtime|localtime|ctime|asctime", None, "common/base/clock.h"),
    ("time|clock_gettime|gettimeofday", r"common/base/clock\.c", "the clock as an argument; common/base/clock.h at the edges"),
    ("rand|srand|random|drand48", None, "common/base/rand.h, with the seed as an argument"),
    ("tmpnam|mktemp|tempnam", None, "mkdtemp(), or fed_file_replace()"),
    ("system|popen", None, "posix_spawn() with an argument list"),
    ("alloca", None, "a bounded array, or malloc()"),
    ("setjmp|longjmp", r"tests/", "an int that says what failed"),
    ("signal", None, "sigaction(), or a thread that waits"),
    ("sleep|usleep", None, "a timer of the loop: nothing waits by sleeping"),
    ("exit", r"(.*/)?main\.c", "return the failure to main()"),
    ("getenv|secure_getenv", r"common/conf/|common/base/fault\.c", "fed_env_get(), or an item of the settings' table"),
]
NOLINT = re.compile(r"NOLINT(NEXTLINE|BEGIN|END)?")
NOLINT_GOOD = re.compile(r"NOLINT(NEXTLINE|BEGIN)?\([A-Za-z0-9.,* -]+\): \S|NOLINTEND\([A-Za-z0-9.,* -]+\)")
TODO = re.compile(r"\b(TODO|FIXME)\b")
TODO_GOOD = re.compile(r"\b(TODO|FIXME)\b.*(issue |#)\d+", re.S)


def check_comments(path, text):
    for line, comment in source.comments_of(text):
        if comment.startswith("//"):
            yield line, "write /* */: // is for trying things out"
        if TODO.search(comment) and not TODO_GOOD.search(comment):
            yield line, "a TODO names its issue: TODO(issue 12)"
        if re.search(r"\bXXX\b", comment):
            yield line, "say what is meant instead of XXX"
        for match in NOLINT.finditer(comment):
            if not NOLINT_GOOD.match(comment, match.start()):
                yield line + comment.count("\n", 0, match.start()), (
                    "NOLINT names its check and its reason: NOLINT(check): why")


def check_code(path, code):
    for calls, doors, instead in CALLS:
        if doors and re.match(doors, path):
            continue
        for match in re.finditer(r"(?<![\w.>])(%s)\s*\(" % calls, code):
            yield code.count("\n", 0, match.start()) + 1, "%s() is not used here: take %s" % (
                match.group(1), instead)
    for match in re.finditer(r"\bgoto\b", code):
        yield code.count("\n", 0, match.start()) + 1, "no goto: FED_CLEANUP(), or a smaller function"


def check(files):
    faults = []
    for path, text in sorted(files.items()):
        found = list(check_comments(path, text)) + list(check_code(path, source.code_of(text)))
        faults += ["%s:%d: %s" % (path, line, fault) for line, fault in sorted(found)]
    return faults


if __name__ == "__main__":
    sys.exit(source.main(check, source.C_FILES))
