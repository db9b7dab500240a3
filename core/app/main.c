/* The command line: serve, check, plugins, version. */
#include "app/gateway.h"
#include "app/settings.h"
#include "app/version.h"
#include "http/h1.h"
#include "plugin/plugin.h"

#include <dirent.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char usage_text[] =
    "usage: fngate serve [-c FILE] [--takeover] [--listen ADDRESS]... [--state-dir DIR]\n"
    "                    [--log-level LEVEL]      run the gateway; without FILE on embedded "
    "defaults\n"
    "       fngate check FILE                     check a configuration file and its plugins\n"
    "       fngate plugins [FILE.so]              list the bundled plugins, or describe one\n"
    "       fngate version                        show version, commit, parser and plugin ABI\n";

static int usage(FILE *out, int status)
{
    fputs(usage_text, out);
    return status;
}

static void print_report(const struct conf_report *report)
{
    fwrite(buf_str(&report->text).ptr, 1, buf_len(&report->text), stderr);
}

/* The gateway up to the point where nothing was started; NULL after complaints on stderr. */
static struct gateway *open_gateway(const char *file)
{
    struct conf_report report;
    struct settings *settings;
    struct gateway *gateway = NULL;

    conf_report_init(&report);
    settings = settings_read(file, &report);
    if (settings) {
        settings_apply_log(settings);
        gateway = gateway_new(settings, file, &report);
    }
    print_report(&report);
    conf_report_free(&report);
    return gateway;
}

enum { LISTEN_FLAGS_MAX = 16 };

/* Reads the flags of `serve`; false when they are wrong. */
static bool read_flags(int argc, char **argv, const char **ret_file, bool *ret_takeover)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},    {"takeover", no_argument, NULL, 't'},
        {"listen", required_argument, NULL, 'l'},    {"state-dir", required_argument, NULL, 's'},
        {"log-level", required_argument, NULL, 'v'}, {NULL, 0, NULL, 0}};
    static struct str listen[LISTEN_FLAGS_MAX];
    struct settings_flags flags = {.listen = {listen, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        if (option == 'c')
            *ret_file = optarg;
        else if (option == 't')
            *ret_takeover = true;
        else if (option == 'l' && flags.listen.count < LISTEN_FLAGS_MAX)
            listen[flags.listen.count++] = str_from(optarg);
        else if (option == 's')
            flags.state_dir = str_from(optarg);
        else if (option == 'v')
            flags.log_level = str_from(optarg);
        else
            return false;
    }
    settings_set_flags(&flags);
    return optind == argc;
}

static int serve(int argc, char **argv)
{
    const char *file = NULL;
    bool takeover = false;
    struct gateway *gateway;
    int status;

    if (!read_flags(argc, argv, &file, &takeover))
        return usage(stderr, 2);
    gateway = open_gateway(file);
    if (!gateway)
        return 1;
    status = gateway_run(gateway, takeover);
    gateway_free(gateway);
    return status;
}

static int check(int argc, char **argv)
{
    struct gateway *gateway;

    if (argc != 2)
        return usage(stderr, 2);
    gateway = open_gateway(argv[1]);
    if (!gateway)
        return 1;
    gateway_free(gateway);
    printf("%s: ok\n", argv[1]);
    return 0;
}

static int describe(const char *path)
{
    struct plugin *plugin;
    struct buf text;
    struct err err;

    if (plugin_open(path, &plugin, &err) < 0) {
        fprintf(stderr, "fngate: %s\n", err.text);
        return 1;
    }
    buf_init(&text, 0);
    plugin_describe(plugin, &text);
    fwrite(buf_str(&text).ptr, 1, buf_len(&text), stdout);
    buf_free(&text);
    return 0;
}

static int list_plugins(void)
{
    struct settings none = {0};
    AUTO_FREE char *some = settings_plugin_path(&none, STR("x"));
    struct str folder = str_sub(str_from(some), 0, (size_t)str_rfind(str_from(some), '/'));
    AUTO_FREE char *path = str_dup(folder);
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);

    if (count < 0) {
        fprintf(stderr, "fngate: no plugins in %s\n", path);
        return 1;
    }
    for (int i = 0; i < count; i++) {
        AUTO_FREE char *file = xasprintf("%s/%s", path, entries[i]->d_name);
        struct plugin *plugin;
        struct err err;

        if (str_ends(str_from(file), STR(".so")) && plugin_open(file, &plugin, &err) < 0)
            printf("%-20s cannot be loaded: %s\n", entries[i]->d_name, err.text);
        else if (str_ends(str_from(file), STR(".so")))
            printf("%-20s %-9s %-8s %s\n", plugin_descriptor(plugin)->name,
                   plugin_kind_name(plugin_descriptor(plugin)->kind),
                   plugin_descriptor(plugin)->version, plugin_descriptor(plugin)->description);
        free(entries[i]);
    }
    free(entries);
    return 0;
}

static int plugins(int argc, char **argv)
{
    if (argc > 2)
        return usage(stderr, 2);
    return argc == 2 ? describe(argv[1]) : list_plugins();
}

static int version(void)
{
    printf("fngate %s\ncommit %s\nparser %s\nplugin ABI %d.%d\n", FNGATE_VERSION, FNGATE_COMMIT,
           h1_parser_version(), FNG_ABI_MAJOR, FNG_ABI_MINOR);
    return 0;
}

int main(int argc, char **argv)
{
    struct str command = str_from(argc > 1 ? argv[1] : "help");

    if (str_eq(command, STR("serve")))
        return serve(argc - 1, argv + 1);
    if (str_eq(command, STR("check")))
        return check(argc - 1, argv + 1);
    if (str_eq(command, STR("plugins")))
        return plugins(argc - 1, argv + 1);
    if (str_eq(command, STR("version")) || str_eq(command, STR("--version")))
        return version();
    if (str_eq(command, STR("help")) || str_eq(command, STR("--help")))
        return usage(stdout, 0);
    fprintf(stderr, "fngate: unknown command '%s'\n", argv[1]);
    return usage(stderr, 2);
}
