/* Access records: built in one buffer, written with one write(2), so that loops do not interleave.
 */
#include "app/access_log.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/sys.h"

#include <inttypes.h>
#include <unistd.h>

enum { RECORD_MAX = 16384 };

static void write_record(struct buf *record)
{
    if (write(STDOUT_FILENO, buf_str(record).ptr, buf_len(record)) < 0) {
        /* the reader of the access log has gone; calls go on */
    }
    buf_free(record);
}

static double ms_between(int64_t from_ns, int64_t to_ns)
{
    return from_ns && to_ns > from_ns ? (double)(to_ns - from_ns) / 1e6 : 0;
}

static void put_string(struct buf *out, const char *name, struct str value)
{
    (void)buf_printf(out, ",\"%s\":\"", name);
    (void)log_escape_json(out, value);
    (void)buf_add(out, "\"", 1);
}

void access_log_json(void *arg, const struct proxy_record *record)
{
    const struct stream *s = record->stream;
    char time[TIME_TEXT_MAX], peer[ADDR_TEXT_MAX];
    struct buf out;

    (void)arg;
    buf_init(&out, RECORD_MAX);
    time_format(time, sys_wall_ns(), 3);
    addr_format(&s->peer, peer);
    (void)buf_printf(&out, "{\"time\":\"%s\",\"status\":%u", time, record->status);
    put_string(&out, "peer", str_from(peer));
    put_string(&out, "method", s->request.method_text);
    put_string(&out, "target", s->request.target);
    put_string(&out, "function", record->fn_name);
    put_string(&out, "namespace", record->fn_ns);
    put_string(&out, "replica", record->replica);
    put_string(&out, "call_id", record->call_id);
    put_string(&out, "layer", str_from(record->layer));
    put_string(&out, "fault", str_from(record->fault));
    (void)buf_printf(&out,
                     ",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 ",\"attempts\":%u"
                     ",\"cold\":%s,\"parked_ms\":%.3f,\"first_byte_ms\":%.3f,\"total_ms\":%.3f}\n",
                     s->bytes_in, s->bytes_out, record->attempts,
                     record->is_cold ? "true" : "false",
                     ms_between(record->parked_ns, record->routed_ns),
                     ms_between(record->head_ns, record->first_byte_ns),
                     ms_between(record->head_ns, record->end_ns));
    write_record(&out);
}

void access_log_text(void *arg, const struct proxy_record *record)
{
    const struct stream *s = record->stream;
    char time[TIME_TEXT_MAX], peer[ADDR_TEXT_MAX];
    struct buf out;

    (void)arg;
    buf_init(&out, RECORD_MAX);
    time_format(time, sys_wall_ns(), 3);
    addr_format(&s->peer, peer);
    (void)buf_printf(&out, "%s %s \"", time, peer);
    (void)log_escape_json(&out, s->request.method_text);
    (void)buf_add(&out, " ", 1);
    (void)log_escape_json(&out, s->request.target);
    (void)buf_printf(&out,
                     "\" %u %s%s%s %.*s.%.*s/%.*s in=%" PRIu64 " out=%" PRIu64
                     " first=%.3fms total=%.3fms id=%.*s%s\n",
                     record->status, record->layer, record->fault[0] ? ":" : "", record->fault,
                     STR_ARG(record->fn_name), STR_ARG(record->fn_ns), STR_ARG(record->replica),
                     s->bytes_in, s->bytes_out, ms_between(record->head_ns, record->first_byte_ns),
                     ms_between(record->head_ns, record->end_ns), STR_ARG(record->call_id),
                     record->is_cold ? " cold" : "");
    write_record(&out);
}
