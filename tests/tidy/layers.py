#!/usr/bin/python3
"""Who may include whom.

Each folder may use what RULES says, and nothing else of ours; a third-party header has the doors
that DOORS names. Ours are included from the root and in quotes; headers have no cycles.

    tests/tidy/layers.py [ROOT]      prints file:line: what to do; exits 1 when there is a fault
"""

import re
import sys

import source

# What is pure: no threads, clocks, files, sockets, logging.
PURE_BASE = tuple(
    "common/base/%s.h" % name
    for name in "buf cleanup err id list num rand strmap text view arena".split()
)
BASE = ("common/base/",)

# (path, what it may include of ours, where the rule is told). The first that matches counts.
RULES = [
    (r"tests/", ("",)),
    (r"common/base/", BASE),
    (r"common/(conf|sync|model)/", BASE + (r"\1",)),
    (r"common/net/", BASE + ("common/sync/", "common/net/")),
    (r"common/link/(link_codec|link_encode|link_decode)\.", BASE + ("common/link/", "common/rpc/")),
    (r"common/link/", BASE + ("common/link/", "common/model/")),
    (r"common/rpc/", BASE + ("common/sync/", "common/rpc/")),
    (r"(reducer|combiner|client)/core/", PURE_BASE + ("common/model/", "common/link/link.h", r"\1core")),
    # On workers, over files of the spool; still no threads, clocks, log.
    (r"(combiner)/aggregate/", PURE_BASE
     + ("common/base/file.h", "common/base/pages.h", "common/model/", "common/link/", "combiner/aggregate/")),
    (r"reducer/store/", BASE + ("reducer/store/",)),
    (r"reducer/blob/", BASE + ("common/conf/", "common/net/", "common/model/", "reducer/blob/")),
    (r"reducer/dashboard/", BASE + ("reducer/dashboard/",)),
    (r"client/(train|data)/", BASE + ("common/conf/", "common/net/", "common/model/", "client/train/", "client/data/")),
    (
        r"reducer/(rest|rpc)/",
        BASE
        + ("common/sync/", "common/rpc/", "common/model/", "common/link/", "common/net/", "reducer/core/")
        + ("reducer/store/store.h", "reducer/blob/blob.h", "reducer/dashboard/dashboard.h", r"reducer\1"),
    ),
    (r"reducer/cli/", BASE + ("common/conf/", "common/net/", "common/model/", "reducer/cli/")),
    (r"(reducer|combiner|client)/", ("common/", r"\1")),
]

# Third-party headers: (header, files that may include it).
EDGE = r"(tests/|combiner/(?!core/|aggregate/)|client/(?!core/))"
DOORS = [
    (r"grpc/", r"(common/rpc/|tests/)"),
    (r"(protobuf-c/|.*\.pb-c\.h$)", r"(common/rpc/|common/link/link_(encode|decode)\.c|reducer/rpc/|reducer/[^/]*$|%s)" % EDGE[1:-1]),
    (r"curl/", r"(common/net/|tests/)"),
    (r"sqlite3\.h", r"(reducer/store/store_sqlite\.c|tests/)"),
    (r"(mongoc|bson)/", r"(reducer/store/store_mongo(_inside\.h|[a-z_]*\.c)|tests/)"),
    (r"microhttpd\.h", r"(reducer/rest/|tests/)"),
    (r"jansson\.h", r"(reducer/(store|rest|rpc|cli)/|reducer/[^/]*$|%s)" % EDGE[1:-1]),
    (r"yaml\.h", r"(common/conf/|tests/)"),
    (r"openssl/", r"(common/model/checksum\.c|common/rpc/|reducer/blob/sigv4\.c|tests/)"),
    (r"expat\.h", r"(reducer/blob/s3_xml\.c|tests/)"),
    (r"isa-l/", r"common/model/"),
    (r"xxhash\.h", r"common/model/"),
    (r"zlib\.h", r"(common/model/|client/data/|tests/)"),
    (r"archive(_entry)?\.h", r"(client/train/|tests/)"),
    (r"cmocka\.h", r"tests/"),
    (r"(sanitizer/|malloc\.h$)", r"(common/rpc/|tests/)"),
]

SYSTEM = re.compile(
    r"(assert|complex|ctype|errno|fenv|float|inttypes|iso646|limits|locale|math|setjmp|signal|"
    r"stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|"
    r"time|dirent|fcntl|fnmatch|fts|ftw|getopt|glob|ifaddrs|libgen|netdb|poll|pthread|pwd|sched|spawn|"
    r"termios|unistd|wchar|cpuid|immintrin|x86intrin|(sys|net|netinet|arpa|linux)/[a-z0-9_]+)\.h$"
)
IMPURE = re.compile(
    r"(pthread|stdatomic|time|signal|unistd|fcntl|dirent|poll|sched|netdb|spawn|termios|"
    r"(sys|net|netinet|arpa|linux)/[a-z0-9_]+)\.h$"
)
PURE = re.compile(r"(reducer|combiner|client)/core/")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.M)


def allowed_of(path):
    for pattern, allowed in RULES:
        match = re.match(pattern, path)
        if match:
            folder = re.match(r"([a-z]+)/([a-z]+)/", path)
            return [
                a.replace(r"reducer\1", "reducer/%s/" % match.group(1) if match.groups() else "")
                .replace(r"\1core", "%s/core/" % match.group(1) if match.groups() else "")
                .replace(r"\1", "%s/" % (folder.group(0)[:-1] if path.startswith("common/") else match.group(1)) if match.groups() else "")
                for a in allowed
            ]
    return []


def check_ours(path, name, files):
    if "/" not in name or name.startswith((".", "/")):
        return 'include ours from the root: "folder/%s"' % name.split("/")[-1]
    if name not in files and not name.endswith((".def", ".inc")):
        return "%s is not there" % name
    if not any(name.startswith(prefix) for prefix in allowed_of(path)):
        return "%s must not use %s: move what is needed down, or pass it in (RULES in layers.py)" % (
            "/".join(path.split("/")[:-1]),
            name,
        )
    return None


def check_theirs(path, name):
    if PURE.match(path) and IMPURE.match(name):
        return "a pure core uses no <%s>: threads, clocks, files and sockets belong to the edge" % name
    if SYSTEM.match(name):
        return None
    for header, door in DOORS:
        if re.match(header, name):
            if re.match(door, path):
                return None
            return "<%s> has another door (%s): go through what stands behind it" % (name, door)
    if name.split("/")[0] in source.ROOTS:
        return 'ours stand in quotes: #include "%s"' % name
    return "<%s> is a library without a door: name it in DOORS of layers.py" % name


def includes_of(text):
    """(line, opening, name); comments do not count, and the names stand in literals."""
    code = source.code_of(text)
    for match in INCLUDE.finditer(text):
        start = match.start(1)
        if code[start : start + 1].strip():
            yield text.count("\n", 0, start) + 1, match.group(1), match.group(2)


def find_cycles(graph):
    """Cycles of {header: [header]}, each once, as lists."""
    cycles = []
    done = set()
    for root in sorted(graph):
        stack = [(root, iter(graph[root]))]
        trail = [root]
        while stack:
            name, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                done.add(name)
                stack.pop()
                trail.pop()
            elif following in trail:
                cycles.append(trail[trail.index(following) :] + [following])
            elif following in graph and following not in done:
                stack.append((following, iter(graph[following])))
                trail.append(following)
    return cycles


def check(files):
    faults = []
    graph = {}
    for path, text in sorted(files.items()):
        graph[path] = []
        for line, opening, name in includes_of(text):
            if opening == '"':
                fault = check_ours(path, name, files)
                graph[path].append(name)
            else:
                fault = check_theirs(path, name)
            if fault:
                faults.append("%s:%d: %s" % (path, line, fault))
    for cycle in find_cycles({p: i for p, i in graph.items() if p.endswith(".h")}):
        faults.append("%s:1: headers in a circle: %s; declare a struct forward" % (cycle[0], " → ".join(cycle)))
    return faults


if __name__ == "__main__":
    sys.exit(source.main(check, source.C_FILES))
