/* The gateway as a whole: makes the parts from the settings, starts them in order, serves, and
 * stops them in reverse. Everything here runs on the control loop, which is the main thread.
 *
 *   store -> catalog's records -> providers -> listeners       (start)
 *   listeners drain -> providers -> catalog saved -> store     (stop)
 */
#ifndef APP_GATEWAY_H
#define APP_GATEWAY_H

#include "app/settings.h"

struct gateway;

/* Opens plugins, makes instances and binds their configuration: what `fngate check` checks. Takes
 * the settings over. NULL after complaints. `file` NULL: embedded defaults. */
struct gateway *gateway_new(struct settings *settings, const char *file,
                            struct conf_report *report);

/* Serves until SIGTERM or SIGINT. Returns the exit status. With `takeover` the listening sockets of
 * the gateway that runs on the same state folder are taken over, and it drains. */
int gateway_run(struct gateway *gateway, bool takeover);

/* After gateway_run, or instead of it. */
void gateway_free(struct gateway *gateway);

#endif
