/* Answers of an S3 server, which may be anybody: expat, with bounds. No document type, so that
 * there are no entities; depth and lengths as below. Pure functions, any thread.
 */
#ifndef REDUCER_BLOB_S3_XML_H
#define REDUCER_BLOB_S3_XML_H

#include <stddef.h>

#include "common/base/err.h"
#include "common/base/view.h"

#define S3_XML_DEPTH_MAX 8U
#define S3_XML_PATH_SIZE 256U  /* bytes, with the NUL */
#define S3_XML_TEXT_SIZE 2048U /* bytes of an element's text, with the NUL */

/* One element without children: path "ListBucketResult/Contents/Key". < 0 ends the reading. */
typedef int (*s3_xml_fn)(void *arg, const char *path, const char *text, struct fed_err *err);

/* Call fn for each. Fails with FED_E_CORRUPT: no XML, or beyond the bounds; or as fn. */
FED_NODISCARD int s3_xml_read(struct fed_view xml, s3_xml_fn fn, void *arg, struct fed_err *err);

/* The text of the first element of that path that fits; "" where there is none, or the answer is no
 * XML. */
void s3_xml_find(struct fed_view xml, const char *path, char *ret_text, size_t text_size);

#endif /* REDUCER_BLOB_S3_XML_H */
