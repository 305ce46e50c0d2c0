#include "common/net/http_client.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <curl/curl.h>

#define WAIT_MS 250 /* between two looks at is_cancelled; everything else wakes by itself */

struct exchange {
    const struct fed_http_request *request;
    struct fed_http_response response;
    FILE *file;
    struct fed_err *err;
    struct curl_slist *headers;
    curl_mime *mime;
    char message[CURL_ERROR_SIZE];
    bool is_too_long;
};

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct exchange *exchange = arg;

    (void)size; /* 1, by libcurl's contract */
    if (exchange->file != NULL) {
        return fwrite(data, 1, n, exchange->file);
    }
    if (exchange->request->response_max == 0 || /* for the buffer, 0 is no bound */
        fed_buf_add(&exchange->response.body, data, n, NULL) < 0) {
        exchange->is_too_long = true;
        return 0;
    }
    return n;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct fed_http_request *request = ((struct exchange *)arg)->request;

    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return request->is_cancelled != NULL ? request->is_cancelled(request->arg) : 0;
}

static void set_form(CURL *curl, struct exchange *exchange, const struct fed_http_form *form)
{
    exchange->mime = curl_mime_init(curl);
    for (size_t i = 0; i < form->n_texts; i++) {
        curl_mimepart *part = curl_mime_addpart(exchange->mime);
        (void)curl_mime_name(part, form->names[i]);
        (void)curl_mime_data(part, form->values[i], CURL_ZERO_TERMINATED);
    }
    if (form->file_path != NULL) {
        curl_mimepart *part = curl_mime_addpart(exchange->mime);
        (void)curl_mime_name(part, "file");
        (void)curl_mime_filedata(part, form->file_path);
        (void)curl_mime_filename(part, form->file_name);
    }
    (void)curl_easy_setopt(curl, CURLOPT_MIMEPOST, exchange->mime);
}

static void set_up(CURL *curl, struct exchange *exchange)
{
    const struct fed_http_request *request = exchange->request;
    char header[128];

    for (size_t i = 0; i < request->n_headers; i++) {
        exchange->headers = curl_slist_append(exchange->headers, request->headers[i]);
    }
    if (request->content_type != NULL) {
        (void)snprintf(header, sizeof(header), "Content-Type: %s", request->content_type);
        exchange->headers = curl_slist_append(exchange->headers, header);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.size);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS,
                               request->body.size == 0 ? "" : request->body.data);
    } else if (request->form != NULL) {
        set_form(curl, exchange, request->form);
    }
    exchange->headers = curl_slist_append(exchange->headers, "Expect:");
    (void)curl_easy_setopt(curl, CURLOPT_URL, request->url);
    (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, exchange->headers);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                           (long)(request->timeout_ms < 5000 ? request->timeout_ms : 5000));
    (void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 3L);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchange);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, exchange);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, exchange->message);
}

/* Half an answer is none; what is no file of ours (a pipe, a device) stays. */
static void remove_output(const char *path)
{
    struct stat st;

    if (lstat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        (void)unlink(path);
    }
}

static int convert(const struct exchange *exchange, CURLcode code, struct fed_err *err)
{
    const char *text = exchange->message[0] != '\0' ? exchange->message : curl_easy_strerror(code);

    if (exchange->is_too_long) {
        return fed_err_set(err, FED_E_LIMIT, "the answer is over %zu bytes",
                           exchange->request->response_max);
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return fed_err_set(err, FED_E_TIMEOUT, "%s: %s", exchange->request->url, text);
    }
    if (code == CURLE_ABORTED_BY_CALLBACK) {
        return fed_err_set(err, FED_E_CANCELLED, "cancelled");
    }
    if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL) {
        return fed_err_set(err, FED_E_INVALID, "bad URL '%s'", exchange->request->url);
    }
    if (code == CURLE_READ_ERROR && exchange->request->form != NULL) {
        return fed_err_set(err, FED_E_IO, "cannot read %s", exchange->request->form->file_path);
    }
    if (code == CURLE_WRITE_ERROR) {
        return fed_err_set(err, FED_E_IO, "cannot write %s", exchange->request->output_path);
    }
    return fed_err_set(err, FED_E_UNAVAILABLE, "cannot reach %s: %s", exchange->request->url, text);
}

/* curl_easy_perform(), with an eye on cancel_fd. */
static CURLcode perform(CURL *curl, int cancel_fd)
{
    CURLM *multi = curl_multi_init();
    struct curl_waitfd extra = {.fd = cancel_fd, .events = CURL_WAIT_POLLIN};
    const unsigned n_extra = cancel_fd > 0 ? 1 : 0;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    int n_running = 1;
    int n_left = 0;

    if (multi == NULL || curl_multi_add_handle(multi, curl) != CURLM_OK) {
        (void)curl_multi_cleanup(multi);
        return code;
    }
    while (n_running > 0 && (extra.revents & CURL_WAIT_POLLIN) == 0) {
        CURLMcode step = curl_multi_perform(multi, &n_running);
        if (step == CURLM_OK && n_running > 0) {
            step = curl_multi_poll(multi, &extra, n_extra, WAIT_MS, NULL);
        }
        if (step != CURLM_OK) {
            break;
        }
    }
    if (n_running > 0 && extra.revents != 0) {
        code = CURLE_ABORTED_BY_CALLBACK;
    }
    for (const CURLMsg *msg = curl_multi_info_read(multi, &n_left); msg != NULL;
         msg = curl_multi_info_read(multi, &n_left)) {
        code = msg->msg == CURLMSG_DONE ? msg->data.result : code;
    }
    (void)curl_multi_remove_handle(multi, curl);
    (void)curl_multi_cleanup(multi);
    return code;
}

int fed_http_run(const struct fed_http_request *request,
                 struct fed_http_response *ret_response,
                 struct fed_err *err)
{
    struct exchange exchange = {.request = request, .err = err};
    CURL *curl = curl_easy_init();
    CURLcode code;
    int rc = 0;

    if (curl == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "HTTP request");
    }
    fed_buf_init(&exchange.response.body, request->response_max);
    if (request->output_path != NULL) {
        exchange.file = fopen(request->output_path, "wbe");
        if (exchange.file == NULL) {
            curl_easy_cleanup(curl);
            return fed_err_set(err, FED_E_IO, "cannot write %s", request->output_path);
        }
    }
    set_up(curl, &exchange);
    code = perform(curl, request->cancel_fd);
    if (exchange.file != NULL && fclose(exchange.file) != 0 && code == CURLE_OK) {
        code = CURLE_WRITE_ERROR;
    }
    if (code == CURLE_OK) {
        (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &exchange.response.status);
        exchange.response.body.size_max = 0;
        rc = fed_buf_add(&exchange.response.body, "", 1, err);
        exchange.response.body.size -= rc == 0 ? 1 : 0;
    } else {
        rc = convert(&exchange, code, err);
    }
    curl_mime_free(exchange.mime);
    curl_slist_free_all(exchange.headers);
    curl_easy_cleanup(curl);
    if (rc < 0) {
        if (exchange.file != NULL) {
            remove_output(request->output_path);
        }
        fed_http_response_deinit(&exchange.response);
        return rc;
    }
    *ret_response = exchange.response;
    return 0;
}

void fed_http_response_deinit(struct fed_http_response *response)
{
    fed_buf_deinit(&response->body);
    response->status = 0;
}
