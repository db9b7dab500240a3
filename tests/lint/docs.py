#!/usr/bin/env python3
"""Checks the pages against what they describe: docs.py [FNGATE PROVIDER_PROCESS.so]

 - every fault of core/proxy/fault.h is in docs/faults.md as it is there, and nothing else is; the
   tests that the page names exist
 - every key of core/app/settings.c is in etc/fngate.yaml at its default, and nothing else is
 - every configuration key of provider-process is in docs/provider-process.md with its default
   (when the two files are given), every variable of the watchdog in docs/watchdog.md
 - relative links of README.md and docs/*.md lead to a file, and to a heading where they name one
"""
import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]


def read(path):
    return (ROOT / path).read_text()


def rows(text):
    """Cells of table rows that begin with one `name` or more."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        names = re.findall(r"`([^`]+)`", cells[0])
        if line.startswith("| `") and names:
            yield names, cells


# ---- Faults ----

FAULT = re.compile(r'X\(\w+, "([^"]+)", (\d+), "([^"]+)", (\d+),\s*((?:"[^"]*"\s*)+)\)')


def fault_table():
    text = re.sub(r"\s*\\\n", "\n", read("core/proxy/fault.h"))
    for name, status, layer, retry, hint in FAULT.findall(text):
        yield name, (status, layer, retry, "".join(re.findall(r'"([^"]*)"', hint)))


def fault_complaints():
    table = dict(fault_table())
    page = {names[0]: cells for names, cells in rows(read("docs/faults.md"))}
    tests = "\n".join(file.read_text() for file in sorted(ROOT.glob("tests/**/*.[cp]*"))
                      if file.suffix in (".c", ".py"))

    if not table:
        yield "core/proxy/fault.h: no fault was recognised"
    for name in sorted(table.keys() ^ page.keys()):
        yield f"docs/faults.md: `{name}` is " + ("missing" if name in table else "no fault")
    for name in sorted(table.keys() & page.keys()):
        said = tuple(cell.replace("`", "") for cell in page[name][1:5])
        if said != table[name]:
            yield f"docs/faults.md: `{name}` says {said}, the table {table[name]}"
        for test in re.findall(r"`(\w+)`", page[name][-1]):
            if not re.search(rf"\b{test}\b", tests):
                yield f"docs/faults.md: `{name}`: there is no test `{test}`"


# ---- Settings ----

TABLE = re.compile(r"static const struct conf_key (\w+)_keys\[\] = \{(.*?)\n\};", re.S)
KEY = re.compile(r'\{\.name = "(\w+)"(.*?)\}', re.S)
SECTION = re.compile(r'\{"(\w+)", (\w+)_keys, ')


def settings_tables():
    """Table -> key -> default, None where a key has sections or no default."""
    text = read("core/app/settings.c")
    tables = {}

    for table, body in TABLE.findall(text):
        tables[table] = {}
        for name, rest in KEY.findall(body):
            default = re.search(r'\.default_value =\s*"([^"]*)"', rest)
            is_bare = "CONF_ANY" in rest or "CONF_REQUIRED" in rest
            tables[table][name] = default[1] if default else None if is_bare else ""
    return tables, dict(SECTION.findall(text))


def compare(where, keys, given, optional=()):
    for name in sorted(keys.keys() - given.keys() - set(optional)):
        yield f"etc/fngate.yaml: {where}{name} is missing"
    for name in sorted(given.keys() - keys.keys()):
        yield f"etc/fngate.yaml: {where}{name} is no key"
    for name in sorted(keys.keys() & given.keys()):
        value = given[name]
        if keys[name] is None:
            continue
        text = ", ".join(value) if isinstance(value, list) else value
        if text != keys[name]:
            yield f"etc/fngate.yaml: {where}{name} is {text!r}, the default is {keys[name]!r}"


def settings_complaints():
    text = read("etc/fngate.yaml")
    document = yaml.load(text, Loader=yaml.BaseLoader)
    tables, sections = settings_tables()
    plugin = dict.fromkeys(tables.get("plugin", {}))  # examples have no defaults

    if len(tables) < 3 or not sections:
        yield "core/app/settings.c: no table of keys was recognised"
        return
    yield from compare("", tables["root"], document)
    for section, table in sections.items():
        yield from compare(f"{section}.", tables[table], document.get(section) or {})
    yield from compare("store.", plugin, document["store"], plugin)
    for entry in document["providers"]:
        yield from compare("providers.", plugin, entry, plugin)
    for name in plugin:
        if not re.search(rf"^[#\s-]*{name}:", text, re.M):
            yield f"etc/fngate.yaml: no example of providers.{name}"


# ---- The provider and the watchdog ----

def plugin_complaints(fngate, plugin):
    shown = subprocess.run([fngate, "plugins", plugin], text=True, stdout=subprocess.PIPE,
                           check=True).stdout
    keys = re.findall(r"^  (\w+): (.+)$", shown.partition("configuration:\n")[2], re.M)
    page = {name: cells for names, cells in rows(read("docs/provider-process.md"))
            for name in names}

    if not keys:
        yield f"{plugin}: no configuration key was recognised"
    for name, kind in keys:
        default = kind.partition(", default ")[2]
        if name not in page:
            yield f"docs/provider-process.md: the key `{name}` is missing"
        elif default and default not in page[name][1]:
            yield f"docs/provider-process.md: `{name}` has the default {default}"


def watchdog_complaints():
    text = read("watchdog/config.c")
    names = set(re.findall(r'env_\w+\(\s*"(\w+)"', text))
    names.update(re.findall(r'env_(?:get|bool)\(\s*"\w+", "(\w+)"', text))
    page = {name for names_of_row, _ in rows(read("docs/watchdog.md")) for name in names_of_row}

    if not names:
        yield "watchdog/config.c: no variable was recognised"
    for name in sorted(names - page - {"TMPDIR"}):
        yield f"docs/watchdog.md: the variable `{name}` is missing"


# ---- Links ----

def without_code(text):
    return re.sub(r"`[^`\n]*`|^    .*$", "", text, flags=re.M)


def headings(text):
    for line in text.splitlines():
        if line.startswith("#"):
            title = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            yield title.replace(" ", "-")


def link_complaints():
    for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]:
        for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
            if re.match(r"\w+:", target):
                continue
            file, _, heading = target.partition("#")
            path = page.parent / file if file else page
            if not path.exists():
                yield f"{page.relative_to(ROOT)}: {target} leads nowhere"
            elif heading and heading not in headings(path.read_text()):
                yield f"{page.relative_to(ROOT)}: {target}: there is no such heading"


def complaints():
    yield from fault_complaints()
    yield from settings_complaints()
    if len(sys.argv) == 3:
        yield from plugin_complaints(*sys.argv[1:])
    yield from watchdog_complaints()
    yield from link_complaints()


found = list(complaints())
print("\n".join(found) or "docs: the pages say what is there")
sys.exit(1 if found else 0)
