#!/usr/bin/python3
"""The checks of this folder find what they are for, in snippets known to be bad."""

import unittest

import banned
import layers
import sizes
import source


def one(path, text, check):
    files = {path: text, "common/base/err.h": "", "common/base/log.h": "", "common/rpc/rpc.h": "",
             "reducer/store/store.h": "", "reducer/store/store_inside.h": "",
             "combiner/core/round.h": "", "common/link/link.h": "", "common/sync/loop.h": "",
             "common/model/layout.h": "", "reducer/core/round.h": "", "client/data/idx.h": "",
             "common/conf/conf.h": "", "reducer/rest/host.h": ""}
    return check(files)


class Source(unittest.TestCase):
    def test_comments_and_literals_are_blanked_in_place(self):
        text = 'a /* b\nc */ d "e // f" \'"\' // g\nh'
        self.assertEqual(source.code_of(text), 'a     \n     d "      " \' \'     \nh')

    def test_comments_are_found_with_their_lines(self):
        self.assertEqual(list(source.comments_of('x\n/* a */ "/* no */" // b\n')), [(2, "/* a */"), (2, "// b")])


class Layers(unittest.TestCase):
    def bad(self, path, include, words):
        faults = one(path, "#include %s\n" % include, layers.check)
        self.assertEqual(len(faults), 1, faults)
        self.assertTrue(faults[0].startswith(path + ":1: "), faults)
        self.assertIn(words, faults[0])

    def good(self, path, *includes):
        self.assertEqual(one(path, "".join("#include %s\n" % i for i in includes), layers.check), [])

    def test_what_is_allowed(self):
        self.good("common/base/a.c", '"common/base/err.h"', "<pthread.h>", "<sys/stat.h>")
        self.good("common/sync/a.c", '"common/sync/loop.h"', '"common/base/log.h"')
        self.good("reducer/core/a.c", '"reducer/core/round.h"', '"common/link/link.h"', '"common/base/err.h"', "<string.h>")
        self.good("reducer/rest/a.c", '"reducer/store/store.h"', '"reducer/rest/host.h"', "<jansson.h>", "<microhttpd.h>")
        self.good("reducer/reducer.c", '"reducer/store/store.h"', '"common/rpc/rpc.h"', "<jansson.h>")
        self.good("reducer/store/store_sqlite.c", '"reducer/store/store_inside.h"', "<sqlite3.h>", "<jansson.h>")
        self.good("combiner/rpc/a.c", '"combiner/core/round.h"', '"common/rpc/rpc.h"', "<fedn.pb-c.h>")
        self.good("client/agent.c", '"client/data/idx.h"', "<jansson.h>")
        self.good("common/link/link_encode.c", '"common/rpc/rpc.h"', "<confed/v1/federation.pb-c.h>")
        self.good("tests/unit/a.c", '"reducer/store/store_inside.h"', "<cmocka.h>", "<sqlite3.h>")

    def test_wrong_directions(self):
        self.bad("common/base/a.c", '"common/sync/loop.h"', "must not use")
        self.bad("common/conf/a.c", '"common/sync/loop.h"', "must not use")
        self.bad("common/model/a.c", '"common/link/link.h"', "must not use")
        self.bad("common/sync/a.c", '"common/conf/conf.h"', "must not use")
        self.bad("common/link/partial.c", '"common/rpc/rpc.h"', "must not use")
        self.bad("common/rpc/a.c", '"reducer/store/store.h"', "must not use")
        self.bad("reducer/rest/a.c", '"reducer/store/store_inside.h"', "must not use")
        self.bad("reducer/store/a.c", '"reducer/rest/host.h"', "must not use")
        self.bad("reducer/store/a.c", '"common/rpc/rpc.h"', "must not use")
        self.bad("reducer/store/a.c", '"common/conf/conf.h"', "must not use")
        self.bad("reducer/cli/a.c", '"reducer/store/store.h"', "must not use")
        self.bad("combiner/combiner.c", '"reducer/store/store.h"', "must not use")
        self.bad("client/core/a.c", '"combiner/core/round.h"', "must not use")

    def test_cores_are_pure(self):
        self.bad("reducer/core/a.c", '"common/base/log.h"', "must not use")
        self.bad("combiner/core/a.c", '"common/sync/loop.h"', "must not use")
        self.bad("reducer/core/a.c", "<pthread.h>", "pure core")
        self.bad("client/core/a.c", "<time.h>", "pure core")
        self.bad("combiner/aggregate/a.c", '"common/base/log.h"', "must not use")
        self.bad("reducer/core/a.c", "<jansson.h>", "another door")

    def test_doors(self):
        self.bad("reducer/rest/a.c", "<sqlite3.h>", "another door")
        self.bad("combiner/rpc/a.c", "<grpc/grpc.h>", "another door")
        self.bad("reducer/cli/a.c", "<curl/curl.h>", "another door")
        self.bad("reducer/cli/a.c", "<fedn.pb-c.h>", "another door")
        self.bad("common/base/a.c", "<jansson.h>", "another door")
        self.bad("common/base/a.c", "<libfancy.h>", "without a door")

    def test_how_ours_are_included(self):
        self.bad("common/base/a.c", '"err.h"', "from the root")
        self.bad("common/base/a.c", '"../base/err.h"', "from the root")
        self.bad("common/base/a.c", "<common/base/err.h>", "in quotes")
        self.bad("common/base/a.c", '"common/base/gone.h"', "not there")

    def test_comments_do_not_count(self):
        self.good("common/base/a.c")
        self.assertEqual(one("common/base/a.c", '/*\n#include "common/sync/loop.h"\n*/\n', layers.check), [])

    def test_circles(self):
        files = {
            "common/base/a.h": '#include "common/base/b.h"\n',
            "common/base/b.h": '#include "common/base/c.h"\n',
            "common/base/c.h": '#include "common/base/a.h"\n',
            "common/base/d.h": '#include "common/base/a.h"\n',
        }
        faults = layers.check(files)
        self.assertEqual(len(faults), 1, faults)
        self.assertIn("circle", faults[0])


class Sizes(unittest.TestCase):
    def bad(self, path, text, words):
        faults = sizes.check({path: text})
        self.assertEqual(len(faults), 1, faults)
        self.assertIn(words, faults[0])

    def test_long_functions(self):
        body = "    x++;\n" * 80
        self.bad("common/a.c", "static int f(int x)\n{\n%s}\n" % body, "f() has 81 lines")
        self.assertEqual(sizes.check({"common/a.c": "static int f(int x)\n{\n%s}\n" % body[9:]}), [])

    def test_tables_are_no_functions(self):
        self.assertEqual(sizes.check({"common/a.c": "static const int t[] = {\n%s};\n" % ("    1,\n" * 200)}), [])

    def test_files(self):
        self.bad("common/a.c", "\n" * 0, "empty")
        self.bad("common/a.c", "int x;\n" * 801, "801 lines")
        self.bad("reducer/main.c", "int x;\n" * 80, "main.c of 80 lines")
        self.bad("common/base/util.c", "int x;\n", "says nothing")
        self.bad("tests/helpers.py", "x = 1\n", "says nothing")
        self.assertEqual(sizes.check({"common/base/utility_bill.c": "int x;\n"}), [])


class Banned(unittest.TestCase):
    def bad(self, text, words, path="common/a.c"):
        faults = banned.check({path: text})
        self.assertEqual(len(faults), 1, faults)
        self.assertIn(words, faults[0])
        self.assertRegex(faults[0], r"^[a-z/.]+:\d+: ")

    def good(self, text, path="common/a.c"):
        self.assertEqual(banned.check({path: text}), [])

    def test_calls(self):
        for call in ("strcpy(a, b)", "sprintf (a, b)", "atoi(x)", "strtok(a, b)", "time(NULL)", "rand()",
                     "system(x)", "alloca(9)", "setjmp(b)", "signal(1, f)", "sleep(1)", "exit(1)",
                     "getenv(x)", "gmtime(&t)", "mktemp(x)"):
            self.bad("int x;\nint f(void)\n{\n    %s;\n}\n" % call, call.split("(")[0].strip() + "()")

    def test_what_only_looks_like_one(self):
        self.good("x = fed_rand(1); pthread_cond_signal(c); ops->exit(1); call.time(2); gmtime_r(a, b); nanosleep(a);")
        self.good('puts("system(x)"); /* exit(1) is not called */')
        self.good("exit(1);", "reducer/main.c")
        self.good("getenv(x);", "common/conf/conf.c")
        self.good("clock_gettime(a, b);", "common/base/clock.c")

    def test_goto(self):
        self.bad("goto fail;", "no goto")

    def test_comments(self):
        self.bad("x; // why\n", "/* */")
        self.bad("/* TODO: later */", "names its issue")
        self.good("/* TODO(issue 12): later */")
        self.bad("/* XXX */", "XXX")
        self.good('x = "XXX"; y = "// no";')

    def test_nolint(self):
        self.bad("x; /* NOLINT */", "NOLINT names its check")
        self.bad("/* NOLINTNEXTLINE(misc-no-recursion) */", "NOLINT names its check")
        self.good("/* NOLINTNEXTLINE(misc-no-recursion): bounded by DEPTH_MAX */")
        self.good("/* NOLINTBEGIN(a-b): why */ x; /* NOLINTEND(a-b) */")


if __name__ == "__main__":
    unittest.main()
