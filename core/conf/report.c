/* Complaints: one line each, "FILE:LINE: WHO: text", collected in the order found. */
#include "conf/conf.h"

#include <stdarg.h>
#include <stdio.h>

void conf_report_init(struct conf_report *report)
{
    *report = (struct conf_report){0};
    buf_init(&report->text, 1 << 20);
}

void conf_report_free(struct conf_report *report)
{
    buf_free(&report->text);
}

/* Control bytes of the input must not forge a line of the report. */
static void add_line(struct buf *out, const char *format, va_list args)
{
    char text[2048];
    size_t len;
    int n = vsnprintf(text, sizeof(text), format, args);

    len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
    (void)buf_add(out, text, len);
    (void)buf_add(out, "\n", 1);
}

static void complain(struct conf_report *report, const struct conf_doc *doc, int line,
                     const char *who, const char *grade, const char *format, va_list args)
{
    if (doc && line > 0)
        (void)buf_printf(&report->text, "%s:%d: ", doc->file, line);
    else if (doc)
        (void)buf_printf(&report->text, "%s: ", doc->file);
    if (who)
        (void)buf_printf(&report->text, "%s: ", who);
    (void)buf_add_str(&report->text, str_from(grade));
    add_line(&report->text, format, args);
}

void conf_error(struct conf_report *report, const struct conf_doc *doc, int line, const char *who,
                const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain(report, doc, line, who, "", format, args);
    va_end(args);
    report->errors++;
}

void conf_warn(struct conf_report *report, const struct conf_doc *doc, int line, const char *who,
               const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain(report, doc, line, who, "warning: ", format, args);
    va_end(args);
    report->warnings++;
}
