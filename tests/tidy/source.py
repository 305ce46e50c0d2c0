"""What the checks of this folder share: which files there are, and C text without its comments."""

import os
import re
import sys

ROOTS = ("common", "reducer", "combiner", "client", "tests")
C_FILES = (".c", ".h")
ALL_FILES = (".c", ".h", ".def", ".py", ".proto")

TOKEN = re.compile(
    r"""(?P<block>/\*.*?\*/)|(?P<line>//[^\n]*)|(?P<text>"(?:\\.|[^"\\\n])*")|(?P<char>'(?:\\.|[^'\\\n])*')""",
    re.S,
)


def blank(text):
    return re.sub(r"[^\n]", " ", text)


def code_of(text):
    """The text with comments and the insides of literals blanked; lines and columns stay."""

    def one(match):
        if match.lastgroup in ("block", "line"):
            return blank(match.group())
        return match.group()[0] + blank(match.group()[1:-1]) + match.group()[-1]

    return TOKEN.sub(one, text)


def comments_of(text):
    """(line, comment) for each comment."""
    for match in TOKEN.finditer(text):
        if match.lastgroup in ("block", "line"):
            yield text.count("\n", 0, match.start()) + 1, match.group()


def files_under(root, endings):
    """{path from the root: text}"""
    found = {}
    for top in ROOTS:
        for folder, folders, names in os.walk(os.path.join(root, top)):
            folders[:] = sorted(f for f in folders if not f.startswith((".", "build", "__pycache__")))
            for name in sorted(names):
                if name.endswith(endings):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as f:
                        found[os.path.relpath(path, root)] = f.read()
    return found


def main(check, endings):
    """Run check({path: text}) over the tree named by the first argument (default: this one)."""
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..")
    files = files_under(os.path.abspath(root), endings)
    faults = check(files)
    for fault in faults:
        print(fault)
    print("%d files, %d faults" % (len(files), len(faults)))
    return 1 if faults else 0
