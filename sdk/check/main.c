/* fngate-plugin-check: runs the conformance suite of a plugin's kind and prints TAP.
 *
 *   fngate-plugin-check [options] FILE.so [CONFIG.yaml]
 *
 * Exit status: 0 all cases pass, 1 some do not, 2 the tool could not begin.
 */
#include "case.h"

#include <dlfcn.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "usage: fngate-plugin-check [options] FILE.so [CONFIG.yaml]\n"
    "\n"
    "Runs the conformance suite of the plugin's kind and prints TAP.\n"
    "\n"
    "  -o, --option KEY=VALUE   a setting of the plugin; KEY.SUB=VALUE for maps; repeat for lists\n"
    "      --case NAME          only this case, or those that begin with NAME when it ends in '/'\n"
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
    "\n"
    "Exit status: 0 all cases pass, 1 some do not, 2 the tool could not begin.\n";

enum {
    OPTION_CASE = 256,
    OPTION_LIST,
    OPTION_SLOW,
    OPTION_WAIT,
    OPTION_LIMIT,
    OPTION_LIBEXEC,
    OPTION_IMAGE,
    OPTION_FPROCESS,
    OPTION_ANNOTATION,
    OPTION_ENV,
    OPTION_HELP
};

static const struct option long_options[] = {
    {"option", required_argument, NULL, 'o'},
    {"verbose", no_argument, NULL, 'v'},
    {"case", required_argument, NULL, OPTION_CASE},
    {"list", no_argument, NULL, OPTION_LIST},
    {"slow", no_argument, NULL, OPTION_SLOW},
    {"wait", required_argument, NULL, OPTION_WAIT},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"libexec", required_argument, NULL, OPTION_LIBEXEC},
    {"image", required_argument, NULL, OPTION_IMAGE},
    {"fprocess", required_argument, NULL, OPTION_FPROCESS},
    {"annotation", required_argument, NULL, OPTION_ANNOTATION},
    {"env", required_argument, NULL, OPTION_ENV},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct command {
    struct options options;
    const char *only; /* NULL: all cases */
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
    size_t len = command->only ? strlen(command->only) : 0;

    if (len == 0)
        return true;
    if (command->only[len - 1] == '/')
        return strncmp(name, command->only, len) == 0;
    return strcmp(name, command->only) == 0;
}

static const char *skip_reason(const struct check_case *one, const struct fng_plugin *plugin)
{
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

static bool run_case(const struct command *command, const struct check_case *one,
                     const struct fng_plugin *plugin, unsigned number)
{
    const char *reason = skip_reason(one, plugin);
    struct outcome outcome = {.kind = OUTCOME_SKIPPED};

    if (reason)
        snprintf(outcome.text, sizeof(outcome.text), "%s", reason);
    else
        outcome = case_run(one, &command->options, plugin);
    return print_outcome(number, one->name, &outcome);
}

/* The suite of every plugin, then the one of its kind. Returns the number of failed cases. */
static unsigned run_suites(const struct command *command, const struct fng_plugin *plugin)
{
    const struct suite *kind = plugin->kind == FNG_KIND_STORE ? &store_suite : &provider_suite;
    const struct suite *suites[] = {&life_suite, kind};
    unsigned wanted = 0, number = 0, failed = 0;

    for (size_t s = 0; s < COUNT_OF(suites); s++)
        for (size_t i = 0; i < suites[s]->count; i++)
            wanted += is_wanted(command, suites[s]->cases[i].name);
    if (wanted == 0)
        die(command->only, "there is no such case; see --list");
    if (!command->is_list)
        printf("1..%u\n", wanted);
    fflush(stdout);

    for (size_t s = 0; s < COUNT_OF(suites); s++)
        for (size_t i = 0; i < suites[s]->count; i++) {
            const struct check_case *one = &suites[s]->cases[i];

            if (!is_wanted(command, one->name))
                continue;
            if (command->is_list)
                puts(one->name);
            else if (!run_case(command, one, plugin, ++number))
                failed++;
        }
    if (failed)
        printf("# %u of %u cases failed\n", failed, wanted);
    return failed;
}

int main(int argc, char **argv)
{
    static const struct check_case load = {"file/loads", load_once, NULL};
    struct command command;
    struct outcome outcome;
    unsigned failed;

    read_command(&command, argc, argv);
    outcome = case_run(&load, &command.options, NULL);
    if (outcome.kind == OUTCOME_FAILED) {
        printf("Bail out! %s: %s\n", command.options.file, outcome.text);
        return 2;
    }
    failed = run_suites(&command, load_plugin(command.options.file));
    settings_free(&command.options.settings);
    settings_free(&command.options.function);
    return failed ? 1 : 0;
}
