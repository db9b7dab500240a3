/* Successors: an instance that starts beside the one whose place it takes. */
#include "plugin/internal.h"

struct instance *instance_new_successor(struct instance *predecessor, struct plugin *plugin,
                                        const struct conf_doc *doc, const struct conf_node *map,
                                        int line, struct conf_report *report)
{
    struct instance *instance;

    predecessor->has_given_name = true;
    instance =
        instance_new(predecessor->plugins, plugin, predecessor->name, doc, map, line, report);
    predecessor->has_given_name = false;
    if (instance && instance->plugin == predecessor->plugin)
        instance->index = predecessor->index;
    return instance;
}
