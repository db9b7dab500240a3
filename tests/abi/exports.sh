#!/bin/sh
# usage: exports.sh PLUGIN.so...: each exports exactly one symbol, the entry.
set -eu

[ $# -gt 0 ]
status=0
for plugin in "$@"; do
    # Sanitizers leave marks of their own (__asan_..., __odr_asan...); nobody ships those.
    symbols=$(nm -D --defined-only "$plugin" | awk '{print $3}' | grep -v '^__\(odr_\)\?\(asan\|ubsan\|tsan\)' || true)
    if [ "$symbols" != fng_plugin_entry ]; then
        echo "$plugin exports more or less than fng_plugin_entry:" $symbols
        status=1
    fi
done
echo "exports: looked at $# plugins"
exit $status
