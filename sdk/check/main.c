/* fngate-plugin-check: runs the conformance suite of a plugin's kind and prints TAP.
 *
 *   fngate-plugin-check [options] FILE.so [CONFIG.yaml]
 *
 * Exit status: 0 all cases pass, 1 some do not, 2 the tool could not begin.
 */
#include "case.h"

#include <dlfcn.h>
#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "usage: fngate-plugin-check [options] FILE.so [CONFIG.yaml]\n"
    "\n"
    "Runs the conformance suite of the plugin's kind and prints TAP.\n"
    "\n"
    "  -o, --option KEY=VALUE   a setting of the plugin; KEY.SUB=VALUE for maps; repeat for lists\n"
    "      --case PATTERN       only these cases: provider/scale-*\n"
    "      --skip PATTERN       not these cases; may be repeated\n"
    "      --list               print the names of the cases\n"
    "      --slow               more rounds in cases that look for leaks and races\n"
    "      --wait SECONDS       how long something promised may take (10)\n"
    "      --limit SECONDS      after which a case counts as hanging (60)\n"
    "      --libexec DIR        folder of the gateway's own executables\n"
    "  -v, --verbose            show the plugin's log\n"
    "\n"
    "The function that provider cases deploy:\n"
    "      --image IMAGE        its image (process)\n"
    "      --fprocess COMMAND   its command line (cat)\n"
    "      --annotation K=V     one annotation\n"
    "      --env K=V            one environment variable\n"
    "      --bad-image IMAGE    an image that cannot run\n"
    "\n"
    "Exit status: 0 all cases pass, 1 some do not, 2 the tool could not begin.\n";

enum {
    OPTION_CASE = 256,
    OPTION_SKIP,
    OPTION_LIST,
    OPTION_SLOW,
    OPTION_WAIT,
    OPTION_LIMIT,
    OPTION_LIBEXEC,
    OPTION_IMAGE,
    OPTION_FPROCESS,
    OPTION_ANNOTATION,
    OPTION_ENV,
    OPTION_BAD_IMAGE,
    OPTION_HELP
};

static const struct option long_options[] = {
    {"option", required_argument, NULL, 'o'},
    {"verbose", no_argument, NULL, 'v'},
    {"case", required_argument, NULL, OPTION_CASE},
    {"skip", required_argument, NULL, OPTION_SKIP},
    {"list", no_argument, NULL, OPTION_LIST},
    {"slow", no_argument, NULL, OPTION_SLOW},
    {"wait", required_argument, NULL, OPTION_WAIT},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"libexec", required_argument, NULL, OPTION_LIBEXEC},
    {"image", required_argument, NULL, OPTION_IMAGE},
    {"fprocess", required_argument, NULL, OPTION_FPROCESS},
    {"annotation", required_argument, NULL, OPTION_ANNOTATION},
    {"env", required_argument, NULL, OPTION_ENV},
    {"bad-image", required_argument, NULL, OPTION_BAD_IMAGE},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct command {
    struct options options;
    const char *only; /* pattern; NULL: all cases */
    struct {
        const char **items;
        size_t count;
    } skips; /* patterns */
    bool is_list;
};

static void die(const char *what, const char *why) __attribute__((noreturn));

static void die(const char *what, const char *why)
{
    fprintf(stderr, "fngate-plugin-check: %s: %s\n", what, why);
    exit(2);
}

static int64_t seconds_of(const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || value <= 0 || value > 86400)
        die(text, "is no number of seconds");
    return (int64_t)(value * 1000);
}

static void add_pair(struct settings *settings, const char *kind, const char *pair)
{
    char *assignment = must_printf("%s.%s", kind, pair);

    if (!settings_add(settings, assignment))
        die(pair, "is not KEY=VALUE");
    free(assignment);
}

static void take_option(struct command *command, int option)
{
    struct options *options = &command->options;

    switch (option) {
    case 'o':
        if (!settings_add(&options->settings, optarg))
            die(optarg, "is not KEY=VALUE");
        break;
    case 'v':
        options->is_loud = true;
        break;
    case OPTION_CASE:
        command->only = optarg;
        break;
    case OPTION_SKIP:
        *LIST_PUSH(&command->skips) = optarg;
        break;
    case OPTION_LIST:
        command->is_list = true;
        break;
    case OPTION_SLOW:
        options->is_slow = true;
        break;
    case OPTION_WAIT:
        options->wait_ms = seconds_of(optarg);
        break;
    case OPTION_LIMIT:
        options->limit_ms = seconds_of(optarg);
        break;
    case OPTION_LIBEXEC:
        options->libexec_dir = optarg;
        break;
    case OPTION_IMAGE:
        options->image = optarg;
        break;
    case OPTION_FPROCESS:
        options->env_process = optarg;
        break;
    case OPTION_ANNOTATION:
        add_pair(&options->function, "annotation", optarg);
        break;
    case OPTION_ENV:
        add_pair(&options->function, "env", optarg);
        break;
    case OPTION_BAD_IMAGE:
        options->bad_image = optarg;
        break;
    case OPTION_HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

static void read_command(struct command *command, int argc, char **argv)
{
    char *wrong = NULL;
    int option;

    *command = (struct command){.options = {.libexec_dir = "",
                                            .image = "process",
                                            .env_process = "cat",
                                            .wait_ms = 10000,
                                            .limit_ms = 60000}};
    while ((option = getopt_long(argc, argv, "o:v", long_options, NULL)) != -1)
        take_option(command, option);
    if (optind == argc || argc - optind > 2) {
        fputs(usage, stderr);
        exit(2);
    }
    command->options.file = argv[optind];
    if (argc - optind == 2)
        wrong = settings_read(&command->options.settings, argv[optind + 1]);
    if (wrong)
        die("configuration", wrong);
}

/* Runs the object's constructors and its entry function: in a child first, as these may crash. */
static const struct fng_plugin *load_plugin(const char *file)
{
    char *path = must_printf("%s%s", strchr(file, '/') ? "" : "./", file);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct fng_plugin *plugin;
    fng_plugin_entry_f *entry;

    free(path);
    if (!handle)
        case_fail("%s", dlerror());
    *(void **)&entry = dlsym(handle, FNG_PLUGIN_ENTRY_NAME);
    CHECK(entry, "it has no symbol %s: use FNG_PLUGIN_REGISTER", FNG_PLUGIN_ENTRY_NAME);
    plugin = entry(FNG_ABI_VERSION);
    CHECK(plugin, "%s gave NULL", FNG_PLUGIN_ENTRY_NAME);
    CHECK(plugin->magic == FNG_PLUGIN_MAGIC && plugin->abi_major == FNG_ABI_MAJOR &&
              plugin->size >= FNG_PLUGIN_SIZE_MIN,
          "its descriptor is not one of ABI %u", FNG_ABI_MAJOR);
    CHECK(plugin->kind == FNG_KIND_STORE || plugin->kind == FNG_KIND_PROVIDER,
          "there is no suite for kind %u", plugin->kind);
    return plugin;
}

static void load_once(struct case_context *context)
{
    load_plugin(context->options->file);
}

static bool is_wanted(const struct command *command, const char *name)
{
    return !command->only || fnmatch(command->only, name, 0) == 0;
}

static const char *skip_reason(const struct command *command, const struct check_case *one,
                               const struct fng_plugin *plugin)
{
    for (size_t i = 0; i < command->skips.count; i++)
        if (fnmatch(command->skips.items[i], one->name, 0) == 0)
            return "as asked for with --skip";
    return one->skip ? one->skip(plugin) : NULL;
}

/* One TAP line; a text's line ends would break it. */
static bool print_outcome(unsigned number, const char *name, struct outcome *outcome)
{
    bool is_ok = outcome->kind != OUTCOME_FAILED;

    for (char *c = outcome->text; *c; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    printf("%s %u - %s%s%s%s\n", is_ok ? "ok" : "not ok", number, name,
           outcome->text[0] ? " # " : "", outcome->kind == OUTCOME_SKIPPED ? "skip " : "",
           outcome->text);
    fflush(stdout);
    return is_ok;
}

/* A run over the suites. */
struct run {
    const struct command *command;
    const struct fng_plugin *plugin;
    unsigned wanted, number, failed;
    bool is_unsound; /* the descriptor is: its operations cannot be called */
};

/* Cases of the descriptor run even when nobody asked for them: the others rely on it. */
static bool is_about_descriptor(const struct check_case *one)
{
    return strncmp(one->name, "descriptor/", strlen("descriptor/")) == 0;
}

static void run_case(struct run *run, const struct check_case *one)
{
    bool is_asked_for = is_wanted(run->command, one->name);
    struct outcome outcome = {.kind = OUTCOME_SKIPPED};
    const char *reason = NULL;

    if (!is_asked_for && !is_about_descriptor(one))
        return;
    if (!run->is_unsound)
        reason = skip_reason(run->command, one, run->plugin);
    if (reason)
        snprintf(outcome.text, sizeof(outcome.text), "%s", reason);
    else
        outcome = case_run(one, &run->command->options, run->plugin);
    if (is_about_descriptor(one) && outcome.kind == OUTCOME_FAILED)
        run->is_unsound = true;
    if (is_asked_for && !print_outcome(++run->number, one->name, &outcome))
        run->failed++;
}

static bool needs_descriptor(const struct check_case *one)
{
    return !is_about_descriptor(one) && strncmp(one->name, "file/", strlen("file/")) != 0;
}

static void run_suite(struct run *run, const struct suite *suite)
{
    for (size_t i = 0; i < suite->count; i++) {
        if (run->is_unsound && needs_descriptor(&suite->cases[i]))
            return;
        run_case(run, &suite->cases[i]);
    }
}

static unsigned count_wanted(const struct command *command, const struct suite *suite)
{
    unsigned count = 0;

    for (size_t i = 0; i < suite->count; i++) {
        if (!is_wanted(command, suite->cases[i].name))
            continue;
        count++;
        if (command->is_list)
            puts(suite->cases[i].name);
    }
    return count;
}

/* The suite of every plugin, then the one of its kind. True when all cases pass. */
static bool run_suites(const struct command *command, const struct fng_plugin *plugin)
{
    const struct suite *kind = plugin->kind == FNG_KIND_STORE ? &store_suite : &provider_suite;
    struct run run = {.command = command, .plugin = plugin};

    run.wanted = count_wanted(command, &life_suite) + count_wanted(command, kind);
    if (run.wanted == 0)
        die(command->only, "there is no such case; see --list");
    if (command->is_list)
        return true;

    printf("1..%u\n", run.wanted);
    fflush(stdout);
    run_suite(&run, &life_suite);
    run_suite(&run, kind);
    if (run.is_unsound)
        printf("Bail out! %s: its descriptor is not sound\n", command->options.file);
    else if (run.failed)
        printf("# %u of %u cases failed\n", run.failed, run.wanted);
    return !run.is_unsound && run.failed == 0;
}

int main(int argc, char **argv)
{
    static const struct check_case load = {"file/loads", load_once, NULL};
    struct command command;
    struct outcome outcome;
    bool is_ok;

    read_command(&command, argc, argv);
    outcome = case_run(&load, &command.options, NULL);
    if (outcome.kind == OUTCOME_FAILED) {
        printf("Bail out! %s: %s\n", command.options.file, outcome.text);
        return 2;
    }
    is_ok = run_suites(&command, load_plugin(command.options.file));
    settings_free(&command.options.settings);
    settings_free(&command.options.function);
    free(command.skips.items);
    return is_ok ? 0 : 1;
}
