#!/bin/sh
# usage: out_of_tree.sh BUILD_DIR EXAMPLES_DIR CHECKER: the examples build against an installed SDK,
# outside of this tree, with CMake and with nothing but pkg-config, and work.
set -eu

build=$1 examples=$2 checker=$3
here=$(cd "$(dirname "$0")" && pwd)
command -v pkg-config >/dev/null || { echo "pkg-config is missing: apt-get install pkg-config"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset CFLAGS LDFLAGS DESTDIR

echo "== install the SDK"
cmake --install "$build" --component sdk --prefix "$work/sdk" >/dev/null
cp -r "$examples" "$work/examples"

for name in provider-static store-memory; do
    echo "== $name with CMake"
    cmake -S "$work/examples/$name" -B "$work/$name" -DCMAKE_PREFIX_PATH="$work/sdk" >/dev/null
    cmake --build "$work/$name" >/dev/null
done

echo "== both with pkg-config"
PKG_CONFIG_PATH=$(dirname "$(find "$work/sdk" -name fngate-sdk.pc)")
export PKG_CONFIG_PATH
for name in provider-static store-memory; do
    mkdir "$work/$name/plain"
    cc -std=c99 -D_GNU_SOURCE -Wall -Wextra -Werror -shared -fPIC -fvisibility=hidden -pthread \
        $(pkg-config --cflags fngate-sdk) -Wl,-z,defs "$work/examples/$name"/*.c \
        -o "$work/$name/plain/$name.so"
done

echo "== they export one symbol, and start and stop"
"$here/exports.sh" "$work"/*/*.so "$work"/*/plain/*.so
for folder in . plain; do
    "$checker" --case life/start-and-stop "$work/store-memory/$folder/store-memory.so"
    "$checker" --case life/start-and-stop -o functions.hello=127.0.0.1:9000 \
        "$work/provider-static/$folder/provider-static.so"
done
