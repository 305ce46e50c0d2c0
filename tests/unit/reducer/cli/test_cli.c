/* The commands from argv to exit status, against a fake reducer. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/base/file.h"
#include "common/conf/conf.h"
#include "reducer/cli/cli.h"
#include "reducer/cli/cmd.h"
#include "tests/unit/reducer/cli/fake_reducer.h"

#define WORDS_MAX 16

struct fixture {
    struct fake_reducer *fake;
    char url[FAKE_URL_SIZE];
    char folder[64];
    char *out; /* of the last command */
    char *errors;
};

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){0};
    f.fake = fake_reducer_new(f.url);
    (void)snprintf(f.folder, sizeof(f.folder), "/tmp/confed-cli-XXXXXX");
    assert_non_null(mkdtemp(f.folder));
    *state = &f;
    return 0;
}

static void drop_output(struct fixture *f)
{
    free(f->out);
    free(f->errors);
    f->out = NULL;
    f->errors = NULL;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    drop_output(f);
    fake_reducer_free(f->fake);
    return fed_folder_remove(f->folder, NULL);
}

/* Run `confed LINE --api-url URL`, words separated by blanks. */
static int run(struct fixture *f, const char *line)
{
    char text[512];
    char *argv[WORDS_MAX + 4] = {(char[]){"confed"}};
    size_t out_size = 0;
    size_t errors_size = 0;
    FILE *out;
    FILE *errors;
    int argc = 1;
    int status;
    char *rest = NULL;

    drop_output(f);
    out = open_memstream(&f->out, &out_size);
    errors = open_memstream(&f->errors, &errors_size);
    assert_true(out != NULL && errors != NULL);
    (void)snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok_r(text, " ", &rest); word != NULL && argc < WORDS_MAX;
         word = strtok_r(NULL, " ", &rest)) {
        argv[argc++] = word;
    }
    argv[argc++] = (char[]){"--api-url"};
    argv[argc++] = f->url;
    status = cli_run(argc, argv, out, errors);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(fclose(errors), 0);
    return status;
}

static void test_what_was_mistyped_is_named(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(run(f, "sesion list"), FED_EXIT_USAGE);
    assert_string_equal(f->errors, "confed: unknown command 'sesion', did you mean `confed "
                                   "session`?\n");
    assert_int_equal(run(f, "session strat"), FED_EXIT_USAGE);
    assert_non_null(strstr(f->errors, "did you mean `confed session start`?"));
    assert_int_equal(run(f, "session start --model cnn --rouns 3"), FED_EXIT_USAGE);
    assert_non_null(strstr(f->errors, "did you mean --rounds?"));
    assert_non_null(strstr(f->errors, "`confed session start --help`"));
    assert_int_equal(run(f, "session start"), FED_EXIT_USAGE);
    assert_non_null(strstr(f->errors, "--model is missing"));
    assert_int_equal(run(f, "model upload"), FED_EXIT_USAGE);
    assert_non_null(strstr(f->errors, "model upload needs FILE"));
    assert_int_equal(run(f, "session start --model m --clients-required 3 --clients-per-round 2"),
                     FED_EXIT_USAGE);
    assert_int_equal(run(f, "up --http nowhere --trainer echo"), FED_EXIT_USAGE);
    assert_string_equal(fake_reducer_take_log(f->fake), "");
    assert_string_equal(f->out, "");
}

static void test_every_command_has_help(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < cmd_count; i++) {
        char line[128];
        (void)snprintf(line, sizeof(line), "%s %s --help", cmd_all[i].group, cmd_all[i].name);
        assert_int_equal(run(f, line), FED_EXIT_OK);
        assert_non_null(strstr(f->out, "Usage:"));
        assert_non_null(strstr(f->out, cmd_all[i].summary));
        assert_non_null(strstr(f->out, "--api-url"));
        assert_non_null(strstr(f->out, "Exit status:"));
        (void)snprintf(line, sizeof(line), "help %s %s", cmd_all[i].group, cmd_all[i].name);
        assert_int_equal(run(f, line), FED_EXIT_OK);
        assert_non_null(strstr(f->out, cmd_all[i].summary));
    }
    assert_int_equal(run(f, "hold --help"), FED_EXIT_OK);
    assert_non_null(strstr(f->out, "confed hold [OPTION...] -- PROGRAM [ARG...]\n"));
    assert_int_equal(run(f, "session --help"), FED_EXIT_OK);
    assert_non_null(strstr(f->out, "session watch"));
    assert_int_equal(run(f, "--help"), FED_EXIT_OK);
    assert_non_null(strstr(f->out, "FED_API_URL"));
    assert_int_equal(run(f, "--version"), FED_EXIT_OK);
    assert_string_equal(f->out, "confed " CONFED_VERSION "\n");
}

static void test_ports_are_loopback_unless_told(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(run(f, "hold --help"), FED_EXIT_OK);
    assert_non_null(strstr(f->out, "127.0.0.1:12080"));
    assert_int_equal(run(f, "up --help"), FED_EXIT_OK);
    assert_null(strstr(f->out, "0.0.0.0:"));
}

static void test_nobody_there(void **state)
{
    struct fixture *f = *state;

    (void)snprintf(f->url, sizeof(f->url), "http://127.0.0.1:1");
    assert_int_equal(run(f, "status"), FED_EXIT_UNREACHABLE);
    assert_string_equal(f->errors, "confed: cannot reach the reducer at http://127.0.0.1:1\n"
                                   "        is the reducer running? start one with `confed up`, "
                                   "or say where it is with --api-url URL\n");
    assert_string_equal(f->out, "");
}

static void test_doctor_fails_when_a_check_has(void **state)
{
    struct fixture *f = *state;
    const char *const path = "GET /api/v1/doctor";

    fake_reducer_answer(f->fake, path, 200,
                        "{\"version\":\"" CONFED_VERSION "\",\"checks\":[{\"name\":\"store\","
                        "\"status\":\"ok\",\"text\":\"fine\",\"advice\":\"\"}]}");
    fake_reducer_answer(
        f->fake, path, 200,
        "{\"version\":\"9.9\",\"checks\":[{\"name\":\"store\","
        "\"status\":\"failed\",\"text\":\"gone\\u001b[2J\",\"advice\":\"start it\"}]}");
    fake_reducer_answer(f->fake, path, 503,
                        "{\"message\":\"The reducer waits for its metadata store\"}");
    assert_int_equal(run(f, "doctor"), FED_EXIT_OK);
    assert_non_null(strstr(f->out, "ok       store     fine\n"));
    assert_int_equal(run(f, "doctor"), FED_EXIT_FAILED);
    assert_non_null(strstr(f->out, "failed   store     gone"));
    assert_non_null(strstr(f->out, "  ->  start it\n"));
    assert_null(strchr(f->out, '\033'));
    assert_non_null(strstr(f->out, "warning  reducer")); /* another version */
    assert_int_equal(run(f, "doctor"), FED_EXIT_UNREACHABLE);
    assert_non_null(strstr(f->errors, "waits for its metadata store"));
}

static void test_prune_asks_before_it_removes(void **state)
{
    struct fixture *f = *state;
    const char *const path = "POST /api/v1/models/prune";
    const char *const report = "{\"dry_run\":true,\"bytes\":2048,\"removed\":[{\"model_id\":\"m1\","
                               "\"size_bytes\":2048}],\"kept\":[{\"model_id\":\"m2\"}]}";

    fake_reducer_answer(f->fake, path, 200, report);
    assert_int_equal(run(f, "model prune"), FED_EXIT_USAGE);
    assert_non_null(strstr(f->errors, "--keep N is missing"));
    (void)fake_reducer_take_log(f->fake);
    assert_int_equal(run(f, "model prune --keep 3 --keep-best loss"), FED_EXIT_OK);
    assert_non_null(strstr(f->out, "1 model would go, 2048 B; 1 stay\n"));
    assert_non_null(strstr(f->out, "nothing was removed; --yes does it\n"));
    assert_string_equal(fake_reducer_take_log(f->fake),
                        "POST /api/v1/models/prune "
                        "{\"keep\":3,\"keep_best\":\"loss\",\"dry_run\":true}\n");
    assert_int_equal(run(f, "model prune --keep 3 --yes"), FED_EXIT_OK);
    assert_string_equal(fake_reducer_take_log(f->fake),
                        "POST /api/v1/models/prune "
                        "{\"keep\":3,\"keep_best\":\"\",\"dry_run\":false}\n");
    assert_non_null(strstr(f->out, "\nm1 "));
    assert_non_null(strstr(f->out, "1 model removed"));
    assert_int_equal(run(f, "--json model prune --keep 3 --yes"), FED_EXIT_OK);
    assert_string_equal(fake_reducer_take_log(f->fake),
                        "POST /api/v1/models/prune "
                        "{\"keep\":3,\"keep_best\":\"\",\"dry_run\":false}\n");
    assert_int_equal(f->out[0], '{');
    assert_int_equal(run(f, "--json model prune --keep 3"), FED_EXIT_OK);
    assert_int_equal(f->out[0], '{');
}

static void test_status_says_what_is_waited_for(void **state)
{
    static const char live[] =
        "{\"seq\":3,\"state\":\"monitoring\",\"version\":\"0.1.0\",\"uptime_ms\":200000,"
        "\"waits_for\":\"round 2 waits for the update of c2, 12 s left\","
        "\"session\":{\"session_id\":\"s1\",\"name\":\"first\",\"status\":\"Started\","
        "\"rounds_total\":5,\"rounds_done\":1,\"failed_rounds\":0,\"stopping\":false},"
        "\"round\":{\"round_number\":2,\"phase\":\"open\",\"clients\":[{\"phase\":\"admitted\"},"
        "{\"phase\":\"asked\"}]},\"validation\":{\"model_id\":\"m1\",\"asked\":2,\"received\":1},"
        "\"combiners\":[{\"status\":\"online\"}],\"clients\":[{\"status\":\"online\"},"
        "{\"status\":\"offline\"}],\"trouble\":[\"the disk is full\"]}";
    struct fixture *f = *state;
    char want[1024];
    json_t *json;

    fake_reducer_answer(f->fake, "GET /api/v1/live?after=0&wait_ms=0", 200, live);
    assert_int_equal(run(f, "status"), FED_EXIT_OK);
    (void)snprintf(want, sizeof(want),
                   "reducer    %s  version 0.1.0  up 3 min 20 s\n"
                   "now        round 2 waits for the update of c2, 12 s left\n"
                   "session    s1  first  Started  1 of 5 rounds done, 0 failed\n"
                   "round      2  open  2 asked, 1 training, 1 uploaded, 0 refused, 0 silent, 0 "
                   "gone\n"
                   "validation 1 of 2 clients have validated model m1\n"
                   "combiners  1 online of 1\nclients    1 online of 2\n"
                   "trouble    the disk is full\n",
                   f->url);
    assert_string_equal(f->out, want);
    assert_int_equal(run(f, "--json status"), FED_EXIT_OK);
    json = json_loads(f->out, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(json, "seq")), 3);
    json_decref(json);
}

static void test_a_round_shows_who_was_refused_and_why(void **state)
{
    struct fixture *f = *state;

    fake_reducer_answer(
        f->fake, "GET /api/v1/rounds/7", 200,
        "{\"round_id\":\"7\",\"session_id\":\"s1\",\"round_number\":2,\"status\":\"Failed\","
        "\"failure\":\"1 of 2 required updates\",\"entries\":[{\"client_id\":\"c1\",\"examples\":"
        "100,\"combiner_id\":\"k1\",\"update_id\":\"u1\"}],\"refused\":[{\"client\":\"c2\","
        "\"update\":\"u2\",\"reason\":\"not_finite\",\"detail\":\"tensor 3: NaN at 17\"}],"
        "\"refused_more\":{\"late\":4}}");
    assert_int_equal(run(f, "round show 7"), FED_EXIT_OK);
    assert_string_equal(f->out, "round           7\n"
                                "session         s1\n"
                                "number          2\n"
                                "status          Failed\n"
                                "failure         1 of 2 required updates\n"
                                "\nUpdates that count\n"
                                "CLIENT  EXAMPLES  COMBINER  UPDATE\n"
                                "c1           100  k1        u1\n"
                                "\nRefused updates\n"
                                "CLIENT  REASON      DETAIL\n"
                                "c2      not_finite  tensor 3: NaN at 17\n"
                                "and 4 more: late\n");
    assert_int_equal(run(f, "round show 8"), FED_EXIT_FAILED);
    assert_non_null(strstr(f->errors, "confed: "));
}

static void test_lists_are_tables_or_arrays(void **state)
{
    struct fixture *f = *state;

    fake_reducer_answer(f->fake, "GET /api/v1/clients/", 200, "{\"count\":0,\"result\":[]}");
    fake_reducer_answer(f->fake, "GET /api/v1/clients/", 200,
                        "{\"count\":1,\"result\":[{\"client_id\":\"c1\",\"name\":\"n\","
                        "\"status\":\"online\",\"combiner\":\"k\",\"ip\":\"127.0.0.1\","
                        "\"last_seen\":\"Sun, 22 Nov 2026 12:48:44 GMT\"}]}");
    assert_int_equal(run(f, "client list"), FED_EXIT_OK);
    assert_non_null(strstr(f->out, "No client has come yet"));
    assert_int_equal(run(f, "client list --limit 3"), FED_EXIT_OK);
    assert_string_equal(f->out, "CLIENT  NAME  STATUS  COMBINER  ADDRESS    LAST SEEN\n"
                                "c1      n     online  k         127.0.0.1  2026-11-22 12:48:44\n");
    assert_int_equal(run(f, "client list --json"), FED_EXIT_OK);
    assert_int_equal(f->out[0], '[');
    assert_string_equal(fake_reducer_take_log(f->fake), "GET /api/v1/clients/ limit=100\n"
                                                        "GET /api/v1/clients/ limit=3\n"
                                                        "GET /api/v1/clients/ limit=100\n");
}

#define LIVE(seq, status, done, round, validation)                                               \
    "{\"seq\":" seq ",\"session\":{\"session_id\":\"s1\",\"status\":\"" status                   \
    "\",\"rounds_total\":1,\"rounds_done\":" done ",\"failed_rounds\":0,\"model_id\":\"m1\"},"   \
    "\"round\":" round ",\"validation\":" validation                                             \
    ",\"clients\":[{\"status\":\"online\"},{\"status\":\"online\"}],\"combiners\":[{\"status\":" \
    "\"online\"}]}"

static void tell_session(struct fixture *f)
{
    fake_reducer_answer(f->fake, "GET /api/v1/models/m0", 200, "{\"model_id\":\"m0\"}");
    fake_reducer_answer(f->fake, "POST /api/v1/sessions/", 201, "{\"session_id\":\"s1\"}");
    fake_reducer_answer(f->fake, "POST /api/v1/sessions/start", 200,
                        "{\"message\":\"Session started\"}");
    fake_reducer_answer(f->fake, "GET /api/v1/sessions/s1", 200,
                        "{\"session_id\":\"s1\",\"status\":\"Started\",\"session_config\":"
                        "{\"round_timeout\":5,\"validate\":true}}");
    fake_reducer_answer(f->fake, "GET /api/v1/live?after=0&wait_ms=0", 200,
                        LIVE("4", "Started", "0",
                             "{\"round_number\":1,\"clients\":[{\"phase\":\"asked\"}]}", "null"));
    fake_reducer_answer(
        f->fake, "GET /api/v1/live?after=4&wait_ms=25000", 200,
        LIVE("6", "Finished", "1", "null", "{\"model_id\":\"m1\",\"asked\":2,\"received\":0}"));
    fake_reducer_answer(f->fake, "GET /api/v1/rounds/?session_id=s1", 200,
                        "{\"count\":0,\"result\":[]}");
    fake_reducer_answer(f->fake, "GET /api/v1/rounds/?session_id=s1", 200,
                        "{\"count\":1,\"result\":[{\"round_id\":\"9\",\"round_number\":1,"
                        "\"phase\":\"committed\",\"model_id\":\"m1\",\"clients\":[{},{}],"
                        "\"entries\":[{},{}],\"refused\":[],\"timings\":{\"total_ms\":2500}}]}");
    fake_reducer_answer(f->fake, "GET /api/v1/validations/?model_id=m1", 200,
                        "{\"count\":2,\"result\":[{\"sender\":{\"name\":\"c1\"},\"data\":"
                        "\"{\\\"test_accuracy\\\":0.75,\\\"test_loss\\\":0.5}\"},{\"sender\":"
                        "{\"name\":\"c2\"},\"data\":\"{\\\"test_accuracy\\\":0.25,"
                        "\\\"test_loss\\\":1.5}\"}]}");
    fake_reducer_answer(f->fake, "GET /api/v1/models/m1", 200,
                        "{\"model_id\":\"m1\",\"sha256\":\"abcd\"}");
}

static void test_a_session_is_started_and_followed(void **state)
{
    struct fixture *f = *state;
    json_t *json;

    tell_session(f);
    /* the last validations are waited for, at most one round_timeout */
    fake_reducer_answer(
        f->fake, "GET /api/v1/live?after=6&wait_ms=5000", 200,
        LIVE("8", "Finished", "1", "null", "{\"model_id\":\"m1\",\"asked\":2,\"received\":2}"));
    assert_int_equal(run(f, "session start --model m0 --rounds 1 --clients-required 2 --epochs 3 "
                            "--round-timeout 5s --wait --json"),
                     FED_EXIT_OK);
    json = json_loads(f->out, 0, NULL);
    assert_non_null(json);
    assert_int_equal(json_integer_value(json_object_get(json, "rounds")), 1);
    assert_int_equal(json_integer_value(json_object_get(json, "clients")), 2);
    assert_int_equal(json_integer_value(json_object_get(json, "combiners")), 1);
    assert_float_equal(json_real_value(json_object_get(json, "accuracy")), 0.5, 0);
    assert_float_equal(json_real_value(json_object_get(json, "loss")), 1.0, 0);
    assert_string_equal(json_string_value(json_object_get(json, "model_sha256")), "abcd");
    json_decref(json);
    assert_non_null(strstr(f->errors, "round 1/1  [####################]"));
    assert_non_null(strstr(
        fake_reducer_take_log(f->fake),
        "POST /api/v1/sessions/ {\"seed_model_id\":\"m0\",\"session_config\":{\"aggregator\":"
        "\"fedavg\",\"round_timeout\":5,\"buffer_size\":-1,\"delete_models_storage\":true,"
        "\"clients_required\":2,\"validate\":true,\"helper_type\":\"numpyhelper\",\"model_id\":"
        "\"m0\",\"seed\":1},\"task_settings\":{\"epochs\":3}}\n"
        "POST /api/v1/sessions/start {\"session_id\":\"s1\",\"rounds\":1}\n"));
}

/* The reducer is restarted meanwhile: 503 while it ends, then another process with the same rows.
 */
static void test_watching_outlives_a_restart_of_the_reducer(void **state)
{
    struct fixture *f = *state;

    fake_reducer_answer(f->fake, "GET /api/v1/live?after=4&wait_ms=25000", 503,
                        "{\"message\":\"ending\"}");
    tell_session(f);
    fake_reducer_answer(
        f->fake, "GET /api/v1/live?after=0&wait_ms=0", 200,
        LIVE("9", "Finished", "1", "null", "{\"model_id\":\"m1\",\"asked\":2,\"received\":2}"));
    assert_int_equal(run(f, "session watch s1"), FED_EXIT_OK);
    assert_non_null(strstr(f->out, "the reducer does not answer; waiting for it, 60 s at most"));
    assert_non_null(strstr(f->out, "2 validated  loss 1.0000  accuracy 50.00 %"));
}

static void test_ctrl_c_leaves_the_session_running(void **state)
{
    struct fixture *f = *state;

    fake_reducer_answer(f->fake, "GET /api/v1/live?after=4&wait_ms=25000", 0, "");
    tell_session(f);
    assert_int_equal(run(f, "session watch s1"), FED_EXIT_OK);
    assert_string_equal(f->out, "\nsession s1 goes on without you: `confed session watch s1` shows "
                                "it again, `confed session stop s1` ends it\n");
    assert_null(strstr(fake_reducer_take_log(f->fake), "stop"));
}

static void test_a_session_that_cannot_start_says_what_to_do(void **state)
{
    struct fixture *f = *state;

    fake_reducer_answer(f->fake, "GET /api/v1/models/m0", 200, "{\"model_id\":\"m0\"}");
    fake_reducer_answer(f->fake, "POST /api/v1/sessions/", 201, "{\"session_id\":\"s1\"}");
    fake_reducer_answer(f->fake, "POST /api/v1/sessions/start", 400,
                        "{\"message\":\"A session is already running!\"}");
    assert_int_equal(run(f, "session start --model m0"), FED_EXIT_FAILED);
    assert_string_equal(f->errors, "confed: A session is already running!\n"
                                   "        watch it with `confed session watch`, or end it with "
                                   "`confed session stop`\n");
}

static void test_failed_rounds_are_an_exit_status(void **state)
{
    struct fixture *f = *state;

    fake_reducer_answer(f->fake, "GET /api/v1/sessions/s1", 200,
                        "{\"session_id\":\"s1\",\"status\":\"Finished\",\"failed_rounds\":1,"
                        "\"model_id\":\"m0\",\"session_config\":{\"round_timeout\":5}}");
    fake_reducer_answer(f->fake, "GET /api/v1/live?after=0&wait_ms=0", 200, "{\"session\":null}");
    fake_reducer_answer(f->fake, "GET /api/v1/rounds/?session_id=s1", 200,
                        "{\"count\":1,\"result\":[{\"round_number\":1,\"phase\":\"failed\","
                        "\"failure\":\"0 of 1 required updates\",\"clients\":[{}]}]}");
    fake_reducer_answer(f->fake, "GET /api/v1/models/m0", 200, "{\"model_id\":\"m0\"}");
    assert_int_equal(run(f, "session watch s1"), FED_EXIT_ROUNDS);
    assert_non_null(strstr(f->out, "failed: 0 of 1 required updates"));
}

static void test_model_new_writes_the_same_file_for_a_seed(void **state)
{
    struct fixture *f = *state;
    char line[256];
    char first[512];

    (void)snprintf(line, sizeof(line), "model new cnn --seed 7 --output %s/a.npz", f->folder);
    assert_int_equal(run(f, line), FED_EXIT_OK);
    (void)snprintf(first, sizeof(first), "%s", strstr(f->out, "sha256"));
    (void)snprintf(line, sizeof(line), "model new cnn --seed 7 --output %s/b.npz", f->folder);
    assert_int_equal(run(f, line), FED_EXIT_OK);
    assert_string_equal(strstr(f->out, "sha256"), first);
    (void)snprintf(line, sizeof(line), "model new cnn --seed 8 --output %s/b.npz", f->folder);
    assert_int_equal(run(f, line), FED_EXIT_OK);
    assert_string_not_equal(strstr(f->out, "sha256"), first);
    assert_int_equal(run(f, "model new rnn"), FED_EXIT_USAGE);
    assert_non_null(strstr(f->errors, "no built-in model 'rnn': want cnn"));
}

static void test_a_damaged_download_is_noticed(void **state)
{
    struct fixture *f = *state;
    char line[256];

    fake_reducer_answer(f->fake, "GET /api/v1/models/m1", 200,
                        "{\"model_id\":\"m1\",\"sha256\":\"00\"}");
    fake_reducer_answer(f->fake, "GET /api/v1/models/m1/download", 200, "something else");
    (void)snprintf(line, sizeof(line), "model download m1 --output %s/m.npz", f->folder);
    assert_int_equal(run(f, line), FED_EXIT_FAILED);
    assert_non_null(strstr(f->errors, "came damaged"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_was_mistyped_is_named),
        TEST(test_every_command_has_help),
        TEST(test_ports_are_loopback_unless_told),
        TEST(test_nobody_there),
        TEST(test_status_says_what_is_waited_for),
        TEST(test_doctor_fails_when_a_check_has),
        TEST(test_prune_asks_before_it_removes),
        TEST(test_a_round_shows_who_was_refused_and_why),
        TEST(test_lists_are_tables_or_arrays),
        TEST(test_a_session_is_started_and_followed),
        TEST(test_watching_outlives_a_restart_of_the_reducer),
        TEST(test_ctrl_c_leaves_the_session_running),
        TEST(test_a_session_that_cannot_start_says_what_to_do),
        TEST(test_failed_rounds_are_an_exit_status),
        TEST(test_model_new_writes_the_same_file_for_a_seed),
        TEST(test_a_damaged_download_is_noticed),
    };
    sigset_t interrupt;

    /* the server's threads inherit this: SIGINT is for the command's signalfd */
    (void)sigemptyset(&interrupt);
    (void)sigaddset(&interrupt, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &interrupt, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
