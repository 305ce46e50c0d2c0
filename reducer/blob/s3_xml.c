#include "reducer/blob/s3_xml.h"

#include <expat.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct reading {
    XML_Parser parser;
    s3_xml_fn fn;
    void *arg;
    char path[S3_XML_PATH_SIZE];
    size_t path_size;
    unsigned depth;
    char text[S3_XML_TEXT_SIZE];
    size_t text_size;
    bool is_leaf; /* no child of the open element has come */
    int rc;
    struct fed_err *err;
};

static void stop(struct reading *reading, int rc)
{
    reading->rc = rc;
    (void)XML_StopParser(reading->parser, XML_FALSE);
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct reading *reading = arg;
    const size_t n = strlen(name);

    (void)attributes;
    if (reading->rc == 0 &&
        (reading->depth == S3_XML_DEPTH_MAX || reading->path_size + n + 2 > S3_XML_PATH_SIZE)) {
        stop(reading, fed_err_set(reading->err, FED_E_CORRUPT, "the answer's XML is too deep"));
    }
    if (reading->rc < 0) {
        return; /* expat may call once more after it was stopped, as in the following */
    }
    if (reading->depth > 0) {
        reading->path[reading->path_size++] = '/';
    }
    memcpy(reading->path + reading->path_size, name, n + 1);
    reading->path_size += n;
    reading->depth++;
    reading->text_size = 0;
    reading->is_leaf = true;
}

static void XMLCALL on_text(void *arg, const XML_Char *text, int size)
{
    struct reading *reading = arg;

    if (reading->rc == 0 && reading->text_size + (size_t)size >= S3_XML_TEXT_SIZE) {
        stop(reading, fed_err_set(reading->err, FED_E_CORRUPT, "the answer's XML has long texts"));
    }
    if (reading->rc < 0) {
        return;
    }
    memcpy(reading->text + reading->text_size, text, (size_t)size);
    reading->text_size += (size_t)size;
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
    struct reading *reading = arg;
    int rc = 0;

    if (reading->rc < 0) {
        return;
    }
    if (reading->is_leaf) {
        reading->text[reading->text_size] = '\0';
        rc = reading->fn(reading->arg, reading->path, reading->text, reading->err);
    }
    reading->is_leaf = false;
    reading->text_size = 0;
    reading->depth--;
    reading->path_size -= strlen(name) + (reading->depth > 0 ? 1 : 0);
    reading->path[reading->path_size] = '\0';
    if (rc < 0) {
        stop(reading, rc);
    }
}

static void XMLCALL on_doctype(void *arg,
                               const XML_Char *name,
                               const XML_Char *system_id,
                               const XML_Char *public_id,
                               int has_internal_subset)
{
    struct reading *reading = arg;

    (void)name;
    (void)system_id;
    (void)public_id;
    (void)has_internal_subset;
    stop(reading, fed_err_set(reading->err, FED_E_CORRUPT, "the answer's XML has a DOCTYPE"));
}

int s3_xml_read(struct fed_view xml, s3_xml_fn fn, void *arg, struct fed_err *err)
{
    struct reading reading = {.fn = fn, .arg = arg, .err = err};
    const XML_Parser parser = XML_ParserCreate("UTF-8");

    if (parser == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "XML");
    }
    reading.parser = parser;
    XML_SetUserData(parser, &reading);
    XML_SetElementHandler(parser, on_start, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    XML_SetStartDoctypeDeclHandler(parser, on_doctype);
    if (xml.size > INT_MAX ||
        (XML_Parse(parser, xml.data, (int)xml.size, XML_TRUE) != XML_STATUS_OK &&
         reading.rc == 0)) {
        reading.rc = fed_err_set(err, FED_E_CORRUPT, "the answer is no XML: %s",
                                 XML_ErrorString(XML_GetErrorCode(parser)));
    }
    XML_ParserFree(parser);
    return reading.rc;
}

struct finding {
    const char *path;
    char *text;
    size_t text_size;
};

static int find_path(void *arg, const char *path, const char *text, struct fed_err *err)
{
    const struct finding *finding = arg;

    (void)err;
    if (finding->text[0] == '\0' && strcmp(path, finding->path) == 0 &&
        strlen(text) < finding->text_size) {
        (void)snprintf(finding->text, finding->text_size, "%s", text);
    }
    return 0;
}

void s3_xml_find(struct fed_view xml, const char *path, char *ret_text, size_t text_size)
{
    struct finding finding = {path, ret_text, text_size};

    ret_text[0] = '\0';
    if (s3_xml_read(xml, find_path, &finding, NULL) < 0) {
        ret_text[0] = '\0';
    }
}
