#!/usr/bin/env python3
"""Reads every #include of the tree and fails on an arrow that points up or sideways.

The levels stand in docs/architecture.md. A folder may include itself and what its line names.
Third-party headers are confined to the folders that own them.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

DATA = ["base", "loop", "metrics"]
MAY_INCLUDE = {
    "base": [],
    "loop": ["base"],
    "conf": ["base"],
    "metrics": ["base"],
    "http": DATA,
    "route": DATA,
    "auth": DATA + ["http"],
    "proxy": DATA + ["http", "route", "auth"],
    "plugin": DATA + ["conf", "fngate"],
    "catalog": DATA + ["conf", "route", "plugin", "fngate"],
    "scale": DATA + ["conf", "route", "plugin", "catalog", "proxy", "fngate"],
    "api": DATA + ["conf", "http", "route", "auth", "proxy", "plugin", "catalog", "scale", "fngate"],
    "async": DATA + ["conf", "http", "route", "auth", "proxy", "plugin", "catalog", "fngate"],
}
MAY_INCLUDE["app"] = list(MAY_INCLUDE) + ["fngate"]

OWNERS = {
    r"event2/": ["core/loop"],
    r"llhttp\.h": ["core/http"],
    r"openssl/": ["core/http", "core/auth"],
    r"yaml\.h": ["core/conf"],
    r"jansson\.h": ["core/api", "core/async", "core/catalog", "plugins/provider-process"],
    r"curl/": ["core/async"],
    r"dlfcn\.h": ["core/plugin", "sdk/check"],
    r"sqlite3\.h": ["plugins/store-sqlite"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:<([^>]+)>|"([^"]+)")', re.M)


def complaints():
    for path in sorted(ROOT.glob("core/*/*.[ch]")):
        folder = path.parent.name
        for system, own in INCLUDE.findall(path.read_text()):
            top = (own or system).split("/")[0]
            if (own or top == "fngate") and top != folder and top not in MAY_INCLUDE[folder]:
                yield f"{path.relative_to(ROOT)}: core/{folder} may not include {own or system}"
    for path in sorted(ROOT.glob("plugins/*/*.[ch]")) + sorted(ROOT.glob("sdk/**/*.[ch]")):
        for _, own in INCLUDE.findall(path.read_text()):
            top = own.split("/")[0]
            if own and (ROOT / "core" / top).is_dir() and "/" in own:
                yield f"{path.relative_to(ROOT)}: plugins and the SDK may not include core/{own}"
    for path in sorted(ROOT.glob("core/**/*.[ch]")) + sorted(ROOT.glob("plugins/**/*.[ch]")):
        relative = str(path.relative_to(ROOT))
        for system, own in INCLUDE.findall(path.read_text()):
            for pattern, folders in OWNERS.items():
                if re.match(pattern, system or own) and not relative.startswith(tuple(folders)):
                    yield f"{relative}: {system or own} belongs to {', '.join(folders)}"


found = list(complaints())
print("\n".join(found) or "include directions: all arrows point down")
sys.exit(1 if found else 0)
