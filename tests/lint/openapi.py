#!/usr/bin/env python3
"""Checks docs/openapi.yaml against the route tables of core/api/routes.c: the same paths, the same
methods, and credentials where the table asks for them. Every local reference must lead somewhere.
"""
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROW = re.compile(r'X\((\w+), "([^"]+)", (\w+), \w+\)')
METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}
# Served by the proxy, or by the listener for metrics.
ELSEWHERE = ("/function/", "/metrics")


def table_rows():
    text = (ROOT / "core/api/routes.c").read_text()
    table = text[text.index("#define API_ROUTES"):text.index("#define METRICS_ROUTES")]
    return {(path, method.lower()): permission for method, path, permission in ROW.findall(table)}


def described(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS and not path.startswith(ELSEWHERE):
                yield (path, method), operation


def references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def leads_somewhere(document, reference):
    node = document
    for part in reference.removeprefix("#/").split("/"):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def complaints():
    document = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text())
    rows, operations = table_rows(), dict(described(document))

    if not rows:
        yield "core/api/routes.c: no route was recognised"
    for path, method in sorted(rows.keys() - operations.keys()):
        yield f"docs/openapi.yaml: {method.upper()} {path} is missing"
    for path, method in sorted(operations.keys() - rows.keys()):
        yield f"docs/openapi.yaml: {method.upper()} {path} is no route"
    for key in sorted(rows.keys() & operations.keys()):
        is_open = operations[key].get("security", document["security"]) == []
        if is_open != (rows[key] == "PUBLIC"):
            yield f"docs/openapi.yaml: {key[1].upper()} {key[0]}: `security` is not what the table says"
        if "{name}" in key[0] and "parameters" not in document["paths"][key[0]]:
            yield f"docs/openapi.yaml: {key[0]} does not describe its parameter"
    for reference in sorted(set(references(document))):
        if not leads_somewhere(document, reference):
            yield f"docs/openapi.yaml: {reference} leads nowhere"


found = list(complaints())
print("\n".join(found) or "openapi: every route is described, and nothing else")
sys.exit(1 if found else 0)
