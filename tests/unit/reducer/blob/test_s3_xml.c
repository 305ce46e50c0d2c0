#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "reducer/blob/s3_xml.h"

static int note(void *arg, const char *path, const char *text, struct fed_err *err)
{
    if (strcmp(text, "stop") == 0) {
        return fed_err_set(err, FED_E_LIMIT, "enough");
    }
    return fed_buf_addf(arg, err, "%s=%s ", path, text);
}

/* What is told of a text: "path=text path=text ", or "rc N". */
static void check(const char *xml, const char *want)
{
    struct fed_buf buf;
    struct fed_err err = {0};
    int rc;

    fed_buf_init(&buf, 0);
    rc = s3_xml_read(fed_view_str(xml), note, &buf, &err);
    if (rc < 0) {
        fed_buf_clear(&buf);
        assert_int_equal(fed_buf_addf(&buf, NULL, "rc %d", rc), 0);
        assert_int_equal(err.code, -rc);
    }
    assert_int_equal(fed_buf_add(&buf, "", 1, NULL), 0);
    assert_string_equal((const char *)buf.data, want);
    fed_buf_deinit(&buf);
}

static void test_leaves_are_told(void **state)
{
    (void)state;
    check("<?xml version=\"1.0\"?><a xmlns=\"http://x/\"><b>1</b><c><d>2 &amp; 3</d><d/></c></a>",
          "a/b=1 a/c/d=2 & 3 a/c/d= ");
    check("<a>text</a>", "a=text ");
    check("<a>between<b>1</b>after</a>", "a/b=1 ");
}

static void test_bounds(void **state)
{
    char *text = malloc(S3_XML_TEXT_SIZE + 16);

    (void)state;
    check("", "rc -3");
    check("no XML", "rc -3");
    check("<a><b></a>", "rc -3");
    check("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", "rc -3");
    check("<a>&b;</a>", "rc -3");
    check("<a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></a>", "a/a/a/a/a/a/a/a= ");
    check("<a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></a></a>", "rc -3");
    check("<a><b>stop</b><b>1</b></a>", "rc -6");
    assert_non_null(text);
    memset(text, 'x', S3_XML_TEXT_SIZE + 16);
    text[0] = '<';
    text[1] = 'a';
    text[2] = '>';
    (void)snprintf(text + S3_XML_TEXT_SIZE + 11, 5, "</a>");
    check(text, "rc -3");
    memset(text, 'x', S3_XML_PATH_SIZE + 2);
    text[0] = '<';
    (void)snprintf(text + S3_XML_PATH_SIZE + 1, 3, "/>");
    check(text, "rc -3");
    free(text);
}

static void test_find(void **state)
{
    const struct fed_view xml =
        fed_view_str("<Error><Code>NoSuchKey</Code><Code>second</Code></Error>");
    char text[16] = "what was before";

    (void)state;
    s3_xml_find(xml, "Error/Code", text, sizeof(text));
    assert_string_equal(text, "NoSuchKey");
    s3_xml_find(xml, "Error/Message", text, sizeof(text));
    assert_string_equal(text, "");
    s3_xml_find(xml, "Error/Code", text, 7); /* the second one fits; the first does not */
    assert_string_equal(text, "second");
    s3_xml_find(fed_view_str("<Error><Code>a</Code>"), "Error/Code", text, sizeof(text));
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaves_are_told),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
