/* The gateway's own part of /metrics: process, workers, servers, clients, proxies. */
#include "app/gateway_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    uint64_t pages_total, pages_resident = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%" SCNu64 " %" SCNu64, &pages_total, &pages_resident) != 2)
        pages_resident = 0;
    fclose(file);
    return pages_resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void figure(struct buf *out, const char *type, const char *name, const char *help,
                   double value)
{
    (void)buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name,
                     value);
}

static void process_figures(struct buf *out)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    figure(out, "counter", "process_cpu_seconds_total", "CPU time of the gateway.",
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    figure(out, "gauge", "process_resident_memory_bytes", "Resident memory of the gateway.",
           (double)resident_bytes());
}

static void sum_workers(struct gateway *gateway, struct worker_stats *sum)
{
    *sum = (struct worker_stats){0};
    for (unsigned i = 0; i < gateway->workers_count; i++) {
        struct worker_stats one;

        worker_stats(gateway->workers[i], &one);
        sum->server.accepted += one.server.accepted;
        sum->server.requests += one.server.requests;
        sum->server.bad_requests += one.server.bad_requests;
        sum->server.timeouts += one.server.timeouts;
        sum->server.refused += one.server.refused;
        sum->server.connections += one.server.connections;
        sum->server.idle += one.server.idle;
        sum->client.connects += one.client.connects;
        sum->client.reuses += one.client.reuses;
        sum->client.failures += one.client.failures;
        sum->client.active += one.client.active;
        sum->client.idle += one.client.idle;
        sum->proxy.retries += one.proxy.retries;
        sum->proxy.parked += one.proxy.parked;
        sum->proxy.refused += one.proxy.refused;
    }
}

void gateway_figures(void *arg, struct buf *out)
{
    struct worker_stats sum;

    process_figures(out);
    sum_workers(arg, &sum);
    figure(out, "counter", "fngate_connections_accepted_total", "Client connections accepted.",
           (double)sum.server.accepted);
    figure(out, "gauge", "fngate_connections", "Client connections open.",
           (double)sum.server.connections);
    figure(out, "gauge", "fngate_connections_idle", "Client connections between two requests.",
           (double)sum.server.idle);
    figure(out, "counter", "fngate_requests_total", "Requests received, of any kind.",
           (double)sum.server.requests);
    figure(out, "counter", "fngate_bad_requests_total", "Requests that were not valid HTTP/1.1.",
           (double)sum.server.bad_requests);
    figure(out, "counter", "fngate_client_timeouts_total", "Clients that sent or read too slowly.",
           (double)sum.server.timeouts);
    figure(out, "counter", "fngate_connections_refused_total", "Connections above the limit.",
           (double)sum.server.refused);
    figure(out, "counter", "fngate_upstream_connects_total", "Connections made to replicas.",
           (double)sum.client.connects);
    figure(out, "counter", "fngate_upstream_reuses_total", "Calls over a kept connection.",
           (double)sum.client.reuses);
    figure(out, "counter", "fngate_upstream_failures_total", "Calls that broke on the way.",
           (double)sum.client.failures);
    figure(out, "gauge", "fngate_upstream_active", "Calls to replicas under way.",
           (double)sum.client.active);
    figure(out, "gauge", "fngate_upstream_idle", "Kept connections to replicas.",
           (double)sum.client.idle);
    figure(out, "counter", "fngate_retries_total", "Calls tried a second time.",
           (double)sum.proxy.retries);
    figure(out, "counter", "fngate_parked_total", "Requests that waited for a replica.",
           (double)sum.proxy.parked);
    figure(out, "counter", "fngate_refused_total", "Requests refused by a limit.",
           (double)sum.proxy.refused);
}
