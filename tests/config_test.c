/* SPDX-License-Identifier: ISC */
/*
 * config_test.c - the configuration: golden files, round trips, what is generated from the table.
 *
 * tests/config/NAME.json is parsed; NAME.ok has the normalised form it must come to, NAME.err the message. Generated
 * files in the tree must be what the table generates; PGLEND_GENERATE=1 in the environment writes them first.
 */
#include "config_table.h"
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define PRINTED   JSON_INDENT(2)
#define DATABASE  "\"database\": {\"dbname\": \"d\"}"

static void source_path(char path[PATH_SIZE], const char *file)
{
    const char *source = getenv("PGLEND_SOURCE");

    snprintf(path, PATH_SIZE, "%s/%s", source == NULL ? "." : source, file);
}

/* The whole file, NUL-terminated; freed by the caller. NULL: there is none. */
static char *slurp(const char *file)
{
    char path[PATH_SIZE];
    char *text = NULL;
    size_t size = 0;

    source_path(path, file);
    FILE *in = fopen(path, "r");
    if (in == NULL)
        return NULL;
    ssize_t length = getdelim(&text, &size, '\0', in);
    ck_assert_msg(!ferror(in) && text != NULL, "cannot read %s", path);
    text[length < 0 ? 0 : length] = '\0';
    fclose(in);
    return text;
}

static void spill(const char *file, const char *text)
{
    char path[PATH_SIZE];

    source_path(path, file);
    FILE *out = fopen(path, "w");
    ck_assert_ptr_nonnull(out);
    ck_assert_int_ge(fputs(text, out), 0);
    ck_assert_int_eq(fclose(out), 0);
}

static struct config *parse(const char *text, char error[CONFIG_ERROR_MAX])
{
    return config_parse("test.json", text, strlen(text), error);
}

static struct config *parse_good(const char *text)
{
    char error[CONFIG_ERROR_MAX];
    struct config *config = parse(text, error);

    ck_assert_msg(config != NULL, "%s", error);
    return config;
}

static char *print(const struct config *config)
{
    json_t *json = config_json(config);
    char *text = json_dumps(json, PRINTED);

    ck_assert_ptr_nonnull(text);
    json_decref(json);
    return text;
}

/* ---- golden files ---- */

static void check_golden(const char *name, const char *text)
{
    char file[512], error[CONFIG_ERROR_MAX + 2] = "";

    snprintf(file, sizeof file, "%s.json", name);
    struct config *config = config_parse(file, text, strlen(text), error);
    snprintf(file, sizeof file, "tests/config/%s.%s", name, config != NULL ? "ok" : "err");
    char *want = slurp(file);
    char *have = config != NULL ? print(config) : strdup(error);
    ck_assert_msg(want != NULL, "there is no %s, but: %s", file, have);
    size_t length = strlen(want);
    if (length > 0 && want[length - 1] == '\n')
        want[length - 1] = '\0';
    ck_assert_msg(strcmp(want, have) == 0, "%s wants\n%s\nbut it is\n%s", file, want, have);
    free(want);
    free(have);
    config_free(config);
}

START_TEST(golden_files)
{
    char path[PATH_SIZE], name[256], file[512];
    struct dirent *entry;
    int seen = 0;

    source_path(path, "tests/config");
    DIR *dir = opendir(path);
    ck_assert_msg(dir != NULL, "cannot open %s: set PGLEND_SOURCE", path);
    while ((entry = readdir(dir)) != NULL) {
        size_t length = strlen(entry->d_name);

        if (length < 6 || strcmp(entry->d_name + length - 5, ".json") != 0)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)length - 5, entry->d_name);
        snprintf(file, sizeof file, "tests/config/%s", entry->d_name);
        char *text = slurp(file);
        check_golden(name, text);
        free(text);
        seen++;
    }
    closedir(dir);
    ck_assert_int_ge(seen, 20);
}
END_TEST

/* What --check-config says of the profile; for each of its keys there is a file in which it is too weak. */
START_TEST(the_profile_explains_each_key_and_refuses_each)
{
    char *text = NULL, *want = slurp("tests/config/regulated.explained"), *line, *rest, path[PATH_SIZE],
         command[PATH_SIZE + 256];
    size_t size, keys = 0;
    FILE *out = open_memstream(&text, &size);

    ck_assert_ptr_nonnull(out);
    config_profile_explain(out);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_ptr_nonnull(want);
    ck_assert_str_eq(text, want);
    source_path(path, "tests/config");
    for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "  ", 2) != 0 || line[2] == ' ')
            continue;
        snprintf(command, sizeof command, "grep -qE '[\".]%.*s\": .* is weaker than the profile' '%s'/regulated_*.err",
                 (int)strcspn(line + 2, " "), line + 2, path);
        ck_assert_msg(system(command) == 0, "no file in which %.60s is too weak", line + 2);
        keys++;
    }
    ck_assert_uint_eq(keys, 13);
    free(text);
    free(want);
}
END_TEST

START_TEST(example_parses)
{
    char *text = slurp("config/pglend.json");

    ck_assert_ptr_nonnull(text);
    struct config *config = parse_good(text);
    ck_assert_uint_eq(config->pools, 2);
    ck_assert_int_eq(config_pool(config, "reports")->acquire_timeout_ms, 60000);
    ck_assert_str_eq(config_pool(config, "clinic")->database.settings.item[0], "statement_timeout=30s");
    config_free(config);
    free(text);
}
END_TEST

START_TEST(what_readme_shows_parses)
{
    char *text = slurp("README.md"), *begin = strstr(text, "```json\n"), *end;

    ck_assert_ptr_nonnull(begin);
    begin += strlen("```json\n");
    ck_assert_ptr_nonnull(end = strstr(begin, "```"));
    *end = '\0';
    config_free(parse_good(begin));
    free(text);
}
END_TEST

START_TEST(printed_parses_to_itself)
{
    char *text = slurp("tests/config/full.json");

    struct config *config = parse_good(text);
    char *once = print(config);
    struct config *again = parse_good(once);
    char *twice = print(again);
    ck_assert_str_eq(once, twice);
    free(once);
    free(twice);
    free(text);
    config_free(config);
    config_free(again);
}
END_TEST

START_TEST(pool_goes_to_another_process)
{
    char error[CONFIG_ERROR_MAX];
    char *text = slurp("tests/config/full.json");
    struct config *config = parse_good(text);

    for (size_t i = 0; i < config->pools; i++) {
        json_t *json = config_pool_json(&config->pool[i]);
        struct pool_config *pool = config_pool_parse(config->pool[i].name, json, error);
        ck_assert_msg(pool != NULL, "%s", error);
        json_t *again = config_pool_json(pool);
        ck_assert(json_equal(json, again));
        ck_assert_str_eq(pool->name, config->pool[i].name);
        json_decref(json);
        json_decref(again);
        config_pool_free(pool);
    }
    json_t *bad = json_pack("{s:{s:s}, s:{s:i}}", "database", "dbname", "d", "size", "max", 5000);
    ck_assert_ptr_null(config_pool_parse("clinic", bad, error));
    ck_assert_str_eq(error, "\"pools.clinic.size.max\": 5000 is not valid; write an integer from 1 to 4096");
    json_decref(bad);
    free(text);
    config_free(config);
}
END_TEST

/* ---- reload ---- */

struct changes {
    char text[4096];
};

static void note_change(void *context, const char *path, const char *old, const char *new, const char *takes)
{
    struct changes *c = context;
    size_t used = strlen(c->text);

    snprintf(c->text + used, sizeof c->text - used, "%s %.22s %.22s %s\n", path, old == NULL ? "-" : old,
             new == NULL ? "-" : new, takes);
}

START_TEST(comparison)
{
    struct config *old = parse_good("{\"pools\": {\"a\": {" DATABASE "}, \"b\": {" DATABASE "}}}");
    struct config *new = parse_good("{\"log\": {\"level\": \"debug\"}, \"pools\": {\"c\": {" DATABASE "}, \"a\": "
                                    "{\"database\": {\"dbname\": \"e\"}, \"size\": {\"max\": 30, \"limit\": 40}, "
                                    "\"access\": {\"users\": [\"www-data\"]}, \"reset\": {\"query\": \"x\"}}}}");
    struct changes changes = {""};

    config_compare(old, new, note_change, &changes);
    ck_assert_str_eq(changes.text, "log.level \"info\" \"debug\" applied\n"
                                   "pools.a.database.dbname \"d\" \"e\" needs recycle\n"
                                   "pools.a.size.max 20 30 applied\n"
                                   "pools.a.size.limit 100 40 needs restart\n"
                                   "pools.a.access.users [] [\"www-data\"] applied\n"
                                   "pools.a.reset \"full\" {\"query\":\"x\"} applied\n"
                                   "pools.b {\"database\":{\"host\":\"\" - needs restart\n"
                                   "pools.c - {\"database\":{\"host\":\"\" needs restart\n");
    changes.text[0] = '\0';
    config_compare(new, new, note_change, &changes);
    ck_assert_str_eq(changes.text, "");
    config_free(old);
    config_free(new);
}
END_TEST

/* ---- generated files ---- */

static void compare_generated(const char *file, const char *have, const char *want)
{
    if (strcmp(have, want) == 0)
        return;
    if (getenv("PGLEND_GENERATE") == NULL)
        ck_abort_msg("%s is not what the table says: run this test with PGLEND_GENERATE=1", file);
    spill(file, want);
}

START_TEST(schema_is_generated)
{
    char *have = slurp("config/pglend.schema.json");
    json_t *schema = config_schema();
    char *dump = json_dumps(schema, PRINTED);
    char *want;

    ck_assert_ptr_nonnull(dump);
    ck_assert_int_ge(asprintf(&want, "%s\n", dump), 0);
    compare_generated("config/pglend.schema.json", have == NULL ? "" : have, want);
    json_decref(schema);
    free(dump);
    free(want);
    free(have);
}
END_TEST

/* Does the program tests/NAME.c add a test CASE to one of its cases? */
static bool is_tested(const char *name, const char *test)
{
    char file[256], call[128];
    char *text, *found;
    size_t length;

    snprintf(file, sizeof file, "tests/%s.c", name);
    if ((text = slurp(file)) == NULL)
        return false;
    length = (size_t)snprintf(call, sizeof call, ", %s", test);
    for (found = text; (found = strstr(found, call)) != NULL; found += length)
        if (found[length] == ')' || found[length] == ',')
            break;
    free(text);
    return found != NULL;
}

static bool is_key(const char *path)
{
    for (size_t i = 0; i < config_rows; i++)
        if (strcmp(config_row[i].path, path) == 0)
            return true;
    return false;
}

/* What pglend-hipaa(7) says that a key does has the key, and a test; ".Ic pglend..." is a command. */
START_TEST(the_page_on_hipaa_names_what_there_is)
{
    char *page = slurp("daemon/pglend-hipaa.7"), *rest = page, *line;
    char name[128], test[128];
    int keys = 0, tests = 0;

    ck_assert_ptr_nonnull(page);
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (sscanf(line, ".Ic %127[a-z_.]", name) == 1 && strncmp(name, "pglend", 6) != 0) {
            ck_assert_msg(is_key(name), "it has the key \"%s\", and there is none", name);
            keys++;
        } else if (strncmp(line, ".Dl ", 4) == 0) {
            ck_assert_msg(sscanf(line, ".Dl %127[a-z_0-9]: %127[a-z_0-9]", name, test) == 2, "not a test: %s", line);
            ck_assert_msg(is_tested(name, test), "it has the test %s of %s, and there is none", test, name);
            tests++;
        }
    }
    free(page);
    ck_assert_int_gt(keys, 10);
    ck_assert_int_gt(tests, 20);
}
END_TEST

START_TEST(manual_is_generated)
{
    static const char first[] = "this part is printed by config_print_manual().\n";
    char *page = slurp("daemon/pglend.json.5");
    char *want = NULL;
    size_t size = 0;

    ck_assert_ptr_nonnull(page);
    const char *head = strstr(page, first);
    const char *tail = strstr(page, ".\\\" End of keys.");
    ck_assert(head != NULL && tail != NULL);
    head += strlen(first);
    FILE *out = open_memstream(&want, &size);
    fwrite(page, 1, (size_t)(head - page), out);
    config_print_manual(out);
    fputs(tail, out);
    fclose(out);
    compare_generated("daemon/pglend.json.5", page, want);
    for (size_t i = 0; i < config_rows; i++)
        ck_assert_msg(strstr(want, config_row[i].path) != NULL, "%s is not in the manual", config_row[i].path);
    free(want);
    free(page);
}
END_TEST

/* ---- hostile input ---- */

/* Every prefix of a good file, and every byte of it replaced, gives a config or a message; nothing else. */
START_TEST(damaged_text)
{
    static const char bytes[] = {'\0', '"', '{', '}', ',', '\\', '\n', 'x', '0', '\xff'};
    char error[CONFIG_ERROR_MAX];
    char *text = slurp("tests/config/full.json");
    size_t length = strlen(text) - 1; /* without the last newline, which may be missing */

    for (size_t i = 0; i < length; i++) {
        char *part = malloc(i == 0 ? 1 : i);
        memcpy(part, text, i);
        ck_assert_ptr_null(config_parse("cut", part, i, error));
        ck_assert_int_eq(strncmp(error, "cut:", 4), 0);
        free(part);

        char old = text[i];
        text[i] = bytes[i % sizeof bytes];
        struct config *config = config_parse("hit", text, length, error);
        ck_assert(config != NULL || strncmp(error, "hit:", 4) == 0);
        config_free(config);
        text[i] = old;
    }
    free(text);
}
END_TEST

static long allocations_left;

static void *scarce_malloc(size_t size)
{
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

/* Jansson out of memory at any allocation: no config, or a whole one. */
START_TEST(out_of_memory)
{
    char error[CONFIG_ERROR_MAX];
    char *text = slurp("config/pglend.json");
    struct config *config = parse_good(text);
    json_t *want = config_json(config);
    bool whole = false;

    json_set_alloc_funcs(scarce_malloc, free);
    for (long n = 0; !whole; n++) {
        allocations_left = n;
        json_t *json = config_json(config);
        allocations_left = INT32_MAX;
        whole = json != NULL;
        ck_assert(!whole || json_equal(json, want));
        json_decref(json);
    }
    for (long n = 0; n < 3000; n++) {
        allocations_left = n;
        struct config *made = parse(text, error);
        ck_assert(made != NULL || error[0] != '\0');
        allocations_left = INT32_MAX;
        json_t *json = made == NULL ? NULL : config_json(made);
        ck_assert(made == NULL || json_equal(json, want));
        json_decref(json);
        config_free(made);
    }
    json_decref(want);
    config_free(config);
    free(text);
}
END_TEST

START_TEST(files_that_cannot_be_read)
{
    char error[CONFIG_ERROR_MAX];
    char path[] = "/tmp/pglend-config-XXXXXX";

    ck_assert_ptr_null(config_load("/nonexistent/pglend.json", error));
    ck_assert_str_eq(error, "/nonexistent/pglend.json: cannot open the configuration: No such file or directory; name "
                            "another with -c FILE");
    ck_assert_ptr_null(config_load("/tmp", error));
    ck_assert_ptr_nonnull(strstr(error, "must be a regular file"));
    ck_assert_ptr_null(config_load("/dev/zero", error));

    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_ptr_null(config_load(path, error));
    ck_assert_ptr_nonnull(strstr(error, ":1:1: this is not JSON"));
    ck_assert_int_eq(ftruncate(fd, 1024 * 1024 + 1), 0);
    ck_assert_ptr_null(config_load(path, error));
    ck_assert_ptr_nonnull(strstr(error, "at most 1048576 bytes"));
    close(fd);
    unlink(path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_ptr_null(config_load(path, error));
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *files = tcase_create("files"), *hostile = tcase_create("hostile");

    tcase_add_test(files, golden_files);
    tcase_add_test(files, the_profile_explains_each_key_and_refuses_each);
    tcase_add_test(files, example_parses);
    tcase_add_test(files, what_readme_shows_parses);
    tcase_add_test(files, printed_parses_to_itself);
    tcase_add_test(files, pool_goes_to_another_process);
    tcase_add_test(files, schema_is_generated);
    tcase_add_test(files, manual_is_generated);
    tcase_add_test(files, the_page_on_hipaa_names_what_there_is);
    tcase_add_test(files, comparison);
    tcase_add_test(hostile, damaged_text);
    tcase_add_test(hostile, out_of_memory);
    tcase_add_test(hostile, files_that_cannot_be_read);
    tcase_set_timeout(hostile, 60);
    suite_add_tcase(suite, files);
    suite_add_tcase(suite, hostile);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
